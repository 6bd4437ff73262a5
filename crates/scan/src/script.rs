//! JavaScript and TypeScript: what names stand for, and what is referred to, called and put together.

use std::time::Instant;

use tree_sitter::{Node, Tree};

use crate::hits::{Hits, Source};
use crate::limits::MEANINGS_MAX;
use crate::meaning::{Names, Path, Text, unescape};
use crate::python::{GIVEN, escapes_letters};
use crate::rule::{Language, Use, by_name, decodes};
use crate::tree::{self, Cut, Steps, any_below, children, text};

/// Parts of one expression that are looked at.
const PARTS_MAX: usize = 64;
/// How deep a pattern that takes an object apart is followed.
const PATTERN_DEPTH_MAX: usize = 8;
/// Modules whose members nobody names by a text without hiding something.
const SENSITIVE: &[&str] =
    &["child_process", "fs", "fs/promises", "vm", "net", "http", "https", "process", "globalThis"];
/// Names that a file may define itself without hiding anything.
const SOFT: &[&str] =
    &["fetch", "request", "del", "got", "express", "ws", "WebSocket", "axios", "needle", "koa"];
/// Other names of the global object.
const GLOBALS: &[&str] = &["globalThis.", "global.", "window.", "self.", "top.", "root."];
/// What takes a module by its name.
const IMPORTERS: &[&str] = &["require", "import", "process.getBuiltinModule", "module.createRequire()"];

/// Looks at a script.
pub(crate) fn look(tree: &Tree, source: &Source<'_>, deadline: Instant, hits: &mut Hits) -> Result<(), Cut> {
    let mut script = Script { text: source.text, names: Names::default(), steps: Steps::default() };
    // Twice: a function may use what is bound below it.
    for _ in 0..2 {
        tree::walk(tree, deadline, |node, _| script.bind(node))?;
    }
    tree::walk(tree, deadline, |node, ancestors| script.find(node, ancestors, source, hits))
}

struct Script<'a> {
    text: &'a str,
    names: Names,
    steps: Steps,
}

impl<'t> Script<'_> {
    fn bind(&mut self, node: Node<'t>) {
        let field = |name: &str| node.child_by_field_name(name);
        match node.kind() {
            "import_statement" => self.bind_import(node),
            "variable_declarator" | "assignment_expression" => {
                let sides = match node.kind() {
                    "variable_declarator" => (field("name"), field("value")),
                    _ => (field("left"), field("right")),
                };
                if let (Some(left), Some(right)) = sides {
                    self.bind_target(left, right);
                }
            }
            "augmented_assignment_expression" => {
                if let Some(left) = field("left").filter(|left| left.kind() == "identifier") {
                    // It is not that text any more.
                    let name = text(left, self.text).to_owned();
                    self.names.bind_text(&name, Text::default());
                    self.names.bind_text(&name, Text::plain("\0"));
                }
            }
            "function_declaration" | "class_declaration" | "generator_function_declaration" => {
                if let Some(name) = field("name") {
                    self.names.define(text(name, self.text));
                }
            }
            "formal_parameters" => {
                for parameter in children(node, PARTS_MAX) {
                    self.define_all(parameter, 0);
                }
            }
            _ => {}
        }
    }

    /// The names of a parameter, which may be a pattern.
    fn define_all(&mut self, node: Node<'t>, depth: usize) {
        if matches!(node.kind(), "identifier" | "shorthand_property_identifier_pattern") {
            self.names.define(text(node, self.text));
        } else if depth < PATTERN_DEPTH_MAX && node.kind() != "call_expression" {
            for part in children(node, PARTS_MAX) {
                self.define_all(part, depth + 1);
            }
        }
    }

    fn bind_import(&mut self, node: Node<'t>) {
        for clause in children(node, PARTS_MAX) {
            match clause.kind() {
                "import_require_clause" => {
                    let (name, from) = (clause.named_child(0), clause.child_by_field_name("source"));
                    if let (Some(name), Some(module)) = (name, from.and_then(|from| self.text_of(from))) {
                        self.names.bind(text(name, self.text), module_path(&module));
                    }
                }
                "import_clause" => {
                    let from = node.child_by_field_name("source").and_then(|from| self.text_of(from));
                    let Some(module) = from.map(|from| module_path(&from)) else { continue };
                    self.bind_clause(clause, &module);
                }
                _ => {}
            }
        }
    }

