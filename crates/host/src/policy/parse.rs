//! The text of a policy: TOML, every mistake at once, each with its place and what was probably meant.

use std::collections::BTreeSet;
use std::time::Duration;

use ringfence_policy::{
    Ceilings, Effect, GrantProblem, NamePattern, Place, Placed, Policy, PolicyRule, Rule, Vars,
};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ENTRIES_MAX, Finding};
use crate::config::{COUNT_MAX, CPU_MAX_PERCENT, Reader, place};
use crate::units;

/// The fields of each table, so that a mistake can be answered with what exists.
const TOP: [&str; 7] = ["allow", "default", "deny", "install", "limits", "plugins", "quarantine"];
const GROUP: [&str; 4] = ["allow", "deny", "limits", "names"];
const INSTALL: [&str; 4] = ["blocked_digests", "blocked_names", "publishers", "scan_rules"];
const QUARANTINE: [&str; 1] = ["denials_per_hour"];
const LIMITS: [&str; 11] = [
    "call_timeout",
    "cpu",
    "data_keys",
    "data_size",
    "init_timeout",
    "max_file_size",
    "max_log_size",
    "max_open_files",
    "memory",
    "processes",
    "queued_calls",
];

type Value<'a> = Spanned<DeValue<'a>>;

/// The policy in `text`; `name` is what rules and messages call the file.
pub(super) fn parse(text: &str, name: &str, vars: &Vars) -> Result<Policy, Vec<Finding>> {
    let mut parser = Parser {
        reader: Reader::new(text),
        lines: Lines::of(text),
        name,
        vars,
        entries: 0,
        policy: Policy::default(),
    };
    match DeTable::parse(text) {
        Ok(table) if table.get_ref().is_empty() => parser.reader.mistake(
            0,
            "it says nothing, as a file that is half written does; remove it, or write default = \"allow\"",
        ),
        Ok(table) => parser.top(table.get_ref()),
        Err(error) => {
            let message = one_line(error.message());
            parser.reader.mistake(error.span().map_or(0, |span| span.start), &message);
        }
    }
    // The table has its fields in another order than the file.
    parser.policy.rules.sort_by_key(|rule| rule.place);
    let findings: Vec<Finding> = parser.reader.mistakes().into_iter().map(Finding::from).collect();
    if findings.is_empty() { Ok(parser.policy) } else { Err(findings) }
}

/// Messages of the TOML reader may have several lines.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Where the lines of a text begin, so that the place of each of many rules costs little.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    fn place(&self, at: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).and_then(|index| self.starts.get(index)).copied().unwrap_or_default();
        match self.text.get(start..at) {
            Some(before) => Place { line, column: before.chars().count() + 1 },
            None => {
                let (line, column) = place(self.text, at);
                Place { line, column }
            }
        }
    }
}

struct Parser<'a> {
    reader: Reader<'a>,
    lines: Lines<'a>,
    name: &'a str,
    vars: &'a Vars,
    /// Entries of lists so far.
    entries: usize,
    policy: Policy,
}

