//! Reads fields of a tree and collects everything that is wrong with them.

use std::path::Path;

use serde_json::Number;

use super::finding::{FINDINGS_MAX, Finding, Severity};
use super::text::shown;
use super::tree::{Lines, Member, Node, Place, Tree};
use crate::near::nearest;

/// How a text may be laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One line.
    Line,
    /// Line breaks and tabs are allowed.
    Lines,
}

/// The findings of one file.
pub(super) struct Reader<'a> {
    file: &'a Path,
    lines: Lines<'a>,
    findings: Vec<Finding>,
    more: usize,
    /// Whether what is read is another form, whose unknown fields nobody would miss in time.
    pub(super) converting: bool,
    /// What the schemas of this manifest may still take.
    pub(super) schemas: crate::schema::Budget,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Path, lines: Lines<'a>) -> Self {
        let schemas = crate::schema::Budget::default();
        Self { file, lines, findings: Vec::new(), more: 0, converting: false, schemas }
    }

    /// Whether nothing wrong was found so far.
    pub(super) fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// All that was found.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        if self.more > 0 {
            let last = self.findings.last().map_or((1, 1), |finding| (finding.line, finding.column));
            self.findings.push(Finding {
                severity: Severity::Error,
                rule: "too-many",
                file: self.file.to_owned(),
                line: last.0,
                column: last.1,
                message: format!("and {} more", self.more),
                implies: None,
            });
        }
        self.findings
    }

    /// What stands at a place, as a note or as a finding.
    pub(super) fn finding(
        &self,
        at: Place,
        severity: Severity,
        rule: &'static str,
        message: String,
    ) -> Finding {
        let (line, column) = self.lines.line_and_column(at);
        Finding { severity, rule, file: self.file.to_owned(), line, column, message, implies: None }
    }

    /// Notes something wrong.
    pub(super) fn error(&mut self, at: Place, rule: &'static str, message: impl Into<String>) {
        if self.findings.len() >= FINDINGS_MAX {
            self.more += 1;
            return;
        }
        let finding = self.finding(at, Severity::Error, rule, message.into());
        self.findings.push(finding);
    }

    /// The members of a table; those that are not known are noted. `what` names the table in messages.
    pub(super) fn table<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Table<'n>> {
        let Some(members) = node.members() else {
            self.wrong_type(node, what, "an object");
            return None;
        };
        for member in members.iter().filter(|member| !known.contains(&member.name.as_str())) {
            self.unknown(member, known);
        }
        Some(Table { at: node.at, members })
    }

    /// Notes a member that is not known, with the one that was probably meant.
    pub(super) fn unknown(&mut self, member: &Member, known: &[&str]) {
        let name = shown(&member.name);
        let message = match nearest(&member.name, known) {
            Some(near) => format!("unknown field '{name}'; did you mean '{near}'?"),
            None if self.converting => {
                format!("unknown field '{name}' cannot be mapped; here can be {}", known.join(", "))
            }
            None => format!("unknown field '{name}'; here can be {}", known.join(", ")),
        };
        self.error(member.at, "unknown-field", message);
    }

    /// The value of a field that must be there.
    pub(super) fn required<'n>(&mut self, table: &Table<'n>, name: &str, example: &str) -> Option<&'n Node> {
        let node = table.get(name);
        if node.is_none() {
            self.error(table.at, "missing-field", format!("'{name}' is missing; such as {example}"));
        }
        node
    }

    pub(super) fn wrong_type(&mut self, node: &Node, what: &str, wanted: &str) {
        let quote = match (&node.value, wanted) {
            (Tree::Number(_) | Tree::Boolean(_) | Tree::Date(_), "a text") => "; put it in quotes",
            _ => "",
        };
        let message = format!("{what} is {}, not {wanted}{quote}", node.value.kind());
        self.error(node.at, "wrong-type", message);
    }

    /// A text that is not empty and at most this long. Hidden characters are noted once for the whole file, not here.
    pub(super) fn text<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        max_bytes: usize,
        layout: Layout,
    ) -> Option<&'n str> {
        let Tree::Text(text) = &node.value else {
            self.wrong_type(node, what, "a text");
            return None;
        };
        if text.is_empty() {
            self.error(node.at, "text", format!("{what} is empty"));
            return None;
        }
        if text.len() > max_bytes {
            let message = format!("{what} has {} bytes; at most {max_bytes} are allowed", text.len());
            self.error(node.at, "text", message);
            return None;
        }
        if layout == Layout::Line && text.contains(['\n', '\t']) {
            self.error(node.at, "text", format!("{what} is one line, without tabs"));
            return None;
        }
        Some(text)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
        let Tree::Text(text) = &node.value else {
            self.wrong_type(node, what, "a text");
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let choices = known.join(", ");
        let message = match nearest(text, &known) {
            Some(near) => format!("{what} '{}' is not known; did you mean '{near}'?", shown(text)),
            None => format!("{what} '{}' is not known; choose {choices}", shown(text)),
        };
        self.error(node.at, "unknown-word", message);
        None
    }

    pub(super) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        match &node.value {
            Tree::Boolean(value) => Some(*value),
            _ => {
                self.wrong_type(node, what, "true or false");
                None
            }
        }
    }

    /// A whole number within bounds; a fraction of zero counts as whole.
    pub(super) fn integer(&mut self, node: &Node, what: &str, min: i64, max: i64) -> Option<i64> {
        let Tree::Number(number) = &node.value else {
            self.wrong_type(node, what, "a number");
            return None;
        };
        match whole(number) {
            Some(value) if (min..=max).contains(&value) => Some(value),
            Some(value) => {
                let rule = if min >= 0 { "limit" } else { "range" };
                self.error(node.at, rule, format!("{what} is {value}; it can be {min} to {max}"));
                None
            }
            None => {
                let message = format!("{what} is {number}; it is a whole number of {min} to {max}");
                self.error(node.at, "limit", message);
                None
            }
        }
    }

    /// A list of at most this many.
    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str, max: usize) -> Option<&'n [Node]> {
        let Tree::List(nodes) = &node.value else {
            self.wrong_type(node, what, "a list");
            return None;
        };
        if nodes.len() > max {
            self.error(node.at, "too-large", format!("{what} has {} entries; at most {max}", nodes.len()));
            return None;
        }
        Some(nodes)
    }

    /// Notes every text of the file, names included, that holds a hidden or control character.
    pub(super) fn hidden_characters(&mut self, node: &Node) {
        match &node.value {
            Tree::Text(text) => self.hidden_in(node.at, text),
            Tree::List(nodes) => nodes.iter().for_each(|node| self.hidden_characters(node)),
            Tree::Table(members) => {
                for member in members {
                    self.hidden_in(member.at, &member.name);
                    self.hidden_characters(&member.value);
                }
            }
            _ => {}
        }
    }

    fn hidden_in(&mut self, at: Place, text: &str) {
        if let Some(c) = super::text::forbidden(text) {
            let code = u32::from(c);
            let message = format!("a text holds the hidden or control character U+{code:04X}; remove it");
            self.error(at, "hidden-character", message);
        }
    }
}

fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        // The bound is 2^53: above it not every whole number is one of f64.
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        let whole = (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i64);
        whole
    })
}

/// The members of a table whose unknown ones are noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'n> {
    pub(super) at: Place,
    pub(super) members: &'n [Member],
}

impl<'n> Table<'n> {
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        self.members.iter().find(|member| member.name == name).map(|member| &member.value)
    }

    /// The member itself, for the place of its name.
    pub(super) fn member(&self, name: &str) -> Option<&'n Member> {
        self.members.iter().find(|member| member.name == name)
    }
}
