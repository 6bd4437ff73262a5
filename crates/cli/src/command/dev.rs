//! `ringfence dev PATH`: a plugin runs from its directory, is started anew when a file changes, and says what it was refused.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use ringfence::consent::shown;
use ringfence::dev::{Dev, DevOptions, Reloaded, manifest_line};
use ringfence::event::{Event, EventKind, Heard, Subscription};
use ringfence::{Error, Host};
use ringfence_api::{Denial, ErrorCode};

use crate::answer::Answer;
use crate::host::{self, Opened, Stopped};
use crate::text::one_line;
use crate::{arguments, json, print};

/// How often the package is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The longest line that is typed, in bytes.
const LINE_MAX_BYTES: usize = 64 * 1024;

#[derive(Debug, Args)]
#[command(
    after_help = "The plugin is granted what its manifest asks for. What it is refused all the same is printed with the line of the \
manifest that would allow it. When a file of the package changes, it is checked and started anew; while the new one is broken, the \
one before runs on. Nothing is installed.

Type TOOL and its arguments to call a tool, as in: greet name=Ada
An empty line or the end of the input changes nothing; Ctrl-C ends.

--unsandboxed runs the plugin WITHOUT ANY PROTECTION, for a debugger. It is refused for the name of an installed plugin, and it is \
recorded in the audit trail.

Examples:
  ringfence dev .
  ringfence dev ./translator --unsandboxed

Exit status: 128+n ended by signal n (Ctrl-C: 130); 1 the package is broken at the start and --once is given; 2 usage; 3 no such \
package; 4 refused; 7 not enforceable here."
)]
pub(crate) struct DevArguments {
    /// The directory of the package, or its manifest
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Run it without any sandbox, for a debugger
    #[arg(long)]
    unsandboxed: bool,
    /// Start it once, read calls until the end of the input, and end
    #[arg(long)]
    once: bool,
}

/// Runs until a signal, or with `--once` until the input ends.
pub(crate) fn run(arguments: &DevArguments) -> ExitCode {
    host::with(false, |opened| develop(opened, arguments))
}

fn develop(opened: &Opened, arguments: &DevArguments) -> Result<Answer, Stopped> {
    if arguments.unsandboxed {
        print::talk(
            "WARNING: --unsandboxed: this plugin can read, change and reach everything that you can.",
        );
        print::talk(
            "WARNING: use it for a debugger only, with code that you trust. It is recorded in the audit trail.",
        );
    }
    let lines = typed_lines();
    opened.wait("working on the plugin", |host| serve(host, arguments, lines))?;
    Answer::of(&serde_json::json!({})).map_err(Stopped::from).map(|answer| answer.text(String::new()))
}

async fn serve(
    host: &Host,
    arguments: &DevArguments,
    mut lines: tokio::sync::mpsc::Receiver<String>,
) -> Result<(), Error> {
    let options = DevOptions { unsandboxed: arguments.unsandboxed };
    let mut events = host.subscribe();
    let mut dev = Dev::open(host, &arguments.path, options).await?;
    let started = dev.reload().await;
    if arguments.once {
        tell_reload(&started.map_err(not_installed)?);
    } else {
        match started {
            Ok(reloaded) => tell_reload(&reloaded),
            Err(error) => tell_broken(error),
        }
    }
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let (mut input_over, mut told_end) = (false, false);
    loop {
        tokio::select! {
            heard = events.next() => match heard {
                Some(heard) => tell(&heard),
                None => break,
            },
            line = lines.recv(), if !input_over => match line {
                Some(line) => call(&dev, &line, &mut events).await,
                None if arguments.once => break,
                None => input_over = true,
            },
            _ = looks.tick() => {
                if dev.changed() {
                    told_end = false;
                    match dev.reload().await {
                        Ok(reloaded) => tell_reload(&reloaded),
                        Err(error) => tell_broken(error),
                    }
                } else if let Some(reason) = dev.ended().filter(|_| !told_end) {
                    told_end = true;
                    print::talk(&format!("ended: {reason}"));
                }
            }
        }
    }
    dev.close().await;
    Ok(())
}

