//! How one run of a plugin ended: one fact, the same in the audit trail and for whoever listens.
//!
//! A run is one start and what follows from it. It ends in one of four ways ([`EndKind`]), whoever noticed it first: the
//! monitor of its sandbox, the supervisor, or whoever waits for `initialize`. This module only says what happened; `context`
//! records and tells it, and `monitor` finds out.

use ringfence_api::Violation;
use tokio::sync::watch;

use crate::event::{EndKind, EventKind};
use crate::store::AuditEvent;

/// Why a plugin is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is not wanted any more.
    Asked,
    /// It may not run on as it is: what is stored of it was changed.
    Overtaken,
    /// It closed its output, without which nobody can use it. Nobody asked for that.
    OutputEnded,
    /// It broke a limit or rule; how, in words.
    Violation { violation: Violation, detail: String },
}

impl Why {
    /// A broken limit or rule, with what is known of it: the limit, and what was measured.
    pub(crate) fn broken(violation: Violation, detail: impl Into<String>) -> Self {
        Self::Violation { violation, detail: detail.into() }
    }
}

/// How the sandbox of a plugin ended.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) violation: Option<Violation>,
    pub(crate) suspected: Option<Violation>,
    /// What the violation or the suspicion rests on, and the limit; one sentence each.
    pub(crate) evidence: Vec<String>,
    /// Whether it was stopped because it was not wanted any more.
    pub(crate) asked: bool,
    /// Whether it had to be stopped because it had closed its output.
    pub(crate) output_ended: bool,
}

impl Exit {
    /// One sentence for people.
    pub(crate) fn reason(&self) -> String {
        let what = match (self.violation, self.exit_code, self.signal) {
            (Some(violation), ..) => format!("it broke the limit '{violation}'"),
            (None, Some(code), _) => format!("it exited with status {code}"),
            (None, None, Some(signal)) => format!("it was ended by signal {signal}"),
            (None, None, None) => "it was killed".to_owned(),
        };
        let closed = if self.output_ended { "; it had closed its output and was stopped for it" } else { "" };
        let suspected = self.suspected.map(|kind| format!("; suspected: {kind}")).unwrap_or_default();
        let evidence = self.evidence.first().map(|line| format!(" ({line})")).unwrap_or_default();
        format!("{what}{closed}{suspected}{evidence}")
    }
}

/// What became of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has not answered `initialize` yet.
    Starting,
    /// It has.
    Running,
    /// It did not, or not as it must; why, in words.
    Failed(String),
}

impl Fate {
    /// Waits until it is known. Whoever gives a start up without a word has cancelled it.
    pub(crate) async fn known(mut fate: watch::Receiver<Self>) -> Self {
        match fate.wait_for(|fate| *fate != Self::Starting).await {
            Ok(known) => known.clone(),
            Err(_) => Self::Failed("the start was cancelled".to_owned()),
        }
    }
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    kind: EndKind,
    reason: String,
    violation: Option<Violation>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    while_starting: bool,
}

impl End {
    /// The end of a run whose sandbox has ended so. `exit` is `None` when even that could not be learned.
    pub(crate) fn of(exit: Option<&Exit>, fate: &Fate) -> Self {
        let known = |kind, reason, violation| Self {
            kind,
            reason,
            violation,
            exit_code: exit.and_then(|exit| exit.exit_code),
            signal: exit.and_then(|exit| exit.signal),
            while_starting: *fate != Fate::Running,
        };
        let reason = || exit.map_or_else(|| "it is gone".to_owned(), Exit::reason);
        match (exit.and_then(|exit| exit.violation.map(|violation| (exit, violation))), fate) {
            (Some((exit, violation)), _) => {
                known(EndKind::Violation, exit.evidence.join("; "), Some(violation))
            }
            (None, Fate::Failed(cause)) => known(EndKind::StartFailed, cause.clone(), None),
            (None, _) if exit.is_some_and(|exit| exit.asked) => known(EndKind::Stop, reason(), None),
            (None, _) => known(EndKind::Crash, reason(), None),
        }
    }

    /// The end of a start that came to no process.
    pub(crate) fn before_process(cause: String) -> Self {
        Self {
            kind: EndKind::StartFailed,
            reason: cause,
            violation: None,
            exit_code: None,
            signal: None,
            while_starting: true,
        }
    }

    /// The same as a record.
    pub(crate) fn record(&self) -> AuditEvent {
        let (detail, exit_code, signal) = (self.reason.clone(), self.exit_code, self.signal);
        match self.kind {
            EndKind::Stop => AuditEvent::Stop { reason: detail },
            EndKind::Crash => AuditEvent::Crash { detail, exit_code, signal },
            EndKind::StartFailed => AuditEvent::StartFailed { cause: detail, exit_code, signal },
            EndKind::Violation => AuditEvent::Violation {
                violation: self.violation.map_or_else(String::new, |violation| violation.to_string()),
                detail,
                while_starting: self.while_starting,
                exit_code,
                signal,
            },
        }
    }

    /// The same for whoever listens.
    pub(crate) fn event(&self) -> EventKind {
        EventKind::Ended {
            how: self.kind,
            reason: self.reason.clone(),
            violation: self.violation,
            exit_code: self.exit_code,
            signal: self.signal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit() -> Exit {
        Exit {
            exit_code: Some(3),
            signal: None,
            violation: None,
            suspected: None,
            evidence: Vec::new(),
            asked: false,
            output_ended: false,
        }
    }

    #[test]
    fn each_end_is_of_one_kind() {
        let failed = Fate::Failed("no answer".to_owned());
        let broken = Exit {
            violation: Some(Violation::Memory),
            evidence: vec!["the kernel killed".to_owned(), "the limit is 5 bytes".to_owned()],
            ..exit()
        };
        let asked = Exit { asked: true, ..exit() };
        for (exit, fate, kind, reason) in [
            (Some(&exit()), &Fate::Running, EndKind::Crash, "it exited with status 3"),
            (Some(&asked), &Fate::Running, EndKind::Stop, "it exited with status 3"),
            (Some(&exit()), &failed, EndKind::StartFailed, "no answer"),
            (Some(&asked), &failed, EndKind::StartFailed, "no answer"),
            (Some(&broken), &Fate::Running, EndKind::Violation, "the kernel killed; the limit is 5 bytes"),
            (Some(&broken), &failed, EndKind::Violation, "the kernel killed; the limit is 5 bytes"),
            (None, &Fate::Running, EndKind::Crash, "it is gone"),
        ] {
            let end = End::of(exit, fate);
            assert_eq!((end.kind, end.reason.as_str()), (kind, reason), "{exit:?} {fate:?}");
            assert_eq!(end.while_starting, fate != &Fate::Running);
        }
    }

    #[test]
    fn who_had_to_be_stopped_for_a_closed_output_is_said_so() {
        let closed = Exit { exit_code: None, signal: Some(15), output_ended: true, ..exit() };
        assert_eq!(
            closed.reason(),
            "it was ended by signal 15; it had closed its output and was stopped for it"
        );
    }

    #[tokio::test]
    async fn a_start_that_is_dropped_was_cancelled() {
        let (sender, fate) = watch::channel(Fate::Starting);
        drop(sender);
        assert_eq!(Fate::known(fate).await, Fate::Failed("the start was cancelled".to_owned()));
        let (sender, fate) = watch::channel(Fate::Starting);
        sender.send_replace(Fate::Running);
        drop(sender);
        assert_eq!(Fate::known(fate).await, Fate::Running);
    }
}
