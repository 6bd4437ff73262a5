//! Shell: which commands are executed, what they are given, and which variables come from outside.

use std::collections::BTreeSet;
use std::time::Instant;

use tree_sitter::{Node, Tree};

use crate::hits::{Hits, Source};
use crate::meaning::{Names, Text, unescape};
use crate::python::GIVEN;
use crate::rule::{Language, Use, by_name};
use crate::tree::{self, Cut, Steps, children, text};

/// Words of one command that are looked at.
const WORDS_MAX: usize = 64;
/// Words of a wrapper among which its command is looked for.
const OPTIONS_MAX: usize = 6;
/// Commands that execute the command that they are given.
const WRAPPERS: &[&str] = &[
    "command", "builtin", "exec", "env", "sudo", "doas", "nohup", "nice", "ionice", "time", "timeout",
    "setsid", "xargs", "stdbuf", "chroot", "busybox",
];
/// Programs that execute a text.
const INTERPRETERS: &[&str] =
    &["sh", "bash", "dash", "zsh", "ksh", "ash", "python", "python3", "node", "perl", "ruby", "php"];
/// What the shell does itself, without another program.
const BUILT_IN: &[&str] = &[
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "declare",
    "dirs",
    "disown",
    "echo",
    "enable",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "getopts",
    "hash",
    "help",
    "history",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "set",
    "shift",
    "shopt",
    "source",
    ".",
    ":",
    "suspend",
    "test",
    "[",
    "[[",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "wait",
];
/// Variables that the shell sets itself, or that every sandbox has.
const OWN_VARIABLES: &[&str] = &[
    "BASH",
    "BASHPID",
    "COLUMNS",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HOME",
    "HOSTNAME",
    "HOSTTYPE",
    "IFS",
    "LINENO",
    "LINES",
    "MACHTYPE",
    "MAPFILE",
    "OLDPWD",
    "OPTARG",
    "OPTIND",
    "OSTYPE",
    "PATH",
    "PIPESTATUS",
    "PPID",
    "PWD",
    "RANDOM",
    "REPLY",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "TMPDIR",
    "UID",
];

/// Looks at a script.
pub(crate) fn look(tree: &Tree, source: &Source<'_>, deadline: Instant, hits: &mut Hits) -> Result<(), Cut> {
    let mut shell =
        Shell { text: source.text, names: Names::default(), set: BTreeSet::new(), steps: Steps::default() };
    tree::walk(tree, deadline, |node, _| shell.bind(node))?;
    tree::walk(tree, deadline, |node, _| shell.find(node, source, hits))
}

struct Shell<'a> {
    text: &'a str,
    names: Names,
    /// Variables that the script sets.
    set: BTreeSet<String>,
    steps: Steps,
}

impl<'t> Shell<'_> {
    fn bind(&mut self, node: Node<'t>) {
        match node.kind() {
            "variable_assignment" => {
                let name = node.child_by_field_name("name").map(|name| text(name, self.text).to_owned());
                let value = node.child_by_field_name("value").and_then(|value| self.word(value));
                let Some(name) = name else { return };
                if let Some(value) = value {
                    self.names.bind_text(&name, value);
                }
                self.set.insert(name);
            }
            "function_definition" => {
                if let Some(name) = node.child_by_field_name("name") {
                    self.names.define(text(name, self.text));
                }
            }
            "for_statement" => {
                if let Some(name) = node.child_by_field_name("variable") {
                    self.set.insert(text(name, self.text).to_owned());
                }
            }
            "declaration_command" => {
                for name in
                    children(node, WORDS_MAX).into_iter().filter(|word| word.kind() == "variable_name")
                {
                    self.set.insert(text(name, self.text).to_owned());
                }
            }
            "command" => {
                // `read`, `printf -v` and `mapfile` set what they name.
                let words = self.words(node);
                if matches!(
                    words.first().map(String::as_str),
                    Some("read" | "printf" | "mapfile" | "readarray" | "getopts")
                ) {
                    self.set.extend(words.into_iter().skip(1));
                }
            }
            _ => {}
        }
    }

