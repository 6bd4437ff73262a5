//! Consent: the flags that give it, and the questions at a terminal.
//!
//! Only a person at a terminal or a flag consents. What comes through a pipe never does, whatever it says.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, OwnedFd};

use clap::Args;
use ringfence::Error;
use ringfence::consent::{Asked, ConsentRequest};
use ringfence::plugin::{Consent, PolicyEffect};
use ringfence::stream::{Interest, own_input, read_now, wait_ready};
use ringfence_api::text::shell_word;
use ringfence_api::{ErrorCode, Permission};

use crate::host::{Arrivals, Stopped};
use crate::{permissions, print};

/// Answers that are no answer, after which nobody seems to be there.
const UNREADABLE_MAX: usize = 10;
/// The longest line that is read, in bytes.
const LINE_MAX_BYTES: usize = 4096;
/// Ctrl-C.
const INTERRUPT: i32 = 2;

/// What is granted, said with flags.
#[derive(Debug, Default, Args)]
pub(crate) struct ConsentArguments {
    /// Grant this permission, such as 'file:read=/srv/notes/**'; repeat it for more
    #[arg(long, value_name = "PERMISSION", conflicts_with_all = ["grant_requested", "grant_none"])]
    grant: Vec<String>,
    /// Grant all that the plugin asks for, what it calls optional too
    #[arg(long, conflicts_with = "grant_none")]
    grant_requested: bool,
    /// Consent to the plugin and grant it nothing
    #[arg(long)]
    grant_none: bool,
}

/// What the flags say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flags {
    /// Nothing: a person may be asked.
    Silent,
    /// All that is asked for.
    Requested,
    /// Nothing at all.
    Nothing,
    /// These.
    These(Vec<String>),
}

impl ConsentArguments {
    pub(crate) fn flags(&self) -> Flags {
        match self {
            Self { grant_requested: true, .. } => Flags::Requested,
            Self { grant_none: true, .. } => Flags::Nothing,
            Self { grant, .. } if grant.is_empty() => Flags::Silent,
            Self { grant, .. } => Flags::These(grant.clone()),
        }
    }
}

impl Flags {
    /// As the library takes it, for a plugin that has no grants yet.
    pub(crate) fn consent(&self) -> Result<Consent, Error> {
        Ok(match self {
            Self::Silent => Consent::Absent,
            Self::Requested => Consent::Requested,
            Self::Nothing => Consent::Only(Vec::new()),
            Self::These(words) => Consent::Only(permissions::read(words)?),
        })
    }

    /// The same for a plugin that has some: `--grant` adds to them.
    pub(crate) fn consent_beside(
        &self,
        request: &ConsentRequest,
        granted: Vec<Permission>,
    ) -> Result<Consent, Error> {
        let Self::These(words) = self else { return self.consent() };
        let mut all = granted;
        for permission in permissions::read_or_known(words, &request.all())? {
            if !all.contains(&permission) {
                all.push(permission);
            }
        }
        Ok(Consent::Only(all))
    }
}

/// Whether a person can be asked: what they read and what they type is a terminal.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Nobody consented: what is asked for, and the command that would grant it. `command` is what to type before the flags.
pub(crate) fn required(request: &ConsentRequest, command: &str) -> Error {
    let wanted: Vec<String> =
        request.asked.iter().filter(|item| !item.granted).map(|item| item.permission.to_string()).collect();
    let (name, version) = (&request.name, &request.version);
    let (message, hint) = match wanted.first() {
        None => {
            (format!("nobody has consented to {name} {version}"), format!("consent: {command} --grant-none"))
        }
        Some(first) => (
            format!("nobody has consented to what {name} {version} asks for: {}", wanted.join(", ")),
            format!(
                "to grant all of it: {command} --grant-requested; to grant less: {command} --grant {}",
                shell_word(first)
            ),
        ),
    };
    Error::new(ErrorCode::ConsentRequired, message).with_hint(hint)
}

/// Asks a person, permission by permission. `None` is no consent: Ctrl-C, the end of input, or no answer that can be read.
///
/// # Errors
/// [`Stopped::Signal`] when a signal other than Ctrl-C ends the command; `io` when the terminal cannot be read.
pub(crate) fn ask(request: &ConsentRequest, arrivals: &Arrivals) -> Result<Option<Consent>, Stopped> {
    let input = own_input().map_err(|cause| unreadable(&cause))?;
    let mut terminal = Terminal { input, arrivals, pending: Vec::new() };
    print::talk(&format!("{request}\n"));
    questions(request, &mut || terminal.line(), &mut print::prompt)
}

