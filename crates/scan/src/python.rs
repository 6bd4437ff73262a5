//! Python: what names stand for, and what is referred to, called and put together.

use std::time::Instant;

use tree_sitter::{Node, Tree};

use crate::hits::{Hits, Source};
use crate::limits::MEANINGS_MAX;
use crate::meaning::{Names, Path, Text, unescape};
use crate::rule::{Language, Use, by_name, decodes};
use crate::tree::{self, Cut, Steps, any_below, children, text};

/// Parts of one expression that are looked at.
const PARTS_MAX: usize = 64;
/// Modules that nothing else is behind: whoever names their members by a text hides something.
const SENSITIVE: &[&str] =
    &["os", "subprocess", "builtins", "__builtins__", "sys", "socket", "ctypes", "shutil", "pty"];
/// Names that a file may define itself without hiding anything.
const SOFT: &[&str] = &["compile"];
/// Variables that Ringfence gives every plugin begin so.
pub(crate) const GIVEN: &str = "RINGFENCE_";
/// What takes a module by its name.
const IMPORTERS: &[&str] =
    &["__import__", "importlib.import_module", "importlib.__import__", "imp.find_module"];

/// Looks at a module; `is_setup` for the file that Python's own package manager executes.
pub(crate) fn look(
    tree: &Tree,
    source: &Source<'_>,
    is_setup: bool,
    deadline: Instant,
    hits: &mut Hits,
) -> Result<(), Cut> {
    let mut python = Python { text: source.text, names: Names::default(), steps: Steps::default() };
    // Twice: a function may use what is bound below it.
    for _ in 0..2 {
        tree::walk(tree, deadline, |node, _| python.bind(node))?;
    }
    tree::walk(tree, deadline, |node, ancestors| {
        if is_setup && node.kind() == "keyword_argument" {
            let name = node.child_by_field_name("name").map(|name| text(name, source.text));
            if name == Some("cmdclass") {
                hits.at("install-hook", source, node.start_byte(), "'cmdclass'");
            }
        }
        python.find(node, ancestors, source, hits);
    })
}

struct Python<'a> {
    text: &'a str,
    names: Names,
    steps: Steps,
}

impl<'t> Python<'_> {
    fn bind(&mut self, node: Node<'t>) {
        match node.kind() {
            "import_statement" => self.bind_imports(node, None),
            "import_from_statement" => {
                let module = node.child_by_field_name("module_name").map(|module| text(module, self.text));
                // A relative import names a module of the package, which is looked at by itself.
                if let Some(module) = module.filter(|module| !module.starts_with('.')).map(str::to_owned) {
                    if children(node, PARTS_MAX).iter().any(|child| child.kind() == "wildcard_import") {
                        self.names.star(&module);
                    }
                    self.bind_imports(node, Some(&module));
                }
            }
            "assignment" => {
                let sides = (node.child_by_field_name("left"), node.child_by_field_name("right"));
                if let (Some(left), Some(right)) = sides {
                    self.bind_target(left, right);
                }
            }
            "augmented_assignment" => {
                if let Some(left) =
                    node.child_by_field_name("left").filter(|left| left.kind() == "identifier")
                {
                    // It is not that text any more.
                    let name = text(left, self.text).to_owned();
                    self.names.bind_text(&name, Text::default());
                    self.names.bind_text(&name, Text::plain("\0"));
                }
            }
            "named_expression" => {
                let sides = (node.child_by_field_name("name"), node.child_by_field_name("value"));
                if let (Some(left), Some(right)) = sides {
                    self.bind_target(left, right);
                }
            }
            "function_definition" | "class_definition" => {
                if let Some(name) = node.child_by_field_name("name") {
                    self.names.define(text(name, self.text));
                }
            }
            _ => {}
        }
    }

    fn bind_imports(&mut self, node: Node<'t>, module: Option<&str>) {
        let mut cursor = node.walk();
        let imported: Vec<Node<'t>> =
            node.children_by_field_name("name", &mut cursor).take(PARTS_MAX).collect();
        for import in imported {
            let (name, alias) = match import.kind() {
                "aliased_import" => (import.child_by_field_name("name"), import.child_by_field_name("alias")),
                _ => (Some(import), None),
            };
            let Some(name) = name.map(|name| text(name, self.text)) else { continue };
            let alias = alias.map(|alias| text(alias, self.text));
            match (module, alias) {
                // `import a.b` binds `a`, which stands for itself.
                (None, None) => {}
                (None, Some(alias)) => self.names.bind(alias, normal(Path::plain(name))),
                (Some(module), alias) => {
                    let path = normal(Path::plain(format!("{module}.{name}")));
                    self.names.bind(alias.unwrap_or(name), path);
                }
            }
        }
    }