impl Parser<'_> {
    fn top(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("default", _) => self.default_effect(value),
                (word @ ("allow" | "deny"), _) => self.rules(effect(word), &[], value),
                ("install", DeValue::Table(table)) => self.install(table),
                ("quarantine", DeValue::Table(table)) => self.quarantine(table),
                ("limits", DeValue::Table(table)) => {
                    let ceilings = self.ceilings(table);
                    self.policy.ceilings.push((Vec::new(), ceilings));
                }
                ("plugins", DeValue::Array(groups)) => groups.iter().for_each(|group| self.group(group)),
                ("plugins", _) => {
                    self.reader.mistake(key.span().start, "'plugins' is a list of tables: write [[plugins]]")
                }
                (name @ ("install" | "quarantine" | "limits"), _) => {
                    self.reader.mistake(key.span().start, &format!("'{name}' is a table: write [{name}]"))
                }
                (name, _) => self.reader.unknown(key.span().start, name, &TOP),
            }
        }
    }

    /// A field that a table does not have. One of the top that comes too late belongs to the table before it.
    fn unknown(&mut self, at: usize, name: &str, known: &[&str]) {
        if TOP.contains(&name) {
            let message = format!("'{name}' is not a field of this table; write it above the first [table]");
            return self.reader.mistake(at, &message);
        }
        self.reader.unknown(at, name, known);
    }

    fn default_effect(&mut self, value: &Value<'_>) {
        let at = value.span().start;
        let effect = match value.get_ref() {
            DeValue::String(word) if word == "allow" => Effect::Allow,
            DeValue::String(word) if word == "deny" => Effect::Deny,
            _ => return self.reader.mistake(at, "write \"allow\" or \"deny\""),
        };
        self.policy.default_effect = Some(Placed { value: effect, place: self.lines.place(at) });
    }

    fn group(&mut self, group: &Value<'_>) {
        let DeValue::Table(table) = group.get_ref() else {
            return self.reader.mistake(group.span().start, "expected a table: write [[plugins]]");
        };
        let mut names = Vec::new();
        match table.iter().find(|(key, _)| key.get_ref() == "names") {
            Some((_, value)) => {
                for placed in self.patterns(value) {
                    names.push(placed.value);
                }
                if matches!(value.get_ref(), DeValue::Array(list) if list.is_empty()) {
                    self.reader.mistake(value.span().start, "name at least one plugin, or \"*\" for all");
                }
            }
            None => self.reader.mistake(
                group.span().start,
                "'names' is missing: which plugins is this about? For example names = [\"mail-*\"]",
            ),
        }
        for (key, value) in table {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("names", _) => {}
                (word @ ("allow" | "deny"), _) => self.rules(effect(word), &names, value),
                ("limits", DeValue::Table(table)) => {
                    let ceilings = self.ceilings(table);
                    self.policy.ceilings.push((names.clone(), ceilings));
                }
                ("limits", _) => {
                    self.reader.mistake(value.span().start, "'limits' is a table: write [plugins.limits]")
                }
                (name, _) => self.unknown(key.span().start, name, &GROUP),
            }
        }
    }

    fn rules(&mut self, effect: Effect, plugins: &[NamePattern], list: &Value<'_>) {
        let example = "expected a list of permissions, such as [\"file:read=/srv/notes/**\"]";
        for (text, at) in self.texts(list, example) {
            let place = self.lines.place(at);
            let origin = format!("{}:{}", self.name, place.line);
            if let Some(why) = relative(text) {
                self.reader.mistake(at, &why);
                continue;
            }
            match Rule::parse(effect, text, self.vars, origin) {
                Ok(rule) => {
                    self.policy.rules.push(PolicyRule { plugins: plugins.to_vec(), rule, place });
                }
                Err(error) => {
                    let said = match error.problem() {
                        GrantProblem::Floor { .. } => format!(
                            "{}: allow what is needed by its directories, as a grant has to",
                            error.problem()
                        ),
                        problem => problem.to_string(),
                    };
                    self.reader.mistake(at, &one_line(&said));
                }
            }
        }
    }

    fn install(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "publishers" => {
                    let publishers = self.patterns(value);
                    if matches!(value.get_ref(), DeValue::Array(list) if list.is_empty()) {
                        self.reader.mistake(
                            value.span().start,
                            "no publisher is named; leave the line out to take packages of anybody",
                        );
                    }
                    self.policy.admission.publishers = publishers;
                }
                "blocked_names" => self.policy.admission.blocked_names = self.patterns(value),
                "blocked_digests" => {
                    let example = "expected a list of digests, 64 hexadecimal digits each";
                    self.policy.admission.blocked_digests = self.parsed(value, example);
                }
                "scan_rules" => {
                    let example = "expected a list of ids of scan rules";
                    self.policy.scan_rules = self.parsed(value, example);
                    self.unknown_scan_rules(value);
                }
                name => self.unknown(key.span().start, name, &INSTALL),
            }
        }
    }

    /// A rule that does not exist blocks nothing, which nobody meant.
    fn unknown_scan_rules(&mut self, value: &toml::Spanned<DeValue<'_>>) {
        let DeValue::Array(items) = value.get_ref() else { return };
        for item in items {
            let DeValue::String(text) = item.get_ref() else { continue };
            if text.parse::<ringfence_policy::ScanRuleId>().is_ok()
                && !crate::scan::unknown_rules(&[text.as_ref()]).is_empty()
            {
                let shown = crate::consent::shown(text);
                self.reader.mistake(
                    item.span().start,
                    &format!("there is no scan rule '{shown}'; docs/scan.md has a list of them"),
                );
            }
        }
    }

    fn quarantine(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "denials_per_hour" => {
                    let mut count = None;
                    self.ceiling(value, |text| units::parse_count(text, COUNT_MAX), &mut count);
                    self.policy.denials_per_hour = count;
                }
                name => self.unknown(key.span().start, name, &QUARANTINE),
            }
        }
    }

    fn ceilings(&mut self, table: &DeTable<'_>) -> Ceilings {
        let count = |text: &str| units::parse_count(text, COUNT_MAX);
        let mut to = Ceilings::default();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "init_timeout" => self.ceiling(value, units::parse_duration, &mut to.init_timeout),
                "call_timeout" => self.ceiling(value, units::parse_duration, &mut to.call_timeout),
                "memory" => self.ceiling(value, units::parse_size, &mut to.memory_bytes),
                "cpu" => {
                    self.ceiling(value, |text| units::parse_count(text, CPU_MAX_PERCENT), &mut to.cpu_percent)
                }
                "processes" => self.ceiling(value, count, &mut to.processes),
                "max_file_size" => self.ceiling(value, units::parse_size, &mut to.file_size_bytes),
                "max_open_files" => self.ceiling(value, count, &mut to.open_files),
                "max_log_size" => self.ceiling(value, units::parse_size, &mut to.log_bytes),
                "data_size" => self.ceiling(value, units::parse_size, &mut to.data_bytes),
                "data_keys" => self.ceiling(value, count, &mut to.data_keys),
                "queued_calls" => self.ceiling(value, count, &mut to.queued_calls),
                name => self.unknown(key.span().start, name, &LIMITS),
            }
        }
        to
    }

    fn ceiling<T: Zero>(
        &mut self,
        value: &Value<'_>,
        parse: impl Fn(&str) -> Result<units::Limit<T>, crate::Error>,
        to: &mut Option<Placed<T>>,
    ) {
        let mut bound = T::ZERO;
        self.reader.require(value, parse, &mut bound);
        // What could not be read is noted; then nobody sees the policy.
        *to = Some(Placed { value: bound, place: self.lines.place(value.span().start) });
    }

    /// A list of patterns over names.
    fn patterns(&mut self, list: &Value<'_>) -> Vec<Placed<NamePattern>> {
        self.parsed(list, "expected a list of names, such as [\"mail-*\"]")
    }

    fn parsed<T>(&mut self, list: &Value<'_>, example: &str) -> Vec<Placed<T>>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let mut all = Vec::new();
        for (text, at) in self.texts(list, example) {
            match text.parse::<T>() {
                Ok(value) => all.push(Placed { value, place: self.lines.place(at) }),
                Err(error) => self.reader.mistake(at, &one_line(&error.to_string())),
            }
        }
        all
    }

    /// The texts of a list, each with where it stands. A text that stands there twice is a slip.
    fn texts<'v>(&mut self, list: &'v Value<'_>, example: &str) -> Vec<(&'v str, usize)> {
        let DeValue::Array(items) = list.get_ref() else {
            self.reader.mistake(list.span().start, example);
            return Vec::new();
        };
        let mut texts = Vec::new();
        let mut seen = BTreeSet::new();
        for item in items {
            let at = item.span().start;
            let DeValue::String(text) = item.get_ref() else {
                self.reader.mistake(at, example);
                continue;
            };
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                let message =
                    format!("more than {ENTRIES_MAX} rules and names together; patterns say more at once");
                self.reader.mistake(at, &message);
                break;
            }
            if !seen.insert(text.as_ref()) {
                self.reader.mistake(at, "this stands in the list already");
                continue;
            }
            texts.push((text.as_ref(), at));
        }
        texts
    }
}

/// A value to begin with, before one is read.
trait Zero {
    const ZERO: Self;
}

impl Zero for u64 {
    const ZERO: Self = 0;
}

impl Zero for Duration {
    const ZERO: Self = Self::ZERO;
}

fn effect(word: &str) -> Effect {
    if word == "deny" { Effect::Deny } else { Effect::Allow }
}

/// Why a scope cannot be one of a policy: a relative path means another place for everybody, and `${data}` is each plugin's
/// own business.
fn relative(text: &str) -> Option<String> {
    let (name, scope) = text.split_once('=')?;
    let paths = matches!(name, "file:read" | "file:write" | "file:delete" | "subprocess:execute");
    if !paths || name == "subprocess:execute" && !scope.contains('/') {
        return None;
    }
    if scope.starts_with("${data}") {
        return Some("every plugin may use its own data; a policy has no say in that".to_owned());
    }
    let absolute = scope.starts_with(['/', '~']) || scope.starts_with("**/") || scope == "**";
    (!absolute).then(|| {
        "the path is relative, and to nothing: begin it with /, with ~/ or, for any directory, with **/"
            .to_owned()
    })
}
