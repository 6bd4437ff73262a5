//! The FNV-1a checksum of a text or a file: a compiled plugin of one file, with the standard library only.
//!
//! `answer` turns one line of the host into one line of ours; everything else is reading and writing lines. The JSON
//! reader is just large enough for the messages of the protocol.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};

/// The largest file that is read, in bytes.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The deepest nesting of a message.
const DEPTH_MAX: usize = 64;

fn main() -> io::Result<()> {
    let stdout = io::stdout();
    for line in io::stdin().lock().lines() {
        // One write for each line: a half line would make the host wait.
        if let Some(reply) = answer(&line?) {
            stdout.lock().write_all(reply.as_bytes())?;
            stdout.lock().flush()?;
        }
    }
    Ok(())
}

/// The answer to one line; nothing for notifications and what is no message.
pub fn answer(line: &str) -> Option<String> {
    let message = Json::object(line)?;
    let id = message.get("id").filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()))?;
    let body = match text(message.get("method")?)?.as_str() {
        "initialize" => r#""result":{"protocol_version":"1","tools":["checksum"]}"#.to_owned(),
        "call" => call(message.get("params").unwrap_or("{}")),
        "ping" | "shutdown" | "config_changed" | "handle_event" => r#""result":null"#.to_owned(),
        _ => error(-32601, "not_found", "no such method", ""),
    };
    Some(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{body}}}\n"))
}

fn call(params: &str) -> String {
    let params = Json::object(params).unwrap_or_default();
    if params.get("tool").and_then(text).as_deref() != Some("checksum") {
        return error(-32602, "invalid_params", "no such tool", "");
    }
    let arguments = params.get("arguments").and_then(Json::object).unwrap_or_default();
    let Some(path) = arguments.get("path").and_then(text) else {
        let given = arguments.get("text").and_then(text).unwrap_or_default();
        return checksum(given.as_bytes());
    };
    let mut content = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_end(&mut content));
    match read {
        Ok(bytes) if bytes as u64 > FILE_MAX_BYTES => {
            error(-31005, "too_large", "the file is larger than 16 MiB", "")
        }
        Ok(_) => checksum(&content),
        // From `operation` and `object` the host finds out which grant is missing.
        Err(failed) => {
            let about = format!(r#","type":"io::Error","operation":"read","object":{}"#, quoted(&path));
            error(-31008, "plugin_failed", &failed.to_string(), &about)
        }
    }
}

fn checksum(bytes: &[u8]) -> String {
    let sum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!(r#""result":{{"bytes":{},"fnv1a":"{sum:016x}"}}"#, bytes.len())
}

fn error(number: i32, word: &str, message: &str, about: &str) -> String {
    let message = quoted(message);
    format!(r#""error":{{"code":{number},"message":{message},"data":{{"code":"{word}"{about}}}}}"#)
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The members of an object, their values still as JSON.
#[derive(Default)]
pub struct Json<'a>(Vec<(String, &'a str)>);

impl<'a> Json<'a> {
    /// Reads the members of one object.
    pub fn object(json: &'a str) -> Option<Self> {
        let mut rest = json.trim_start().strip_prefix('{')?.trim_start();
        let mut members = Vec::new();
        while !rest.starts_with('}') {
            let (key, behind) = rest.split_at_checked(value_bytes(rest, 0)?)?;
            let behind = behind.trim_start().strip_prefix(':')?.trim_start();
            let (value, behind) = behind.split_at_checked(value_bytes(behind, 0)?)?;
            members.push((text(key)?, value));
            let behind = behind.trim_start();
            rest = match behind.strip_prefix(',') {
                Some(more) => more.trim_start(),
                None if behind.starts_with('}') => behind,
                None => return None,
            };
        }
        Some(Self(members))
    }

    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

/// How many bytes the value at the beginning of `json` has.
fn value_bytes(json: &str, depth: usize) -> Option<usize> {
    let bytes = json.as_bytes();
    match *bytes.first()? {
        b'"' => {
            let mut at = 1;
            while *bytes.get(at)? != b'"' {
                at += if bytes.get(at) == Some(&b'\\') { 2 } else { 1 };
            }
            Some(at + 1)
        }
        b'{' | b'[' if depth < DEPTH_MAX => {
            let mut at = 1;
            loop {
                match *bytes.get(at)? {
                    b'}' | b']' => return Some(at + 1),
                    b',' | b':' | b' ' | b'\t' | b'\r' => at += 1,
                    _ => at += value_bytes(json.get(at..)?, depth + 1)?,
                }
            }
        }
        b'{' | b'[' => None,
        _ => {
            let end = json.find([',', ':', '}', ']', ' ', '\t', '\r']).unwrap_or(json.len());
            if end == 0 { None } else { Some(end) }
        }
    }
}

/// The text that a JSON text stands for.
fn text(json: &str) -> Option<String> {
    let mut letters = json.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut out = String::new();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next()? {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'u' => {
                let first = unit(&mut letters)?;
                let both = if (0xd800..0xdc00).contains(&first) {
                    // The other half of the pair; the host sends none alone.
                    letters
                        .next()
                        .filter(|slash| *slash == '\\')
                        .and(letters.next())
                        .filter(|u| *u == 'u')?;
                    0x10000 + ((first - 0xd800) << 10) + unit(&mut letters)?.checked_sub(0xdc00)?
                } else {
                    first
                };
                out.push(char::from_u32(both)?);
            }
            plain => out.push(plain),
        }
    }
    Some(out)
}

fn unit(letters: &mut std::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |sum, _| Some(sum * 16 + letters.next()?.to_digit(16)?))
}