    fn bind_target(&mut self, left: Node<'t>, right: Node<'t>) {
        match left.kind() {
            "identifier" => {
                let name = text(left, self.text).to_owned();
                for path in self.paths_of(right) {
                    self.names.bind(&name, path);
                }
                match self.text_of(right) {
                    Some(folded) => self.names.bind_text(&name, folded),
                    None => self.names.define(&name),
                }
                if self.decodes_something(right) {
                    self.names.bind_decoded(&name);
                }
            }
            "pattern_list" | "tuple_pattern" => {
                let pairs = children(left, PARTS_MAX).into_iter().zip(children(right, PARTS_MAX));
                let nested = right.kind() == "expression_list" || right.kind() == "tuple";
                for (left, right) in pairs.filter(|(left, _)| nested && left.kind() == "identifier") {
                    self.bind_target(left, right);
                }
            }
            _ => {}
        }
    }

    /// The names that an expression may refer to.
    fn paths_of(&self, node: Node<'t>) -> Vec<Path> {
        self.steps.begin();
        let mut paths = self.paths(node, 0).unwrap_or_default();
        paths.truncate(MEANINGS_MAX);
        paths
    }

    fn paths(&self, node: Node<'t>, depth: usize) -> Option<Vec<Path>> {
        self.steps.step(depth)?;
        let field = |name: &str| node.child_by_field_name(name);
        let found = match node.kind() {
            "identifier" => {
                let name = text(node, self.text);
                match self.names.paths(name) {
                    [] if SOFT.contains(&name) && self.names.is_own(name) => return None,
                    [] => vec![normal(Path::plain(name))],
                    known => known.to_vec(),
                }
            }
            "attribute" => {
                let member = Text::plain(text(field("attribute")?, self.text));
                self.members(field("object")?, &member, depth)?
            }
            "subscript" => {
                let index = self.fold(field("subscript")?, depth + 1)?;
                let of = self.paths(field("value")?, depth + 1)?;
                of.iter().filter_map(|of| entry(of, &index)).collect()
            }
            "call" => self.called(node, depth)?,
            "parenthesized_expression" | "await" => self.paths(node.named_child(0)?, depth + 1)?,
            "named_expression" => self.paths(field("value")?, depth + 1)?,
            "conditional_expression" | "boolean_operator" => {
                let branches = children(node, PARTS_MAX);
                branches.into_iter().filter_map(|branch| self.paths(branch, depth + 1)).flatten().collect()
            }
            _ => return None,
        };
        Some(found)
    }

    fn members(&self, of: Node<'t>, member: &Text, depth: usize) -> Option<Vec<Path>> {
        let of = self.paths(of, depth + 1)?;
        Some(of.iter().filter_map(|path| path.member(member)).map(normal).collect())
    }

    /// What a call gives, where that is a name: an import by text, a member by text.
    fn called(&self, node: Node<'t>, depth: usize) -> Option<Vec<Path>> {
        let arguments = children(node.child_by_field_name("arguments")?, PARTS_MAX);
        let constant = |index: usize| self.fold(*arguments.get(index)?, depth + 1);
        let mut found = Vec::new();
        for function in self.paths(node.child_by_field_name("function")?, depth + 1)? {
            let name = function.name.as_str();
            if IMPORTERS.contains(&name) {
                let module = constant(0)?;
                found.push(normal(Path { name: module.text, assembled: module.assembled }));
            } else if name == "getattr" {
                found.extend(self.members(*arguments.first()?, &constant(1)?, depth)?);
            } else if name == "vars" {
                found.extend(self.members(*arguments.first()?, &Text::plain("__dict__"), depth)?);
            } else if matches!(name, "globals" | "locals") {
                found.push(Path::plain("globals()"));
            } else if let Some(of) = name.strip_suffix(".__getattribute__") {
                found.extend(Path::plain(of).member(&constant(0)?).map(normal));
            } else if let Some(of) = name.strip_suffix(".get") {
                found.extend(entry(&Path::plain(of), &constant(0)?));
            }
        }
        Some(found)
    }

