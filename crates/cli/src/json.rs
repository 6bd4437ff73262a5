//! JSON of and for people: laid out for a terminal, on one line for a program. Numbers and names stay as they were written.

use std::io::IsTerminal as _;

use ringfence_api::text::is_hidden;

/// How deep indentation goes; what is deeper stands on the line it is on.
const INDENT_MAX: usize = 64;

/// The text for stdout as it is now: indented on a terminal, else one compact line.
pub(crate) fn for_stdout(json: &str) -> String {
    if std::io::stdout().is_terminal() { indented(json) } else { compact(json) }
}

/// Without any space that means nothing.
pub(crate) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    tokens(json, |token| out.push_str(token));
    out
}

/// One member or element a line, and nothing in it that a terminal would obey.
pub(crate) fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth: usize = 0;
    let mut opened = false;
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth.min(INDENT_MAX)));
    };
    tokens(json, |token| {
        match token {
            "}" | "]" => {
                depth = depth.saturating_sub(1);
                if !opened {
                    line(&mut out, depth);
                }
            }
            _ if opened => line(&mut out, depth),
            _ => {}
        }
        opened = matches!(token, "{" | "[");
        match token {
            "," => {
                out.push(',');
                line(&mut out, depth);
            }
            ":" => out.push_str(": "),
            _ => escape(token, &mut out),
        }
        if opened {
            depth += 1;
        }
    });
    out
}

/// What could turn or hide text on a terminal, written as JSON escapes it.
fn escape(token: &str, out: &mut String) {
    for character in token.chars() {
        let mut bytes = [0; 4];
        let text: &str = character.encode_utf8(&mut bytes);
        if !character.is_control() && !is_hidden(character) {
            out.push_str(text);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

/// Gives each string, word and sign of a valid document in turn, without the space between.
fn tokens<'a>(json: &'a str, mut each: impl FnMut(&'a str)) {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => continue,
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {}
            b'"' => {
                while let Some(inner) = bytes.get(at) {
                    at += if *inner == b'\\' { 2 } else { 1 };
                    if *inner == b'"' {
                        break;
                    }
                }
            }
            _ => {
                while bytes.get(at).is_some_and(|next| !b" \t\n\r{}[],:\"".contains(next)) {
                    at += 1;
                }
            }
        }
        each(json.get(start..at).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_strings_stay_as_they_were_written() {
        let text = r#" { "a" : [ 1 , 1.50e400 , "x \" } y" , [] , {} ] , "b":{"c":null} } "#;
        assert_eq!(compact(text), r#"{"a":[1,1.50e400,"x \" } y",[],{}],"b":{"c":null}}"#);
        assert_eq!(
            indented(text),
            "{\n  \"a\": [\n    1,\n    1.50e400,\n    \"x \\\" } y\",\n    [],\n    {}\n  ],\n  \"b\": {\n    \"c\": null\n  }\n}"
        );
        assert_eq!(indented("\"a\""), "\"a\"");
    }

    #[test]
    fn a_terminal_obeys_nothing_of_it_and_it_is_still_the_same_json() {
        let text = "\"a\u{9b}2J\u{202e}b\u{e0041}grüße\"";
        let safe = indented(text);
        assert_eq!(safe, "\"a\\u009b2J\\u202eb\\udb40\\udc41grüße\"");
        let (one, other): (String, String) =
            (serde_json::from_str(text).unwrap(), serde_json::from_str(&safe).unwrap());
        assert_eq!(one, other);
    }

    #[test]
    fn what_is_laid_out_reads_the_same() {
        for text in ["[]", "{}", "[[],[{}]]", "{\"a\":[{\"b\":[1,2]},3]}", "true", "[\"\\\\\",\"\\\\\\\"\"]"]
        {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&indented(text)).unwrap(), value);
            assert_eq!(compact(&indented(text)), text);
            assert_eq!(indented(text), serde_json::to_string_pretty(&value).unwrap());
        }
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        assert!(compact(&indented(&deep)) == deep);
    }
}
