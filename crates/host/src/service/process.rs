//! A program run for a plugin, in a sandbox beside its own that is no wider.
//!
//! It has what the plugin has: the same grants, package, data directory and limits, no network, and of the environment what
//! `env:read` grants. It does not share the plugin's memory limit but has one of the same size, so there is a bound to how
//! many run at once. Output is the plugin's as it is, without redaction, and the host keeps none of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use ringfence_api::rpc::RpcErrorCode;
use ringfence_api::{ErrorCode, RunStatus, Violation};
use ringfence_policy::{CanonicalPath, Effect, FileOp, Request, Rule, RuleSet};
use ringfence_sandbox::{Program, ResolveError, Resolved};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::asking::{Asking, answer, apart, failed, refused};
use crate::Error;
use crate::exec::translate::{asked_program, lexical};
use crate::exec::{Captured, Exec, RedactionSet, Run};
use crate::lifecycle::{Context, Target};
use crate::rpc::RpcError;
use crate::runtime;

/// Programs that run at once beside one plugin.
pub const PROCESSES_MAX: usize = 4;
/// Output of both streams together, in bytes; with more the program is ended, by the violation `output`. As base64 it still
/// fits a message.
pub const OUTPUT_MAX_BYTES: u64 = 2 * 1024 * 1024;
/// Text of one stream whose escapes make it longer than this, and longer than it is as base64, goes as base64: so both streams
/// always fit a message.
const TEXT_BYTES: usize = 512 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunParams {
    command: Vec<String>,
    timeout_s: Option<f64>,
}

#[derive(Serialize)]
struct Ran {
    /// `null` when a signal ended it.
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(flatten)]
    output: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    violation: Option<Violation>,
}

pub(super) async fn run(asking: Asking<'_>) -> Result<Box<RawValue>, RpcError> {
    let RunParams { command, timeout_s } = asking.params()?;
    let (program, timeout) = checked(&command, timeout_s)?;
    let judged = judge(&asking, program).await?;
    let slot = Arc::clone(&asking.room.processes).try_acquire_owned().map_err(|_| {
        let message =
            format!("{PROCESSES_MAX} programs of this plugin run already, which is the most at once");
        RpcError::new(RpcErrorCode::Busy, message)
    })?;
    let mut act = asking.begin(&judged.display().to_string()).await?;
    let (context, target) = (Arc::clone(asking.context), Arc::clone(asking.target));
    let made = apart(move || request(&context, &target, command, judged, timeout)).await?;
    let run = made.and_then(|exec| exec.spawn()).map_err(|error| refused(&error))?;
    let captured = attend(run, slot, asking.room.ended.subscribe()).await?;
    let answered = told(captured, &asking)?;
    act.done();
    answer(&answered)
}

/// The program's name, and how long it may run.
fn checked(command: &[String], timeout_s: Option<f64>) -> Result<(&str, Option<Duration>), RpcError> {
    let refuse = |why: &str| RpcError::new(RpcErrorCode::InvalidParams, why.to_owned());
    let program = command.first().filter(|name| !name.is_empty());
    let program = program.ok_or_else(|| refuse("the command is empty: it needs a program at least"))?;
    if command.iter().any(|word| word.contains('\0')) {
        return Err(refuse("no word of a command can hold a NUL"));
    }
    let timeout = timeout_s.map(|seconds| match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) if !timeout.is_zero() => Ok(timeout),
        _ => Err(refuse("timeout_s is a number of seconds above 0")),
    });
    Ok((program, timeout.transpose()?))
}