    fn text_of(&self, node: Node<'t>) -> Option<Text> {
        self.steps.begin();
        self.fold(node, 0)
    }

    /// The text that an expression always gives.
    fn fold(&self, node: Node<'t>, depth: usize) -> Option<Text> {
        self.steps.step(depth)?;
        match node.kind() {
            "string" => self.fold_string(node, depth),
            "concatenated_string" => self.joined(children(node, PARTS_MAX), "", depth),
            "parenthesized_expression" => self.fold(node.named_child(0)?, depth + 1),
            "identifier" => self.names.text(text(node, self.text)),
            "binary_operator" => {
                let (left, right) = (node.child_by_field_name("left")?, node.child_by_field_name("right")?);
                match text(node.child_by_field_name("operator")?, self.text) {
                    "+" => self.joined(vec![left, right], "", depth),
                    "%" => {
                        let values =
                            if right.kind() == "tuple" { children(right, PARTS_MAX) } else { vec![right] };
                        self.filled(&self.fold(left, depth + 1)?, "%s", &values, depth)
                    }
                    _ => None,
                }
            }
            "subscript" => {
                let index: String =
                    text(node.child_by_field_name("subscript")?, self.text).split_whitespace().collect();
                let whole = self.fold(node.child_by_field_name("value")?, depth + 1)?;
                (index == "::-1").then(|| Text { text: whole.text.chars().rev().collect(), assembled: true })
            }
            "call" => self.fold_call(node, depth),
            _ => None,
        }
    }

    fn fold_string(&self, node: Node<'t>, depth: usize) -> Option<Text> {
        let mut folded = Text::default();
        let mut raw = false;
        for part in children(node, PARTS_MAX) {
            match part.kind() {
                "string_start" => raw = text(part, self.text).contains(['r', 'R']),
                "string_content" => {
                    let piece = text(part, self.text);
                    let assembled = folded.assembled || (!raw && escapes_letters(piece));
                    folded =
                        folded.and(&Text::plain(if raw { piece.to_owned() } else { unescape(piece) }))?;
                    folded.assembled = assembled;
                }
                "interpolation" => {
                    folded = folded.and(&self.fold(part.child_by_field_name("expression")?, depth + 1)?)?;
                }
                _ => {}
            }
        }
        Some(folded)
    }

    fn fold_call(&self, node: Node<'t>, depth: usize) -> Option<Text> {
        let function = node.child_by_field_name("function")?;
        let arguments = children(node.child_by_field_name("arguments")?, PARTS_MAX);
        if function.kind() == "identifier" {
            return match text(function, self.text) {
                "chr" => {
                    let code: u32 = text(*arguments.first()?, self.text).parse().ok()?;
                    Some(Text { text: char::from_u32(code)?.to_string(), assembled: true })
                }
                "str" => self.fold(*arguments.first()?, depth + 1),
                _ => None,
            };
        }
        let of = self.fold(function.child_by_field_name("object")?, depth + 1)?;
        let made = |text: String| Some(Text { text, assembled: true });
        match text(function.child_by_field_name("attribute")?, self.text) {
            "join" => match arguments.first()?.kind() {
                "list" | "tuple" => self.joined(children(*arguments.first()?, PARTS_MAX), &of.text, depth),
                _ => None,
            },
            "format" => self.filled(&of, "{}", &arguments, depth),
            "lower" => made(of.text.to_lowercase()),
            "upper" => made(of.text.to_uppercase()),
            "strip" if arguments.is_empty() => made(of.text.trim().to_owned()),
            "replace" => {
                let from = self.fold(*arguments.first()?, depth + 1)?;
                let to = self.fold(*arguments.get(1)?, depth + 1)?;
                let grows = from.text.is_empty() || to.text.len() > from.text.len();
                if grows { None } else { made(of.text.replace(&from.text, &to.text)) }
            }
            "decode" | "encode" if arguments.is_empty() => Some(of),
            _ => None,
        }
    }

    fn joined(&self, parts: Vec<Node<'t>>, between: &str, depth: usize) -> Option<Text> {
        let mut whole: Option<Text> = None;
        for part in parts {
            let part = self.fold(part, depth + 1)?;
            whole = Some(match whole {
                None => part,
                Some(whole) => whole.and(&Text::plain(between))?.and(&part)?,
            });
        }
        whole
    }

