//! Syntax trees: parsed against a deadline, and walked without recursion.

use std::ops::ControlFlow;
use std::time::Instant;

use tree_sitter::{Node, ParseOptions, Parser, Tree};

use crate::limits::NODES_MAX;
use crate::rule::Language;

/// After how many nodes the clock is looked at.
const NODES_BETWEEN_LOOKS: usize = 1_024;

/// Which grammar reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grammar {
    Python,
    JavaScript,
    TypeScript,
    Tsx,
    Shell,
}

impl Grammar {
    pub(crate) const fn language(self) -> Language {
        match self {
            Self::Python => Language::Python,
            Self::JavaScript => Language::JavaScript,
            Self::TypeScript | Self::Tsx => Language::TypeScript,
            Self::Shell => Language::Shell,
        }
    }

    fn parser(self) -> tree_sitter::Language {
        match self {
            Self::Python => tree_sitter_python::LANGUAGE.into(),
            Self::JavaScript => tree_sitter_javascript::LANGUAGE.into(),
            Self::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
            Self::Tsx => tree_sitter_typescript::LANGUAGE_TSX.into(),
            Self::Shell => tree_sitter_bash::LANGUAGE.into(),
        }
    }
}

/// Why a tree was not looked at to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Time,
    Nodes,
}

impl Cut {
    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::Time => "took too long to be read as code",
            Self::Nodes => "has more code than is looked at",
        }
    }
}

/// The tree of a text. A text with mistakes has one too.
pub(crate) fn parse(grammar: Grammar, text: &str, deadline: Instant) -> Result<Tree, Cut> {
    let mut parser = Parser::new();
    // A grammar of another version than the library is a mistake of the build, which every test would find.
    parser.set_language(&grammar.parser()).map_err(|_| Cut::Time)?;
    let bytes = text.as_bytes();
    let mut stop = |_: &tree_sitter::ParseState| {
        if Instant::now() >= deadline { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut stop);
    parser
        .parse_with_options(&mut |at, _| bytes.get(at..).unwrap_or_default(), None, Some(options))
        .ok_or(Cut::Time)
}

/// Calls `see` with every named node and its ancestors, the nearest last; parents before children, until [`NODES_MAX`] or
/// the deadline. (To ask a node for its parent would go down from the root each time.)
pub(crate) fn walk<'t>(
    tree: &'t Tree,
    deadline: Instant,
    mut see: impl FnMut(Node<'t>, &[Node<'t>]),
) -> Result<(), Cut> {
    let mut cursor = tree.walk();
    let mut ancestors: Vec<Node<'t>> = Vec::new();
    let mut seen = 0_usize;
    loop {
        let node = cursor.node();
        seen += 1;
        if seen > NODES_MAX {
            return Err(Cut::Nodes);
        }
        if seen.is_multiple_of(NODES_BETWEEN_LOOKS) && Instant::now() >= deadline {
            return Err(Cut::Time);
        }
        if node.is_named() {
            see(node, &ancestors);
        }
        if cursor.goto_first_child() {
            ancestors.push(node);
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return Ok(());
            }
            ancestors.pop();
        }
    }
}

/// The text of a node.
pub(crate) fn text<'a>(node: Node<'_>, source: &'a str) -> &'a str {
    source.get(node.start_byte()..node.end_byte()).unwrap_or_default()
}

/// The named children of a node, at most `most` of them: what an expression is put together from.
pub(crate) fn children<'t>(node: Node<'t>, most: usize) -> Vec<Node<'t>> {
    let mut cursor = node.walk();
    node.named_children(&mut cursor).take(most).collect()
}

/// Steps that one question about an expression may take, so that branches within branches cannot take for ever.
const STEPS_MAX: usize = 256;

/// Counts the steps of one question.
#[derive(Debug, Default)]
pub(crate) struct Steps(std::cell::Cell<usize>);

impl Steps {
    /// A new question begins.
    pub(crate) fn begin(&self) {
        self.0.set(STEPS_MAX);
    }

    /// One step more, at this depth of the expression; `None` when there were enough.
    pub(crate) fn step(&self, depth: usize) -> Option<()> {
        let left = self.0.get().checked_sub(1)?;
        self.0.set(left);
        (depth < crate::limits::EXPRESSION_DEPTH_MAX).then_some(())
    }
}

/// Whether one of the first nodes of a subtree is such a one.
pub(crate) fn any_below<'t>(node: Node<'t>, is: impl Fn(Node<'t>) -> bool) -> bool {
    let mut cursor = node.walk();
    for _ in 0..STEPS_MAX {
        if is(cursor.node()) {
            return true;
        }
        if cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return false;
            }
        }
    }
    false
}
