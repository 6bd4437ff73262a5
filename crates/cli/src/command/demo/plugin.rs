//! This binary as a plugin: under one of two names it speaks the protocol and nothing else.
//!
//! So the compiled plugins of the demo need no compiler, and no second file travels with the binary.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::{guest, samples};

/// The compiled plugin as it stands in the examples, for everybody to build.
#[path = "../../../../../examples/demo/checksum/checksum.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "an example of one file, with its own main"
)]
mod checksum;

/// Lines that are no message, in one lie: beyond the number that is tolerated.
const JUNK_LINES: usize = 5000;
/// Longer than any limit of the demo.
const HANGS_FOR: Duration = Duration::from_secs(600);

/// Serves as the plugin whose name this program was started by; `None` when that is no plugin's.
pub(crate) fn run_plugin(program: Option<&OsString>) -> Option<ExitCode> {
    let name = Path::new(program?).file_name().and_then(OsStr::to_str)?;
    let answer: fn(&str) -> Option<String> = match name {
        samples::CHECKSUM => checksum::answer,
        samples::HOSTILE => hostile,
        _ => return None,
    };
    Some(match serve(answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_the_host_is_gone) => ExitCode::FAILURE,
    })
}

fn serve(answer: fn(&str) -> Option<String>) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        if let Some(reply) = answer(&line?) {
            let mut out = io::stdout().lock();
            out.write_all(reply.as_bytes())?;
            out.flush()?;
        }
    }
    Ok(())
}

/// One answer of the hostile plugin. Its only tool does one act.
fn hostile(line: &str) -> Option<String> {
    let message: Value = serde_json::from_str(line).ok()?;
    let id = message.get("id")?;
    let mut reply = json!({ "jsonrpc": "2.0", "id": id });
    let (member, value) = match message.get("method")?.as_str()? {
        "initialize" => ("result", json!({ "protocol_version": "1" })),
        "call" => match act(id, message.pointer("/params/arguments/words")) {
            Ok(text) => ("result", Value::from(text)),
            Err(error) => ("error", json!({ "code": 1, "message": error.to_string() })),
        },
        _ => ("result", Value::Null),
    };
    reply.as_object_mut()?.insert(member.to_owned(), value);
    Some(format!("{reply}\n"))
}

fn act(id: &Value, words: Option<&Value>) -> io::Result<String> {
    let words: Vec<String> = words
        .and_then(Value::as_array)
        .map(|words| words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    match words.first().map(String::as_str) {
        Some("crash") => std::process::abort(),
        Some("hang") => {
            std::thread::sleep(HANGS_FOR);
            Ok("woke up".to_owned())
        }
        Some("lie") => lie(id),
        _ => guest::perform(&words),
    }
}

/// Answers what was not asked, asks for what is not there, and speaks nonsense.
fn lie(id: &Value) -> io::Result<String> {
    let mut out = io::stdout().lock();
    for number in 0..JUNK_LINES {
        writeln!(out, "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":\"nobody asked\"}}", number + 1_000_000)?;
        writeln!(out, "this is no message")?;
    }
    writeln!(out, "{}", json!({ "jsonrpc": "2.0", "id": id, "result": "first" }))?;
    out.flush()?;
    Ok("second".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_the_samples_make_it_a_plugin() {
        for name in ["ringfence", "/usr/bin/ringfence", "checksum", ""] {
            assert!(run_plugin(Some(&name.into())).is_none(), "{name}");
        }
        assert!(run_plugin(None).is_none());
    }

    #[test]
    fn both_speak_the_protocol() {
        let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
        assert!(hostile(hello).unwrap().contains(r#""protocol_version":"1""#));
        assert!(checksum::answer(hello).unwrap().contains(r#""protocol_version":"1""#));
        let call =
            r#"{"id":7,"method":"call","params":{"tool":"try","arguments":{"words":["read","/nowhere"]}}}"#;
        assert!(hostile(call).unwrap().contains(r#""id":7,"error""#));
        assert_eq!(hostile(r#"{"method":"initialized","params":{}}"#), None);
    }
}