/// One typed call: its result on stdout, and what was refused meanwhile on stderr.
async fn call(dev: &Dev, line: &str, events: &mut Subscription) {
    let line = line.trim();
    let (tool, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if tool.is_empty() {
        return;
    }
    let rest = rest.trim();
    let words: Vec<OsString> = match rest {
        "" => Vec::new(),
        whole if whole.starts_with('{') => vec![whole.into()],
        words => words.split_whitespace().map(OsString::from).collect(),
    };
    let arguments = arguments::read(&words).and_then(|given| given.into_json(None)).and_then(|raw| {
        serde_json::from_str(raw.get())
            .map_err(|cause| Error::new(ErrorCode::Usage, "the arguments are no JSON").with_source(cause))
    });
    let called = async { dev.call(tool, arguments?).await };
    tokio::pin!(called);
    let answer = loop {
        tokio::select! {
            answer = &mut called => break answer,
            heard = events.next() => if let Some(heard) = heard { tell(&heard) },
        }
    };
    match answer {
        Ok(result) => {
            print::data(&json::for_stdout(&result.to_string()));
        }
        Err(error) => print::error(&not_installed(error)),
    }
}

/// The error without a hint that only holds for an installed plugin: its log and the line of the manifest are shown here.
fn not_installed(error: Error) -> Error {
    let elsewhere = ["ringfence logs ", "ringfence grant "];
    if error.hint().is_some_and(|hint| elsewhere.iter().any(|command| hint.contains(command))) {
        return Error::new(error.code(), error.chain());
    }
    error
}

fn tell_reload(reloaded: &Reloaded) {
    let Reloaded { name, version, tools, grants, notes } = reloaded;
    for note in notes {
        print::talk(&one_line(note));
    }
    let granted: Vec<String> = grants.iter().map(ToString::to_string).collect();
    let version = one_line(version);
    print::talk(&format!("{name} {version} runs; granted: {}", list(&granted)));
    print::talk(&format!("tools: {} (type one with its arguments)", list(tools)));
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { one_line(&words.join(", ")) }
}

fn tell_broken(error: Error) {
    print::error(&not_installed(error));
    print::talk("waiting for a change; what ran before runs on");
}

fn tell(heard: &Heard) {
    match heard {
        Heard::Missed(count) => {
            print::talk(&format!("({count} lines were too many to show; ringfence logs has them)"))
        }
        Heard::Event(event) => tell_event(event),
    }
}

fn tell_event(Event { kind, .. }: &Event) {
    match kind {
        EventKind::Log { line } => print::talk(&format!("log: {}", shown(&line.message))),
        EventKind::Denial { denial, .. } => print::talk(&denied(denial)),
        EventKind::Violation { violation, detail } => {
            print::talk(&format!("violation: {violation}: {}", shown(detail)));
        }
        EventKind::MemoryWarning { used_bytes, limit_bytes } => {
            print::talk(&format!("warning: {used_bytes} of {limit_bytes} bytes of memory are used"));
        }
        EventKind::Progress { progress, total, message, .. } => {
            let total = total.map(|total| format!("/{total}")).unwrap_or_default();
            let message = one_line(message.as_deref().unwrap_or_default());
            print::talk(&format!("progress: {progress}{total} {message}"));
        }
        _ => {}
    }
}

fn denied(denial: &Denial) -> String {
    let object = shown(&denial.object);
    let by = one_line(&denial.layer);
    let mut what = format!("denied: {} {object} (by {by})", one_line(&denial.operation));
    if let Some(location) = &denial.location {
        what.push_str(&format!("\n  asked for at {}", one_line(location)));
    }
    let warning = denial.warning.as_deref().map(|warning| format!("\n  warning: {}", one_line(warning)));
    match manifest_line(denial) {
        Some(line) => format!(
            "{what}\n  the manifest line that would allow it: {}{}",
            one_line(&line),
            warning.unwrap_or_default()
        ),
        None => format!("{what}\n  no permission allows it"),
    }
}

/// Standard input line by line, read by a thread of its own: it may be a terminal, a pipe or a file. The thread ends with the
/// process, or with the input.
fn typed_lines() -> tokio::sync::mpsc::Receiver<String> {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let (mut line, mut byte) = (Vec::new(), [0_u8; 1]);
        loop {
            let read = input.read(&mut byte).unwrap_or(0);
            let ended = read == 0;
            if ended || byte == *b"\n" {
                let text = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                if (!text.trim().is_empty() && sender.blocking_send(text).is_err()) || ended {
                    return;
                }
            } else if line.len() < LINE_MAX_BYTES {
                line.extend_from_slice(&byte);
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_a_plugin_that_is_not_installed() {
        let hinted = |hint: &str| Error::new(ErrorCode::PluginFailed, "it failed").with_hint(hint);
        assert_eq!(not_installed(hinted("read its log: ringfence logs x")).hint(), None);
        assert_eq!(not_installed(hinted("ringfence grant x file:read=/a")).message(), "it failed");
        assert_eq!(not_installed(hinted("did you mean 'greet'?")).hint(), Some("did you mean 'greet'?"));
    }

    #[test]
    fn a_denial_comes_with_the_line_that_would_allow_it() {
        let denial = Denial {
            object: "/srv/a\n".to_owned(),
            grant: Some("file:read=/srv/a".to_owned()),
            ..Denial::new("mount", "read")
        };
        assert_eq!(
            denied(&denial),
            "denied: read /srv/a\\n (by mount)\n  the manifest line that would allow it: permissions: [\"file:read=/srv/a\"]"
        );
        assert!(denied(&Denial::new("seccomp", "mount")).ends_with("no permission allows it"));
    }
}
