//! `ringfence why NAME` and `ringfence why --last`: what was refused, by which layer, and what would allow it.

use std::process::ExitCode;

use clap::Args;
use ringfence::Error;
use ringfence::host::ExplainedBy;
use ringfence_api::text::shell_word;
use ringfence_api::{Denial, Permission, UNKNOWN_OBJECT};
use serde::Serialize;

use crate::answer::Answer;
use crate::host::{self, Opened};
use crate::text::one_line;

/// How many refusals people are shown; the JSON document has them all.
const SHOWN_MAX: usize = 20;

/// What is not known here, and what would tell.
const NOT_WATCHED: &str = "a file that it was not granted does not exist for it, and need not be here: `ringfence dev PATH` runs its \
                           package and names every path that it tried";

#[derive(Debug, Args)]
#[command(
    after_help = "What the filter, the network, the limits and the host refused is known. A file that was not granted does not \
exist for a plugin: that it was tried is known where its runner asks about the error, and to `ringfence dev PATH`, which watches.

Examples:
  ringfence why translator
  ringfence why --last
  ringfence why translator --json

Exit status: 0, also when no denial is known; 2 usage; 3 no such plugin; 8 busy."
)]
pub(crate) struct WhyArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME", required_unless_present = "last", conflicts_with = "last")]
    name: Option<String>,
    /// The last refusals of all plugins, the newest first
    #[arg(long)]
    last: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Refusals {
    denials: Vec<Refusal>,
}

/// One refusal and the command that would allow the same.
#[derive(Serialize)]
struct Refusal {
    name: String,
    layer: String,
    operation: String,
    object: String,
    grant: Option<String>,
    count: u64,
    command: Option<String>,
    /// The rule of the administrator's policy because of which no grant helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
}

/// Says why.
pub(crate) fn run(arguments: &WhyArguments) -> ExitCode {
    host::with(arguments.json, |opened| {
        let doing = "reading what was refused";
        let mut refusals: Vec<Refusal> = match &arguments.name {
            Some(name) => {
                let denials = opened.wait(doing, |host| host.denials(name))?;
                denials.into_iter().map(|denial| Refusal::new(name, denial)).collect()
            }
            None => {
                let denials = opened.wait(doing, |host| host.last_denials())?;
                denials.into_iter().map(|(name, denial)| Refusal::new(name.as_str(), denial)).collect()
            }
        };
        for refusal in &mut refusals {
            refusal.ask_policy(opened);
        }
        Ok(answer(arguments.name.as_deref(), refusals)?)
    })
}

impl Refusal {
    fn new(name: &str, denial: Denial) -> Self {
        let Denial { layer, operation, object, grant, count, .. } = denial;
        let command = grant.as_ref().map(|grant| format!("ringfence grant {name} {}", shell_word(grant)));
        Self { name: name.to_owned(), layer, operation, object, grant, count, command, policy: None }
    }

    /// Whether the policy would let the same be granted. Where it cannot be asked, it is not spoken of.
    fn ask_policy(&mut self, opened: &Opened) {
        let Some(permission) = self.permission() else { return };
        let name = &self.name;
        let explained = opened.wait("reading the policy", |host| host.explain_policy(name, &permission));
        if let Ok(explained) = explained
            && explained.by == ExplainedBy::Policy
        {
            self.policy = Some(explained.reason);
            self.command = None;
        }
    }

    /// The permission that it would have needed.
    fn permission(&self) -> Option<Permission> {
        if let Some(grant) = &self.grant {
            return grant.parse().ok();
        }
        // Older records have no `file:`.
        let operation = self.operation.strip_prefix("file:").unwrap_or(&self.operation);
        let is_file = matches!(operation, "read" | "write" | "delete");
        let text = format!("file:{operation}={}", self.object);
        if is_file && self.object.starts_with('/') { text.parse().ok() } else { None }
    }

    fn text(&self) -> String {
        let times = if self.count == 1 { "once".to_owned() } else { format!("{} times", self.count) };
        let object = if self.object == UNKNOWN_OBJECT {
            String::new()
        } else {
            format!(" {}", one_line(&self.object))
        };
        let (layer, operation) = (one_line(&self.layer), one_line(&self.operation));
        let end = match &self.command {
            Some(command) => format!("to allow it: {}", one_line(command)),
            None if self.policy.is_some() => {
                format!("no grant allows it: {}", one_line(self.policy.as_deref().unwrap_or_default()))
            }
            None if self.object == UNKNOWN_OBJECT => {
                "the kernel did not tell on what; no grant is known".to_owned()
            }
            None => "no grant allows it".to_owned(),
        };
        format!("{}: {operation}{object}: refused by {layer}, {times}\n  {end}\n", self.name)
    }
}

fn answer(name: Option<&str>, denials: Vec<Refusal>) -> Result<Answer, Error> {
    let text: String = denials.iter().take(SHOWN_MAX).map(Refusal::text).collect();
    let more = denials.len().saturating_sub(SHOWN_MAX);
    let none = denials.is_empty();
    let mut answer = Answer::of(&Refusals { denials })?.text(text);
    if none {
        answer = answer.talk(match name {
            Some(name) => format!("no denial of {name} is known"),
            None => "no denial is known".to_owned(),
        });
    }
    // An installed plugin is not watched: what is not shown in its sandbox does not exist there, and trying it is no denial.
    if name.is_some() {
        answer = answer.talk(NOT_WATCHED);
    }
    if more > 0 {
        answer = answer.talk(format!("{more} more with --json"));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_who_how_often_and_what_would_allow_it() {
        let mut file = Denial::new("landlock", "open");
        file.object = "/srv/no tes/a\u{1b}[2J".to_owned();
        file.grant = Some("file:read=/srv/no tes/*".to_owned());
        file.count = 3;
        let call = Denial::new("seccomp", "ptrace");
        let denials = vec![Refusal::new("translator", file), Refusal::new("translator", call)];
        assert_eq!(
            answer(Some("translator"), denials).unwrap().for_people(),
            "translator: open /srv/no tes/a\\u{1b}[2J: refused by landlock, 3 times\n  \
             to allow it: ringfence grant translator 'file:read=/srv/no tes/*'\n\
             translator: ptrace: refused by seccomp, once\n  \
             the kernel did not tell on what; no grant is known\n"
                .to_owned()
                + NOT_WATCHED
        );
        assert_eq!(answer(None, Vec::new()).unwrap().for_people(), "no denial is known");
        let none = answer(Some("translator"), Vec::new()).unwrap().for_people();
        assert_eq!(none, format!("no denial of translator is known\n{NOT_WATCHED}"));
    }

    #[test]
    fn a_long_list_is_cut_for_people_only() {
        let denials = (0..25).map(|_| Refusal::new("p", Denial::new("host", "x"))).collect();
        let text = answer(None, denials).unwrap().for_people();
        assert_eq!(text.lines().count(), 2 * SHOWN_MAX + 1);
        assert!(text.ends_with("5 more with --json"), "{text}");
    }
}
