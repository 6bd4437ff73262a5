//! What kind of file a file is: by its name, and by how it begins.

use crate::rule::Language;
use crate::tree::Grammar;

/// How much of a file is needed to tell, in bytes.
pub(crate) const HEAD_BYTES: usize = 4_096;

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Code(Grammar),
    /// Text without a grammar: settings, documents.
    Text,
    Elf,
    Wasm,
    /// Code that is not read, with what it is.
    Opaque(&'static str),
    /// Data that no rule is about.
    Data,
}

impl Kind {
    pub(crate) const fn language(self) -> Language {
        match self {
            Self::Code(grammar) => grammar.language(),
            Self::Elf => Language::Elf,
            Self::Wasm => Language::Wasm,
            Self::Text | Self::Opaque(_) | Self::Data => Language::Text,
        }
    }
}

/// What the name of a file says.
pub(crate) fn by_name(name: &str) -> Option<Kind> {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase())?;
    Some(match ending.as_str() {
        "py" | "pyw" | "pyi" => Kind::Code(Grammar::Python),
        "js" | "mjs" | "cjs" | "jsx" => Kind::Code(Grammar::JavaScript),
        "ts" | "mts" | "cts" => Kind::Code(Grammar::TypeScript),
        "tsx" => Kind::Code(Grammar::Tsx),
        "sh" | "bash" | "zsh" | "ksh" => Kind::Code(Grammar::Shell),
        "wasm" => Kind::Wasm,
        "md" | "txt" | "rst" | "json" | "yaml" | "yml" | "toml" | "ini" | "cfg" | "conf" | "xml" | "html"
        | "css" | "csv" | "pth" | "c" | "h" | "rs" | "go" | "java" | "rb" | "pl" | "php" | "lua" => {
            Kind::Text
        }
        _ => return None,
    })
}

/// What the beginning of a file says.
pub(crate) fn by_head(head: &[u8]) -> Option<Kind> {
    let opaque = [
        (b"PK\x03\x04".as_slice(), "an archive"),
        (b"MZ", "a program for Windows"),
        (b"\xca\xfe\xba\xbe", "a program for macOS or Java"),
        (b"\xcf\xfa\xed\xfe", "a program for macOS"),
        (b"\xce\xfa\xed\xfe", "a program for macOS"),
        (b"\x1f\x8b", "a compressed file"),
        (b"BZh", "a compressed file"),
        (b"\xfd7zXZ\0", "a compressed file"),
        (b"\x28\xb5\x2f\xfd", "a compressed file"),
        (b"7z\xbc\xaf\x27\x1c", "an archive"),
        (b"!<arch>\n", "a static library or a package of Debian"),
        (b"ustar", "an archive"),
    ];
    if head.starts_with(b"\x7fELF") {
        return Some(Kind::Elf);
    }
    if head.starts_with(b"\0asm") {
        return Some(Kind::Wasm);
    }
    if head.get(257..262) == Some(b"ustar".as_slice()) {
        return Some(Kind::Opaque("an archive"));
    }
    if let Some((_, what)) = opaque.iter().find(|(magic, _)| head.starts_with(magic)) {
        // Two letters begin many texts.
        let text = magic_is_text(head);
        return (!text).then_some(Kind::Opaque(what));
    }
    // The byte code of Python: a number, then carriage return and line feed.
    if head.get(2..4) == Some(b"\r\n".as_slice()) && head.iter().take(HEAD_BYTES).any(|byte| *byte == 0) {
        return Some(Kind::Opaque("byte code of Python"));
    }
    by_interpreter(head)
}

fn magic_is_text(head: &[u8]) -> bool {
    !head.contains(&0) && std::str::from_utf8(head).is_ok()
}

/// `#!/usr/bin/env python3`
fn by_interpreter(head: &[u8]) -> Option<Kind> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or_default());
    let program = words.find(|word| *word != "env" && !word.starts_with('-') && !word.contains('='))?;
    Some(match program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "python" | "pypy" => Kind::Code(Grammar::Python),
        "node" | "nodejs" | "bun" => Kind::Code(Grammar::JavaScript),
        "deno" | "tsx" | "ts-node" => Kind::Code(Grammar::TypeScript),
        "sh" | "bash" | "dash" | "zsh" | "ksh" | "ash" => Kind::Code(Grammar::Shell),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_language() {
        for (line, kind) in [
            ("#!/usr/bin/env -S python3.12 -u\n", Kind::Code(Grammar::Python)),
            ("#!/bin/bash\n", Kind::Code(Grammar::Shell)),
            ("#! /usr/bin/env A=1 node", Kind::Code(Grammar::JavaScript)),
        ] {
            assert_eq!(by_head(line.as_bytes()), Some(kind), "{line}");
        }
        assert_eq!(by_head(b"#!/usr/bin/perl\n"), None);
        assert_eq!(by_head(b"#!"), None);
        assert_eq!(by_head(b"MZ is a word of this text\n"), None);
    }
}