/// Whether the plugin may run it; the program itself, links followed.
///
/// What lies where the plugin can see nothing is refused by the name that it gave, whether or not something is there.
async fn judge(asking: &Asking<'_>, program: &str) -> Result<PathBuf, RpcError> {
    let named = if program.contains('/') {
        lexical(&asking.target.package.join(program))
    } else {
        Path::new("/usr/bin").join(program)
    };
    let (wanted, package) = (OsString::from(program), asking.target.package.clone());
    let found = apart(move || Program::find(&wanted, &package)).await?;
    let rules = &asking.target.rules;
    let execute = |path: &Path| {
        let path = CanonicalPath::new(path).map_err(|error| {
            RpcError::new(RpcErrorCode::InvalidParams, format!("this cannot be a path: {error}"))
        })?;
        Ok::<_, RpcError>(Request::Execute { path })
    };
    match found {
        Ok(found) => {
            let real = asked_program(&found).path().to_owned();
            let request = execute(&real)?;
            let can_be_known = || {
                let read = CanonicalPath::new(&real).map(|path| Request::File { op: FileOp::Read, path });
                !program.contains('/')
                    || ringfence_sandbox::is_always_shown(&real)
                    || read.is_ok_and(|read| rules.decide(&read).is_allowed())
            };
            if !rules.decide(&request).is_allowed() && !can_be_known() {
                let by_name = execute(&named)?;
                asking.permit(&by_name, &by_name.object())?;
            }
            asking.permit(&request, &request.object())?;
            let file = asked_program(&found).clone();
            let (target, wanted) = (Arc::clone(asking.target), request.clone());
            if !apart(move || is_granted_program(&target, &wanted, &file)).await? {
                let why = format!(
                    "denied: {request}: the program is not the one that was consented to; whoever administers this home can \
                     consent to what is there now, by granting it again"
                );
                return Err(asking.deny(&request.object(), None, &why));
            }
            Ok(real)
        }
        Err(error) => {
            let by_name = execute(&named)?;
            asking.permit(&by_name, &by_name.object())?;
            Err(not_found(&error, asking, &by_name.object()))
        }
    }
}

/// Whether a grant of more than one program allows it, or it is what was there when it was granted by its path or name: a program
/// that was replaced since is another one.
fn is_granted_program(target: &Target, request: &Request, found: &Resolved) -> bool {
    let allows = |rule: &&Rule| {
        rule.effect() == Effect::Allow && RuleSet::new(vec![(*rule).clone()]).decide(request).is_allowed()
    };
    let mut allowing = target.rules.rules().iter().filter(allows);
    allowing.any(|rule| target.holding.lets_run(rule, found))
}

fn not_found(error: &ResolveError, asking: &Asking<'_>, object: &str) -> RpcError {
    let (code, word) = match error {
        ResolveError::Missing { .. } | ResolveError::NoSuchProgram { .. } => {
            (RpcErrorCode::InvalidParams, ErrorCode::NotFound.as_str())
        }
        ResolveError::NotExecutable { .. } | ResolveError::Special { .. } => {
            (RpcErrorCode::InvalidParams, ErrorCode::NotExecutable.as_str())
        }
        _ => (RpcErrorCode::Internal, ErrorCode::Io.as_str()),
    };
    failed(code, word, error.to_string(), (&asking.call.method, object))
}

/// The run, with all that the plugin has and nothing more.
fn request(
    context: &Context,
    target: &Target,
    command: Vec<String>,
    judged: PathBuf,
    timeout: Option<Duration>,
) -> Result<Exec, Error> {
    let command = command.into_iter().map(OsString::from);
    let mut exec = runtime::beside(&target.spec(), &context.world(&context.config()), command)?;
    exec.judged = Some(judged);
    exec.redaction(RedactionSet::none());
    let limits = exec.limits();
    limits.timeout = timeout;
    limits.output_bytes = Some(OUTPUT_MAX_BYTES);
    Ok(exec)
}

