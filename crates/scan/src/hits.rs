//! Collects what is found in one file, with its place in lines and characters.

use std::collections::BTreeMap;

use crate::limits::FINDINGS_PER_FILE_MAX;
use crate::report::{Hit, cut};
use crate::rule::{Language, Use, by_name, rule};

/// The bytes of one file as text, and where its lines begin.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(newlines).collect() }
    }

    /// The line and the column in characters of a byte, both counted from 1.
    fn place(&self, at: usize) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.as_bytes().get(start..at).unwrap_or_default();
        // Bytes that go on with a character do not count; the text is UTF-8.
        let column = before.iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }
}

/// The hits of one file: of each rule a few, the rest is counted.
#[derive(Debug)]
pub(crate) struct Hits {
    file: String,
    hits: Vec<Hit>,
    counts: BTreeMap<&'static str, usize>,
    seen: std::collections::BTreeSet<(&'static str, u32)>,
    pub(crate) more: u64,
}

impl Hits {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            hits: Vec::new(),
            counts: BTreeMap::new(),
            seen: std::collections::BTreeSet::new(),
            more: 0,
        }
    }

    /// A hit of the rule of that name, at a byte of the text. One of each rule in a line is enough.
    pub(crate) fn at(&mut self, id: &'static str, source: &Source<'_>, at: usize, subject: &str) {
        let (line, column) = source.place(at);
        self.add(id, line, column, subject);
    }

    /// A hit of the file as a whole.
    pub(crate) fn whole(&mut self, id: &'static str, subject: &str) {
        self.add(id, 1, 1, subject);
    }

    /// A hit of the rule that looks for `name`, if there is one.
    pub(crate) fn name(
        &mut self,
        language: Language,
        by: Use,
        name: &str,
        source: &Source<'_>,
        at: usize,
    ) -> bool {
        let found = by_name(language, by, name);
        if let Some(rule) = found {
            self.at(rule.id, source, at, &format!("'{name}'"));
        }
        found.is_some()
    }

    fn add(&mut self, id: &'static str, line: u32, column: u32, subject: &str) {
        debug_assert!(rule(id).is_some(), "{id} is no rule");
        // Several of one rule in one line say nothing more, but a file without lines has many.
        if line > 1 && !self.seen.insert((id, line)) {
            return;
        }
        let count = self.counts.entry(id).or_default();
        *count += 1;
        if *count > FINDINGS_PER_FILE_MAX {
            self.more += 1;
            return;
        }
        self.hits.push(Hit {
            rule: id.to_owned(),
            file: self.file.clone(),
            line,
            column,
            subject: cut(subject),
        });
    }

    /// What was found; the same thing at the same place once.
    pub(crate) fn done(mut self) -> (Vec<Hit>, u64) {
        self.hits.sort_by(|a, b| (a.line, a.column, &a.rule).cmp(&(b.line, b.column, &b.rule)));
        self.hits.dedup();
        (self.hits, self.more)
    }
}