    /// A template with its places filled, in their order.
    fn filled(&self, template: &Text, place: &str, values: &[Node<'t>], depth: usize) -> Option<Text> {
        let mut pieces = template.text.split(place);
        let mut whole = Text::plain(pieces.next()?);
        for (piece, value) in pieces.zip(values) {
            whole = whole.and(&self.fold(*value, depth + 1)?)?.and(&Text::plain(piece))?;
        }
        Some(whole)
    }

    fn find(&self, node: Node<'t>, ancestors: &[Node<'t>], source: &Source<'_>, hits: &mut Hits) {
        match node.kind() {
            "call" => self.find_call(node, source, hits),
            "attribute" if !in_annotation(ancestors) => self.find_attribute(node, ancestors, source, hits),
            "subscript" => {
                for path in self.paths_of(node) {
                    self.reference(&path, node, source, hits);
                }
            }
            "identifier" if is_value(node, ancestors) => {
                for path in self.paths_of(node) {
                    self.reference(&path, node, source, hits);
                }
            }
            _ => {}
        }
    }

    /// A hit, if a rule looks for this name; another one if the name was put together.
    fn reference(&self, path: &Path, node: Node<'t>, source: &Source<'_>, hits: &mut Hits) -> bool {
        let at = node.start_byte();
        let found = hits.name(Language::Python, Use::Reference, &path.name, source, at);
        let module = path.name.split('.').next().unwrap_or_default();
        if path.assembled && (found || SENSITIVE.contains(&module)) {
            hits.at("assembled-name", source, at, &format!("'{}'", path.name));
        }
        found
    }