/// The questions themselves. `read` gives a line, or `None` when nobody answers any more.
fn questions(
    request: &ConsentRequest,
    read: &mut dyn FnMut() -> Result<Option<String>, Stopped>,
    say: &mut dyn FnMut(&str),
) -> Result<Option<Consent>, Stopped> {
    let mut granted: Vec<Permission> = Vec::new();
    let mut refused: Vec<&Asked> = Vec::new();
    let mut rest = None;
    let open: Vec<&Asked> = request.asked.iter().filter(|item| !item.granted).collect();
    granted.extend(request.asked.iter().filter(|item| item.granted).map(|item| item.permission.clone()));
    if open.is_empty() {
        let question = format!("Let {} {} run with what is granted already?", request.name, request.version);
        let answer = one_answer(&format!("{question} [y/N] "), read, say)?;
        return Ok(matches!(answer, Some(Answer::Yes | Answer::All)).then_some(Consent::Only(granted)));
    }
    for (number, item) in open.iter().enumerate() {
        // Nobody can grant it, so nobody is asked.
        if item.policy.as_ref().is_some_and(|note| note.effect == PolicyEffect::Denied) {
            refused.push(item);
            continue;
        }
        let answer = match rest {
            Some(answer) => answer,
            None => {
                let need = if item.optional { "optional" } else { "required" };
                let place = format!("{} of {}", number + 1, open.len());
                let remark = item.enforced.remark();
                let question = format!("({place}, {need}) Let it {}{remark}? [y/N/all/none] ", item.meaning);
                let Some(answer) = one_answer(&question, read, say)? else { return Ok(None) };
                answer
            }
        };
        if matches!(answer, Answer::All | Answer::None) {
            rest = Some(answer);
        }
        match answer {
            Answer::Yes | Answer::All => granted.push(item.permission.clone()),
            Answer::No | Answer::None => refused.push(item),
        }
    }
    let needed: Vec<String> =
        refused.iter().filter(|item| !item.optional).map(|item| item.permission.to_string()).collect();
    if !needed.is_empty() {
        say(&format!("the plugin may not work without {}\n", needed.join(", ")));
    }
    Ok(Some(Consent::Only(granted)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// Yes to this and to all that follow.
    All,
    /// No to this and to all that follow.
    None,
}

fn one_answer(
    question: &str,
    read: &mut dyn FnMut() -> Result<Option<String>, Stopped>,
    say: &mut dyn FnMut(&str),
) -> Result<Option<Answer>, Stopped> {
    for _ in 0..UNREADABLE_MAX {
        say(question);
        let Some(line) = read()? else {
            say("\n");
            return Ok(None);
        };
        match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(Some(Answer::Yes)),
            "" | "n" | "no" => return Ok(Some(Answer::No)),
            "a" | "all" => return Ok(Some(Answer::All)),
            "none" => return Ok(Some(Answer::None)),
            _ => say("please answer y (yes), n (no, as is an empty line), all or none\n"),
        }
    }
    Ok(None)
}

fn unreadable(cause: &io::Error) -> Stopped {
    let message = format!("cannot read the terminal: {cause}");
    Error::new(ErrorCode::Io, message)
        .with_hint("say it with --grant, --grant-requested or --grant-none")
        .into()
}

/// Lines that a person types, read so that signals are heard meanwhile.
struct Terminal<'a> {
    input: OwnedFd,
    arrivals: &'a Arrivals,
    pending: Vec<u8>,
}

impl Terminal<'_> {
    fn line(&mut self) -> Result<Option<String>, Stopped> {
        loop {
            if let Some(at) = self.pending.iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(at + 1);
                let line = std::mem::replace(&mut self.pending, rest);
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.pending.len() > LINE_MAX_BYTES {
                self.pending.clear();
                return Ok(Some("?".to_owned()));
            }
            let signals = self.arrivals.signals();
            let wanted = [(signals.as_fd(), Interest::Read), (self.input.as_fd(), Interest::Read)];
            wait_ready(&wanted, None).map_err(|cause| unreadable(&cause))?;
            match signals.next().map_err(|cause| unreadable(&cause))? {
                Some(INTERRUPT) => return Ok(None),
                Some(number) => return Err(Stopped::Signal(number)),
                None => {}
            }
            let mut block = [0; 512];
            match read_now(self.input.as_fd(), &mut block).map_err(|cause| unreadable(&cause))? {
                Some(0) => return Ok(None),
                Some(count) => self.pending.extend_from_slice(block.get(..count).unwrap_or_default()),
                None => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "consent_tests.rs"]
mod tests;
