//! Looks at Rust source text without comments, literals and test modules, so that a rule about code is not
//! answered by a sentence or a test.
//!
//! This is a scanner, not a parser: it knows comments, string and character literals, and matching braces.

/// What to keep of a source text. Line breaks are always kept, so line numbers stay right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Code only: comments and the insides of literals become spaces.
    Code,
    /// Code and literals: comments become spaces.
    CodeAndLiterals,
}

/// The text with what is not kept replaced by spaces.
pub(crate) fn blank(source: &str, keep: Keep) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut last = ' ';
    while let Some(first) = rest.chars().next() {
        let (length, kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (block_comment(rest), false)
        } else if let Some(length) = literal(rest, last) {
            (length, keep == Keep::CodeAndLiterals)
        } else {
            (first.len_utf8(), true)
        };
        let (token, after) = rest.split_at(length);
        if kept {
            out.push_str(token);
        } else {
            out.extend(token.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        last = token.chars().next_back().unwrap_or(' ');
        rest = after;
    }
    out
}

/// The text with every item under `#[cfg(test)]` replaced by spaces. Takes source as it was written.
pub(crate) fn without_tests(source: &str) -> String {
    let code = blank(source, Keep::Code);
    let mut out = source.to_owned();
    let mut from = 0;
    while let Some(start) = code.get(from..).and_then(|rest| rest.find("#[cfg(test)]")).map(|at| from + at) {
        let end = item_end(&code, start);
        if let Some(item) = source.get(start..end) {
            let spaces: String = item.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
            out.replace_range(start..end, &spaces);
        }
        from = end.max(start + 1);
    }
    out
}

/// The length of a block comment at the start of `text`; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a string or character literal at the start of `text`, if there is one.
fn literal(text: &str, last: char) -> Option<usize> {
    // An `r` or `b` that ends a longer word opens nothing.
    let inside_word = last.is_alphanumeric() || last == '_';
    let prefix = text.find(|c| !matches!(c, 'b' | 'c' | 'r')).filter(|length| *length <= 2)?;
    if prefix > 0 && inside_word {
        return None;
    }
    let (letters, body) = text.split_at(prefix);
    if letters.contains('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let inner = body.get(hashes..)?.strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let length = inner.find(&close).map_or(inner.len(), |at| at + close.len());
        return Some(prefix + hashes + 1 + length);
    }
    if body.starts_with('"') {
        return Some(prefix + quoted(body, '"'));
    }
    // 'x' and '\n' are characters; 'name without a closing quote is a lifetime.
    let inner = body.strip_prefix('\'')?;
    let is_character = inner.starts_with('\\') || inner.chars().nth(1) == Some('\'');
    is_character.then(|| prefix + quoted(body, '\''))
}

/// The length of a literal that opens and closes with `quote` and knows backslashes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// Where the item ends whose attribute starts at `start`: behind its `;` or its matching brace.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_go_and_code_stays_where_it_was() {
        let source = "a(); // Command::new\n/* x /* y */ z */ b(\"Command::new\", 'c', r#\"d\"e\"#);\nlet s: &'a str;\n";
        let code = blank(source, Keep::Code);
        assert_eq!(code.len(), source.len());
        assert!(!code.contains("Command") && !code.contains('z') && !code.contains('d'), "{code}");
        assert!(code.contains("a();") && code.contains("b(") && code.contains("&'a str"), "{code}");
        assert_eq!(code.lines().count(), source.lines().count());
        let literals = blank(source, Keep::CodeAndLiterals);
        assert!(literals.contains("\"Command::new\"") && !literals.contains("// C"), "{literals}");
    }

    #[test]
    fn quotes_inside_literals_do_not_end_them() {
        for source in [
            r#"f("a\"b//c") + unsafe_d"#,
            r"f('\'') + unsafe_d",
            r"f('\\') + unsafe_d",
            r#"f(b"\\") + unsafe_d"#,
        ] {
            assert!(blank(source, Keep::Code).ends_with(" + unsafe_d"), "{source}");
        }
        assert_eq!(blank("for x in r { y }", Keep::Code), "for x in r { y }");
    }

    #[test]
    fn test_items_go_with_their_braces() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { \"}\" }\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}\n";
        let kept = without_tests(source);
        assert!(kept.contains("fn a()") && kept.contains("fn c()") && kept.contains("fn e()"), "{kept}");
        assert!(!kept.contains("fn b") && !kept.contains("mod d"), "{kept}");
        assert_eq!(kept.lines().count(), source.lines().count());
    }
}