    fn find_attribute(&self, node: Node<'t>, ancestors: &[Node<'t>], source: &Source<'_>, hits: &mut Hits) {
        let Some(member) = node.child_by_field_name("attribute").map(|member| text(member, self.text)) else {
            return;
        };
        if by_name(Language::Python, Use::Method, member).is_some_and(|rule| rule.id == "reflection") {
            hits.at("reflection", source, node.start_byte(), &format!("'.{member}'"));
        }
        for path in self.paths_of(node) {
            if path.name == "os.environ" && self.is_given(ancestors) {
                continue;
            }
            // What a call refers to is looked at with the call.
            if !is_function(node, ancestors) {
                self.reference(&path, node, source, hits);
            }
        }
    }

    fn find_call(&self, node: Node<'t>, source: &Source<'_>, hits: &mut Hits) {
        let fields = (node.child_by_field_name("function"), node.child_by_field_name("arguments"));
        let (Some(function), Some(arguments)) = fields else { return };
        let arguments = children(arguments, PARTS_MAX);
        let first = arguments.first().and_then(|first| self.text_of(*first));
        let at = node.start_byte();
        let mut known = false;
        for path in self.paths_of(function) {
            let name = path.name.as_str();
            if name == "os.getenv" && first.as_ref().is_some_and(|first| first.text.starts_with(GIVEN)) {
                continue;
            }
            let found = self.reference(&path, node, source, hits);
            known |= found;
            if IMPORTERS.contains(&name) && first.is_none() && !arguments.is_empty() {
                hits.at("dynamic-import", source, at, &format!("'{name}'"));
            }
            if name == "getattr" && arguments.len() > 1 {
                self.find_getattr(&arguments, at, source, hits);
            }
            let executes =
                by_name(Language::Python, Use::Reference, name).is_some_and(|rule| rule.id == "dynamic-code");
            if executes && arguments.iter().any(|argument| self.decodes_something(*argument)) {
                hits.at("hidden-code", source, at, &format!("'{name}'"));
            }
            if !found && !name.contains('.') {
                // `from socket import *`
                for module in &self.names.stars {
                    let whole = format!("{module}.{name}");
                    known |= hits.name(Language::Python, Use::Reference, &whole, source, at);
                }
            }
        }
        let member = function.child_by_field_name("attribute").map(|member| text(member, self.text));
        if let Some(member) = member.filter(|_| !known) {
            let rule = by_name(Language::Python, Use::Method, member);
            if let Some(rule) = rule.filter(|rule| rule.id != "reflection") {
                hits.at(rule.id, source, at, &format!("'.{member}()'"));
            }
        }
        // What a call gives is a name as well: `getattr(os, "system")`.
        for path in self.paths_of(node) {
            self.reference(&path, node, source, hits);
        }
    }

    fn find_getattr(&self, arguments: &[Node<'t>], at: usize, source: &Source<'_>, hits: &mut Hits) {
        let [of, name, ..] = arguments else { return };
        let sensitive = self.paths_of(*of).into_iter().find(|path| SENSITIVE.contains(&path.name.as_str()));
        if let Some(path) = sensitive.filter(|_| self.text_of(*name).is_none()) {
            hits.at("assembled-name", source, at, &format!("'getattr({}, ...)'", path.name));
        }
    }

    fn decodes_something(&self, node: Node<'t>) -> bool {
        any_below(node, |node| match node.kind() {
            "call" => {
                let function = node.child_by_field_name("function");
                function.is_some_and(|function| {
                    // `bytes.fromhex` and the like are no names of the module table.
                    self.paths_of(function).iter().any(|path| decodes(&path.name))
                })
            }
            "identifier" => self.names.is_decoded(text(node, self.text)),
            _ => false,
        })
    }

    /// `os.environ["RINGFENCE_..."]` and `os.environ.get("RINGFENCE_...")`: every plugin has those.
    fn is_given(&self, ancestors: &[Node<'t>]) -> bool {
        let mut outward = ancestors.iter().rev();
        let name = match outward.next() {
            Some(parent) if parent.kind() == "subscript" => parent.child_by_field_name("subscript"),
            Some(parent) if parent.kind() == "attribute" => outward
                .next()
                .filter(|call| call.kind() == "call")
                .and_then(|call| call.child_by_field_name("arguments"))
                .and_then(|arguments| arguments.named_child(0)),
            _ => None,
        };
        name.and_then(|name| self.text_of(name)).is_some_and(|name| name.text.starts_with(GIVEN))
    }
}

/// Whether letters are written as numbers.
pub(crate) fn escapes_letters(text: &str) -> bool {
    text.contains("\\x") || text.contains("\\u") || text.contains("\\U") || text.contains("\\N")
}

/// The member of something that is looked up like a dictionary.
fn entry(of: &Path, index: &Text) -> Option<Path> {
    let name = of.name.as_str();
    if matches!(name, "sys.modules" | "globals()" | "__builtins__" | "builtins" | "__dict__") {
        return Some(normal(Path { name: index.text.clone(), assembled: of.assembled || index.assembled }));
    }
    let of = Path { name: name.strip_suffix(".__dict__")?.to_owned(), assembled: of.assembled };
    of.member(index).map(normal)
}

/// One name for what has several.
fn normal(mut path: Path) -> Path {
    for prefix in ["builtins.", "__builtins__.", "__builtin__.", "__dict__."] {
        if let Some(rest) = path.name.strip_prefix(prefix) {
            path.name = rest.to_owned();
        }
    }
    for (alias, real) in [("posix.", "os."), ("nt.", "os."), ("_pickle.", "pickle."), ("cPickle.", "pickle.")]
    {
        if let Some(rest) = path.name.strip_prefix(alias) {
            path.name = format!("{real}{rest}");
        }
    }
    if let Some(function) = path.name.strip_suffix(".__call__") {
        path.name = function.to_owned();
    }
    path
}

/// Whether a node only says of which type something is.
fn in_annotation(ancestors: &[Node<'_>]) -> bool {
    ancestors.iter().rev().take(4).any(|node| matches!(node.kind(), "type" | "except_clause"))
}

fn is_function(node: Node<'_>, ancestors: &[Node<'_>]) -> bool {
    ancestors
        .last()
        .filter(|parent| parent.kind() == "call")
        .and_then(|call| call.child_by_field_name("function"))
        .is_some_and(|function| function.id() == node.id())
}

/// Whether an identifier is handed on as a value. Those that are called are looked at with their call.
fn is_value(node: Node<'_>, ancestors: &[Node<'_>]) -> bool {
    let Some(parent) = ancestors.last() else { return false };
    let field = |name: &str| parent.child_by_field_name(name).is_some_and(|field| field.id() == node.id());
    match parent.kind() {
        "argument_list" | "list" | "tuple" | "return_statement" | "decorator" | "list_splat" => true,
        "keyword_argument" | "pair" => field("value"),
        "assignment" => field("right"),
        _ => false,
    }
}