    /// The text of a word, as far as it is always the same.
    fn word(&self, node: Node<'t>) -> Option<Text> {
        self.steps.begin();
        self.fold(node, 0)
    }

    fn fold(&self, node: Node<'t>, depth: usize) -> Option<Text> {
        self.steps.step(depth)?;
        let whole = text(node, self.text);
        let inner = |left: usize| whole.get(left..whole.len().saturating_sub(1)).unwrap_or_default();
        match node.kind() {
            "word" | "number" | "string_content" | "variable_name" => {
                let plain = whole.replace('\\', "");
                Some(Text { assembled: plain.len() != whole.len() && node.kind() == "word", text: plain })
            }
            "raw_string" => Some(Text::plain(inner(1))),
            "ansi_c_string" => Some(Text { text: unescape(inner(2)), assembled: whole.contains('\\') }),
            "string" | "concatenation" => {
                let mut folded: Option<Text> = None;
                for part in children(node, WORDS_MAX) {
                    let part = self.fold(part, depth + 1)?;
                    folded = Some(match folded {
                        None => part,
                        Some(folded) => folded.and(&part)?,
                    });
                }
                folded.or_else(|| (node.kind() == "string").then(Text::default))
            }
            "command_name" => self.fold(node.named_child(0)?, depth + 1),
            "simple_expansion" => self.names.text(text(node.named_child(0)?, self.text)),
            "expansion" if node.named_child_count() == 1 => {
                self.names.text(text(node.named_child(0)?, self.text))
            }
            _ => None,
        }
    }

    /// The words of a command that are always the same; others stand as an empty text.
    fn words(&self, command: Node<'t>) -> Vec<String> {
        let words = children(command, WORDS_MAX).into_iter().filter(|word| {
            !matches!(
                word.kind(),
                "variable_assignment" | "file_redirect" | "herestring_redirect" | "heredoc_redirect"
            )
        });
        words.map(|word| self.word(word).map(|word| word.text).unwrap_or_default()).collect()
    }

    fn find(&self, node: Node<'t>, source: &Source<'_>, hits: &mut Hits) {
        match node.kind() {
            "command" => self.find_command(node, source, hits),
            "pipeline" => self.find_pipeline(node, source, hits),
            "command_substitution" | "process_substitution" | "subshell" => {
                hits.at("runs-programs", source, node.start_byte(), "a shell within the shell");
            }
            "file_redirect" => {
                let to =
                    node.child_by_field_name("destination").map(|to| text(to, self.text)).unwrap_or_default();
                if to.contains("/dev/tcp/") || to.contains("/dev/udp/") {
                    hits.at("network-client", source, node.start_byte(), "'/dev/tcp'");
                }
            }
            "simple_expansion" | "expansion" => self.find_variable(node, source, hits),
            _ => {}
        }
    }

    fn find_command(&self, node: Node<'t>, source: &Source<'_>, hits: &mut Hits) {
        let Some(name) = node.child_by_field_name("name") else { return };
        let at = node.start_byte();
        let Some(folded) = self.word(name) else {
            hits.at("dynamic-code", source, at, "a command that is known only when it runs");
            return;
        };
        let words = self.words(node);
        let mut rest = words.as_slice();
        // `sudo -n env X=1 rm`: every wrapper, then the command.
        while let Some((first, others)) = rest.split_first() {
            let command = program(first);
            self.find_name(command, others, at, source, hits);
            if !WRAPPERS.contains(&command) {
                break;
            }
            // An option may have a word of its own: `sudo -u root rm`.
            let named = others
                .iter()
                .take(OPTIONS_MAX)
                .position(|word| by_name(Language::Shell, Use::Command, program(word)).is_some());
            let skipped = named.unwrap_or_else(|| others.iter().take_while(|word| is_option(word)).count());
            rest = others.get(skipped..).unwrap_or_default();
        }
        if folded.assembled && !BUILT_IN.contains(&folded.text.as_str()) {
            hits.at("assembled-name", source, at, &format!("'{}'", folded.text));
        }
    }