    fn bind_clause(&mut self, clause: Node<'t>, module: &Path) {
        for part in children(clause, PARTS_MAX) {
            match part.kind() {
                "identifier" => self.names.bind(text(part, self.text), module.clone()),
                "namespace_import" => {
                    if let Some(name) = part.named_child(0) {
                        self.names.bind(text(name, self.text), module.clone());
                    }
                }
                "named_imports" => {
                    for import in children(part, PARTS_MAX) {
                        let Some(name) = import.child_by_field_name("name") else { continue };
                        let alias = import.child_by_field_name("alias").unwrap_or(name);
                        let member = Text::plain(text(name, self.text).trim_matches(['"', '\'']));
                        if let Some(path) = module.member(&member).map(normal) {
                            self.names.bind(text(alias, self.text), path);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn bind_target(&mut self, left: Node<'t>, right: Node<'t>) {
        match left.kind() {
            "identifier" => {
                let name = text(left, self.text).to_owned();
                let paths = self.paths_of(right);
                let unknown = paths.is_empty();
                for path in paths {
                    self.names.bind(&name, path);
                }
                match self.text_of(right) {
                    Some(folded) => self.names.bind_text(&name, folded),
                    None if unknown => self.names.define(&name),
                    None => {}
                }
                if self.decodes_something(right) {
                    self.names.bind_decoded(&name);
                }
            }
            "object_pattern" => {
                let paths = self.paths_of(right);
                if paths.is_empty() {
                    self.define_all(left, 0);
                }
                for path in paths {
                    self.bind_pattern(left, &path, 0);
                }
            }
            _ => {}
        }
    }

    /// `{exec: run, promises: {rm}}` of an object.
    fn bind_pattern(&mut self, pattern: Node<'t>, of: &Path, depth: usize) {
        if depth > PATTERN_DEPTH_MAX {
            return;
        }
        for part in children(pattern, PARTS_MAX) {
            match part.kind() {
                "shorthand_property_identifier_pattern" => {
                    let name = text(part, self.text);
                    if let Some(path) = of.member(&Text::plain(name)).map(normal) {
                        self.names.bind(name, path);
                    }
                }
                "pair_pattern" => {
                    let fields = (part.child_by_field_name("key"), part.child_by_field_name("value"));
                    let (Some(key), Some(value)) = fields else { continue };
                    let Some(path) = self.key(key).and_then(|key| of.member(&key)).map(normal) else {
                        continue;
                    };
                    match value.kind() {
                        "identifier" => self.names.bind(text(value, self.text), path),
                        "object_pattern" => self.bind_pattern(value, &path, depth + 1),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }

    fn key(&self, key: Node<'t>) -> Option<Text> {
        match key.kind() {
            "property_identifier" => Some(Text::plain(unescape(text(key, self.text)))),
            "computed_property_name" => self.text_of(key.named_child(0)?),
            _ => self.text_of(key),
        }
    }

    fn paths_of(&self, node: Node<'t>) -> Vec<Path> {
        self.steps.begin();
        let mut paths = self.paths(node, 0).unwrap_or_default();
        paths.truncate(MEANINGS_MAX);
        paths
    }

    /// The names that an expression may refer to.
    fn paths(&self, node: Node<'t>, depth: usize) -> Option<Vec<Path>> {
        self.steps.step(depth)?;
        let field = |name: &str| node.child_by_field_name(name);
        let found = match node.kind() {
            "identifier" => {
                let name = unescape(text(node, self.text));
                match self.names.paths(&name) {
                    [] if SOFT.contains(&name.as_str()) && self.names.is_own(&name) => return None,
                    [] => vec![normal(Path::plain(name))],
                    known => known.to_vec(),
                }
            }
            "import" => vec![Path::plain("import")],
            "member_expression" => {
                let member = Text::plain(unescape(text(field("property")?, self.text)));
                self.members(field("object")?, &member, depth)?
            }
            "subscript_expression" => {
                let index = self.fold(field("index")?, depth + 1)?;
                self.members(field("object")?, &index, depth)?
            }
            "call_expression" => self.called(node, depth)?,
            // `new Worker(...)` is an object, not a name.
            "parenthesized_expression"
            | "await_expression"
            | "non_null_expression"
            | "as_expression"
            | "satisfies_expression" => self.paths(node.named_child(0)?, depth + 1)?,
            "sequence_expression" => self.paths(children(node, PARTS_MAX).pop()?, depth + 1)?,
            "assignment_expression" => self.paths(field("right")?, depth + 1)?,
            "ternary_expression" | "binary_expression" => {
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

    /// What a call gives, where that is a name: a module, or the function that gives modules.
    fn called(&self, node: Node<'t>, depth: usize) -> Option<Vec<Path>> {
        let arguments = children(node.child_by_field_name("arguments")?, PARTS_MAX);
        let mut found = Vec::new();
        for function in self.paths(node.child_by_field_name("function")?, depth + 1)? {
            let name = function.name.as_str();
            if is_importer(name) {
                found.push(module_path(&self.fold(*arguments.first()?, depth + 1)?));
            } else if name == "module.createRequire" {
                found.push(Path::plain("require"));
            } else if name == "Reflect.get" {
                found.extend(self.members(
                    *arguments.first()?,
                    &self.fold(*arguments.get(1)?, depth + 1)?,
                    depth,
                )?);
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
            "string" | "template_string" => {
                let mut folded = Text::default();
                let inner = text(node, self.text);
                if !children(node, PARTS_MAX).iter().any(|part| part.kind() == "template_substitution") {
                    let quoted = inner.get(1..inner.len().saturating_sub(1)).unwrap_or_default();
                    return Some(Text { text: unescape(quoted), assembled: escapes_letters(quoted) });
                }
                for part in children(node, PARTS_MAX) {
                    folded = match part.kind() {
                        "template_substitution" => {
                            folded.and(&self.fold(part.named_child(0)?, depth + 1)?)?
                        }
                        _ => folded.and(&Text::plain(unescape(text(part, self.text))))?,
                    };
                }
                Some(folded)
            }
            "parenthesized_expression" | "as_expression" | "non_null_expression" => {
                self.fold(node.named_child(0)?, depth + 1)
            }
            "identifier" => self.names.text(text(node, self.text)),
            "binary_expression" if text(node.child_by_field_name("operator")?, self.text) == "+" => {
                let left = self.fold(node.child_by_field_name("left")?, depth + 1)?;
                left.and(&self.fold(node.child_by_field_name("right")?, depth + 1)?)
            }
            "call_expression" => self.fold_call(node, depth),
            _ => None,
        }
    }

    fn fold_call(&self, node: Node<'t>, depth: usize) -> Option<Text> {
        let function = node.child_by_field_name("function")?;
        let arguments = children(node.child_by_field_name("arguments")?, PARTS_MAX);
        let (of, method) =
            (function.child_by_field_name("object")?, function.child_by_field_name("property")?);
        match text(method, self.text) {
            "join" if of.kind() == "array" => {
                let between = match arguments.first() {
                    Some(between) => self.fold(*between, depth + 1)?,
                    None => Text::plain(","),
                };
                let mut whole = Text::default();
                for (index, part) in children(of, PARTS_MAX).into_iter().enumerate() {
                    if index > 0 {
                        whole = whole.and(&between)?;
                    }
                    whole = whole.and(&self.fold(part, depth + 1)?)?;
                }
                Some(whole)
            }
            "concat" => {
                let mut whole = self.fold(of, depth + 1)?;
                for part in arguments {
                    whole = whole.and(&self.fold(part, depth + 1)?)?;
                }
                Some(whole)
            }
            "fromCharCode" | "fromCodePoint" if text(of, self.text) == "String" => {
                let codes =
                    arguments.iter().map(|code| text(*code, self.text).parse().ok().and_then(char::from_u32));
                Some(Text { text: codes.collect::<Option<String>>()?, assembled: true })
            }
            "toLowerCase" => {
                let of = self.fold(of, depth + 1)?;
                Some(Text { text: of.text.to_lowercase(), assembled: true })
            }
            _ => None,
        }
    }

    fn find(&self, node: Node<'t>, ancestors: &[Node<'t>], source: &Source<'_>, hits: &mut Hits) {
        match node.kind() {
            "call_expression" => self.find_call(node, "function", source, hits),
            "new_expression" => self.find_call(node, "constructor", source, hits),
            "member_expression" | "subscript_expression" => {
                self.find_member(node, ancestors, source, hits);
            }
            "identifier" if is_value(node, ancestors) => {
                for path in self.paths_of(node) {
                    self.reference(&path, node, source, hits);
                }
            }
            _ => {}
        }
    }

    fn reference(&self, path: &Path, node: Node<'t>, source: &Source<'_>, hits: &mut Hits) -> bool {
        let at = node.start_byte();
        let found = hits.name(Language::JavaScript, Use::Reference, &path.name, source, at);
        let module = path.name.split('.').next().unwrap_or_default();
        if path.assembled && (found || SENSITIVE.contains(&module)) {
            hits.at("assembled-name", source, at, &format!("'{}'", path.name));
        }
        found
    }

    fn find_member(&self, node: Node<'t>, ancestors: &[Node<'t>], source: &Source<'_>, hits: &mut Hits) {
        let at = node.start_byte();
        let paths = self.paths_of(node);
        for path in &paths {
            if path.name.ends_with(".constructor.constructor") {
                hits.at("reflection", source, at, "'.constructor.constructor'");
            }
            if path.name == "process.env" && self.is_given(ancestors) {
                continue;
            }
            self.reference(path, node, source, hits);
        }
        if node.kind() == "subscript_expression" && paths.is_empty() {
            let of = node.child_by_field_name("object").map(|of| self.paths_of(of)).unwrap_or_default();
            // A number or a loop over a list is no name of a member.
            let index = node.child_by_field_name("index").filter(|index| index.kind() != "number");
            let sensitive = of.iter().find(|path| SENSITIVE.contains(&path.name.as_str()));
            if let Some(path) = sensitive.filter(|_| index.is_some()) {
                hits.at("assembled-name", source, at, &format!("'{}[...]'", path.name));
            }
        }
        let constructor = |node: Node<'t>| {
            node.child_by_field_name("property")
                .is_some_and(|member| text(member, self.text) == "constructor")
        };
        if paths.is_empty()
            && constructor(node)
            && node.child_by_field_name("object").is_some_and(constructor)
        {
            hits.at("reflection", source, at, "'.constructor.constructor'");
        }
    }

    fn find_call(&self, node: Node<'t>, field: &str, source: &Source<'_>, hits: &mut Hits) {
        let at = node.start_byte();
        let Some(function) = node.child_by_field_name(field) else { return };
        let arguments =
            node.child_by_field_name("arguments").map(|list| children(list, PARTS_MAX)).unwrap_or_default();
        let first = arguments.first().and_then(|first| self.text_of(*first));
        let mut known = false;
        for path in self.paths_of(function) {
            let name = path.name.as_str();
            known |= self.reference(&path, node, source, hits);
            if is_importer(name) && first.is_none() && !arguments.is_empty() {
                hits.at("dynamic-import", source, at, &format!("'{name}'"));
            }
            let timer = matches!(name, "setTimeout" | "setInterval" | "setImmediate");
            if timer && first.is_some() {
                hits.at("dynamic-code", source, at, &format!("'{name}' with a text"));
            }
            let rule = by_name(Language::JavaScript, Use::Reference, name);
            let executes = rule.is_some_and(|rule| rule.id == "dynamic-code") || timer;
            if executes && arguments.iter().any(|argument| self.decodes_something(*argument)) {
                hits.at("hidden-code", source, at, &format!("'{name}'"));
            }
        }
        self.find_method(function, first.as_ref(), known, at, source, hits);
        // A module that is taken and used at once: `import("child_process").then(...)`.
        for path in self.paths_of(node) {
            self.reference(&path, node, source, hits);
            if path.assembled && !path.name.contains('.') {
                hits.at("assembled-name", source, at, &format!("'{}'", path.name));
            }
            if native_addon(&path.name) {
                hits.at("native-code", source, at, &format!("'{}'", path.name));
            }
        }
    }

    fn find_method(
        &self,
        function: Node<'t>,
        first: Option<&Text>,
        known: bool,
        at: usize,
        source: &Source<'_>,
        hits: &mut Hits,
    ) {
        let Some(member) = function.child_by_field_name("property") else { return };
        let member = text(member, self.text);
        if member == "constructor" && first.is_some() {
            hits.at("reflection", source, at, "'.constructor()' with a text");
        }
        if let Some(rule) = by_name(Language::JavaScript, Use::Method, member).filter(|_| !known) {
            hits.at(rule.id, source, at, &format!("'.{member}()'"));
        }
        // `import("child_process").then(m => m.exec(...))`: what the function is given is not followed.
        let awaited = function.child_by_field_name("object").map(|of| self.paths_of(of)).unwrap_or_default();
        if member == "then" && awaited.iter().any(|path| SENSITIVE.contains(&path.name.as_str())) {
            let name = awaited.first().map(|path| path.name.clone()).unwrap_or_default();
            hits.at("dynamic-import", source, at, &format!("'import({name})'"));
        }
    }

    fn decodes_something(&self, node: Node<'t>) -> bool {
        any_below(node, |node| match node.kind() {
            "call_expression" => {
                let function = node.child_by_field_name("function");
                function
                    .is_some_and(|function| self.paths_of(function).iter().any(|path| decodes(&path.name)))
            }
            "identifier" => self.names.is_decoded(text(node, self.text)),
            _ => false,
        })
    }

    /// `process.env.RINGFENCE_...`: every plugin has those.
    fn is_given(&self, ancestors: &[Node<'t>]) -> bool {
        let Some(parent) = ancestors.last() else { return false };
        let name = match parent.kind() {
            "member_expression" => {
                parent.child_by_field_name("property").map(|name| Text::plain(text(name, self.text)))
            }
            "subscript_expression" => parent.child_by_field_name("index").and_then(|name| self.text_of(name)),
            _ => None,
        };
        name.is_some_and(|name| name.text.starts_with(GIVEN))
    }
}

fn is_importer(name: &str) -> bool {
    IMPORTERS.contains(&name) || name.ends_with(".require")
}

fn native_addon(module: &str) -> bool {
    module.len() > ".node".len() && module.ends_with(".node")
}

fn module_path(module: &Text) -> Path {
    let name = module.text.strip_prefix("node:").unwrap_or(&module.text);
    Path { name: name.to_owned(), assembled: module.assembled }
}

/// One name for what has several.
fn normal(mut path: Path) -> Path {
    while let Some(rest) = GLOBALS.iter().find_map(|prefix| path.name.strip_prefix(prefix)) {
        path.name = rest.to_owned();
    }
    if let Some(rest) = path.name.strip_suffix(".default") {
        path.name = rest.to_owned();
    }
    if let Some(rest) = path.name.strip_prefix("fs.promises") {
        path.name = format!("fs/promises{rest}");
    }
    path
}

/// Whether an identifier is handed on as a value. Those that are called are looked at with their call.
fn is_value(node: Node<'_>, ancestors: &[Node<'_>]) -> bool {
    let Some(parent) = ancestors.last() else { return false };
    let field = |name: &str| parent.child_by_field_name(name).is_some_and(|field| field.id() == node.id());
    match parent.kind() {
        "arguments" | "array" | "return_statement" | "spread_element" | "class_heritage" => true,
        "pair" | "variable_declarator" => field("value"),
        "assignment_expression" => field("right"),
        _ => false,
    }
}