/// Waits for the end. Whoever drops this ends the run, and one that outlives its plugin is killed; the slot is given back when
/// nothing of it is left.
async fn attend(
    mut run: Run,
    slot: OwnedSemaphorePermit,
    mut ended: watch::Receiver<bool>,
) -> Result<Captured, RpcError> {
    let (waiting, given_up) = oneshot::channel::<()>();
    let attended = tokio::spawn(async move {
        let _slot = slot;
        tokio::select! {
            captured = &mut run => captured,
            _ = given_up => {
                run.cancel();
                tokio::select! {
                    captured = &mut run => return captured,
                    _ = ended.wait_for(|ended| *ended) => {}
                }
                run.kill();
                run.await
            }
        }
    });
    let captured = attended.await;
    drop(waiting);
    captured.map_err(|_| RpcError::new(RpcErrorCode::Internal, "the run was lost"))
}

fn told(captured: Captured, asking: &Asking<'_>) -> Result<Ran, RpcError> {
    let Captured { report, stdout, stderr } = captured;
    if let Some(error) = report.error.filter(|_| report.status == RunStatus::NotStarted) {
        let about = (asking.call.method.as_str(), "");
        let code = match error.code {
            ErrorCode::NotFound | ErrorCode::NotExecutable | ErrorCode::PathNotFound | ErrorCode::Usage => {
                RpcErrorCode::InvalidParams
            }
            ErrorCode::Busy => RpcErrorCode::Busy,
            ErrorCode::NotEnforceable | ErrorCode::NotSupported => RpcErrorCode::NotSupported,
            _ => RpcErrorCode::Internal,
        };
        return Err(failed(code, error.code.as_str(), error.message, about));
    }
    let mut output = serde_json::Map::new();
    for (name, bytes) in [("stdout", stdout), ("stderr", stderr)] {
        let (name, text) = as_member(name, bytes);
        output.insert(name, text.into());
    }
    Ok(Ran { exit_code: report.exit_code, signal: report.signal, output, violation: report.violation })
}

/// Text where it is text and fits, else base64.
fn as_member(name: &str, bytes: Vec<u8>) -> (String, String) {
    match String::from_utf8(bytes) {
        Ok(text) if json_bytes(&text) <= TEXT_BYTES.max(BASE64.encode_len(text.len())) => {
            (name.to_owned(), text)
        }
        Ok(text) => (format!("{name}_base64"), BASE64.encode(text.as_bytes())),
        Err(error) => (format!("{name}_base64"), BASE64.encode(error.as_bytes())),
    }
}

/// How long a text is as JSON, at most.
fn json_bytes(text: &str) -> usize {
    let of = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_or_grows_too_much_goes_as_base64() {
        assert_eq!(as_member("stdout", b"a\n".to_vec()), ("stdout".into(), "a\n".into()));
        assert_eq!(as_member("stdout", b"\xff".to_vec()), ("stdout_base64".into(), "/w==".into()));
        let most = usize::try_from(OUTPUT_MAX_BYTES).unwrap();
        assert_eq!(as_member("stderr", vec![b'a'; most]).0, "stderr");
        assert_eq!(as_member("stderr", vec![1; most]).0, "stderr_base64");
    }

    #[test]
    fn a_text_is_never_longer_as_json_than_it_is_taken_for() {
        for text in ["", "a\"\\\n\r\t\u{8}\u{c}\u{1}\u{1f}é\u{7f}"] {
            assert!(serde_json::to_string(text).unwrap().len() <= json_bytes(text) + 2, "{text:?}");
        }
    }

    #[test]
    fn a_command_has_a_program_and_a_time_above_zero() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            checked(&words(&["ls", ""]), Some(0.5)).unwrap(),
            ("ls", Some(Duration::from_millis(500)))
        );
        for (command, timeout) in [
            (words(&[]), None),
            (words(&[""]), None),
            (words(&["ls", "a\0b"]), None),
            (words(&["ls"]), Some(0.0)),
            (words(&["ls"]), Some(-1.0)),
            (words(&["ls"]), Some(f64::NAN)),
            (words(&["ls"]), Some(1e300)),
        ] {
            let refused = checked(&command, timeout).unwrap_err();
            assert_eq!(refused.known(), Some(RpcErrorCode::InvalidParams), "{command:?} {timeout:?}");
        }
    }
}