    fn find_name(&self, command: &str, words: &[String], at: usize, source: &Source<'_>, hits: &mut Hits) {
        if command.is_empty() || self.names.is_own(command) {
            return;
        }
        if !BUILT_IN.contains(&command) {
            hits.at("runs-programs", source, at, &format!("'{command}'"));
        }
        hits.name(Language::Shell, Use::Command, command, source, at);
        let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
        match command {
            "find" if has(&["-delete"]) => hits.at("deletes-files", source, at, "'find -delete'"),
            "git" if has(&["clone", "fetch", "pull", "push", "ls-remote"]) => {
                hits.at("network-client", source, at, "'git'");
            }
            "nc" | "ncat" | "netcat" | "socat" if words.iter().any(|word| is_listening(word)) => {
                hits.at("network-server", source, at, &format!("'{command}'"));
            }
            "python" | "python3" if has(&["http.server", "SimpleHTTPServer"]) => {
                hits.at("network-server", source, at, "'python -m http.server'");
            }
            "env" if words.is_empty() => hits.at("reads-environment", source, at, "'env'"),
            // The text is not always the same, or it is one that nobody looks into.
            _ if INTERPRETERS.contains(&command) && has(&["-c", "-e"]) => {
                hits.at("dynamic-code", source, at, &format!("'{command}' with a text"));
            }
            _ => {}
        }
    }

    /// `... | sh`: what comes out of one command is executed by another.
    fn find_pipeline(&self, node: Node<'t>, source: &Source<'_>, hits: &mut Hits) {
        let at = node.start_byte();
        hits.at("runs-programs", source, at, "a pipeline");
        let mut decoded = false;
        for (index, part) in children(node, WORDS_MAX).into_iter().enumerate() {
            let words = self.words(part);
            let command = words.first().map(|word| program(word)).unwrap_or_default();
            let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
            if index > 0 && INTERPRETERS.contains(&command) {
                hits.at("dynamic-code", source, at, &format!("'... | {command}'"));
                if decoded {
                    hits.at("hidden-code", source, at, &format!("'... | {command}'"));
                }
            }
            decoded |= match command {
                "base64" | "base32" => has(&["-d", "-D", "--decode", "-di"]),
                "xxd" => has(&["-r", "-rp", "-p"]),
                "openssl" => has(&["-d", "-D"]),
                "rev" | "gunzip" | "zcat" | "uudecode" => true,
                "tr" => index > 0,
                _ => false,
            };
        }
    }

    fn find_variable(&self, node: Node<'t>, source: &Source<'_>, hits: &mut Hits) {
        let Some(name) = node.named_child(0).filter(|name| name.kind() == "variable_name") else { return };
        let name = text(name, self.text);
        let outside = name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        let own = OWN_VARIABLES.contains(&name)
            || ["BASH_", "LC_", GIVEN].iter().any(|prefix| name.starts_with(prefix));
        if outside && !own && !self.set.contains(name) {
            hits.at("reads-environment", source, node.start_byte(), &format!("'${name}'"));
        }
    }
}

/// What stands between a wrapper and its command.
fn is_option(word: &str) -> bool {
    word.starts_with('-') || word.contains('=') || word.chars().all(|c| c.is_ascii_digit())
}

/// The name of a program without its directory.
fn program(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or_default()
}

fn is_listening(word: &str) -> bool {
    let letters = word.strip_prefix('-').filter(|letters| !letters.starts_with('-'));
    word == "--listen"
        || word.to_ascii_uppercase().contains("-LISTEN:")
        || letters.is_some_and(|letters| letters.contains('l'))
}
