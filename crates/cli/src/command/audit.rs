//! `ringfence audit list`, `verify`, `export` and `prune`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use ringfence::Error;
use ringfence::audit::{
    AUDIT_PAGE_MAX, AuditFilter, AuditKeep, AuditOrder, AuditPage, AuditRecord, AuditVerdict, SealedState,
    SealedTrail,
};
use ringfence::units::Limit;
use ringfence_api::ErrorCode;
use serde_json::Value;

use crate::answer::Answer;
use crate::duration::parse_lifetime;
use crate::host::{self, Opened, Stopped};
use crate::table::Table;
use crate::text::one_line;
use crate::time::utc_of;

/// The status when a record is not as it was written.
const CHANGED: u8 = 1;

/// What to do with the audit trail.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List records, the newest first
    #[command(
        after_help = "Shows what was done to plugins and what they did: installs, consents, grants, starts and how each ended, calls, denials, \
violations, configuration (the names of its keys), upgrades. The start of a plugin and its end have the same ID.

Examples:
  ringfence audit list
  ringfence audit list --plugin translator --event crash
  ringfence audit list --oldest-first --limit 1000 --json

Exit status: 0, also when nothing matches; 1 it cannot be read; 2 usage; 8 busy."
    )]
    List(ListArguments),
    /// Check that no record was changed, removed, swapped or put in
    #[command(
        after_help = "Reads the whole trail and names the first record that is not as it was written. An end that was cut off is found, too. Not \
found is who put back an older copy of the whole home.

Examples:
  ringfence audit verify
  ringfence audit verify --json

Exit status: 0 every record is as it was written; 1 one is not, or the trail cannot be read; 2 usage; 8 busy."
    )]
    Verify {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Print all records as lines of JSON, the oldest first
    #[command(
        after_help = "One record a line, with its number and digest: an archive that can be checked without this home. What is recorded \
meanwhile is in it as far as it is there when the end is reached.

Examples:
  ringfence audit export > audit.jsonl
  ringfence audit export --from 5001 > later.jsonl

Exit status: 0 all are printed; 1 they cannot be read or printed; 2 usage; 8 busy."
    )]
    Export {
        /// Begin with this record, by its number
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(1..))]
        from: Option<i64>,
    },
    /// Remove the oldest records; what is left stays provable
    #[command(
        after_help = "The whole trail is checked first: where a record is not as it was written, nothing is removed, for it may be evidence. \
The removal is a record itself. Export what is to be kept elsewhere before.

--sealing-damage is for a trail that was altered, once somebody has found out how: all of it is put away as it is into a file of the \
home (audit-damaged-TIME.jsonl), and a new trail begins behind it, whose first record says what was found and has the digest of that file.

Examples:
  ringfence audit export > audit.jsonl && ringfence audit prune --keep 90d

Exit status: 0 removed, also when nothing was that old; 1 it cannot be read; 2 usage, or nothing is damaged; 4 a record was changed; 8 busy."
    )]
    Prune(PruneArguments),
}

#[derive(Debug, Args)]
pub(crate) struct PruneArguments {
    /// Keep what is younger than this, such as 90d
    #[arg(long, value_name = "DURATION", value_parser = parse_lifetime, required_unless_present = "sealing_damage")]
    keep: Option<Limit<Duration>>,
    /// Put a trail that was altered away as it is, and begin a new one
    #[arg(long, conflicts_with = "keep")]
    sealing_damage: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Only of this plugin
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// Only of this kind, such as consent, start, crash, violation, denial
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Only what belongs together: one call, or one run of a plugin
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How many to show
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=AUDIT_PAGE_MAX as i64))]
    limit: u16,
    /// Go on after this record: the number of the last one that was shown
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(0..))]
    after: Option<i64>,
    /// The oldest first
    #[arg(long)]
    oldest_first: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Does it.
pub(crate) fn run(command: &AuditCommand) -> ExitCode {
    match command {
        AuditCommand::List(arguments) => host::with(arguments.json, |opened| {
            let page = opened.wait("reading the audit trail", async |host| {
                let filter = arguments.filter();
                host.audit(&filter, arguments.after, usize::from(arguments.limit)).await
            })?;
            Ok(listed(&page, arguments)?)
        }),
        AuditCommand::Verify { json } => host::with_status(*json, |opened| {
            let verdict = opened.wait("checking the audit trail", |host| host.audit_verify())?;
            let printed = judged(&verdict)?.print(*json);
            Ok(if verdict.first_bad.is_some() { ExitCode::from(CHANGED) } else { printed })
        }),
        AuditCommand::Export { from } => host::with_status(false, |opened| export(opened, *from)),
        AuditCommand::Prune(arguments) => prune(arguments),
    }
}

fn prune(arguments: &PruneArguments) -> ExitCode {
    let json = arguments.json;
    let keep = match arguments.keep {
        Some(Limit::At(age)) => AuditKeep::NewerThan(age),
        Some(Limit::Lifted) => {
            let message = "--keep none: what is kept must be said";
            return host::failed(
                &Error::new(ErrorCode::Usage, message).with_hint("such as --keep 90d"),
                json,
            );
        }
        // The grammar asks for one of both.
        None => {
            return host::with(json, |opened| {
                let doing = "putting the damaged audit trail away";
                let sealed = opened.wait(doing, |host| host.audit_seal_damage())?;
                let bad = &sealed.first_bad;
                let file = one_line(&sealed.file.to_string_lossy());
                Ok(Answer::of(&sealed)?
                    .talk(format!("record {}: {}", bad.seq, bad.reason))
                    .talk(format!("{} records are put away in {file}", sealed.records))
                    .talk(format!("the trail begins anew with record {}", sealed.up_to.saturating_add(1))))
            });
        }
    };
    host::with(json, |opened| {
        let pruned = opened.wait("checking and shortening the audit trail", |host| host.audit_prune(keep))?;
        let said = match pruned.pruned_before {
            Some(first) => {
                format!("{} records removed; the trail begins with record {first}", pruned.removed)
            }
            None => format!("{} records removed", pruned.removed),
        };
        Ok(Answer::of(&pruned)?.talk(said))
    })
}

/// Prints page by page, so that a trail of any length needs the memory of one page.
fn export(opened: &Opened, from: Option<i64>) -> Result<ExitCode, Stopped> {
    let mut pages = None;
    loop {
        let page = opened.wait("reading the audit trail", |host| {
            let pages =
                pages.get_or_insert_with(|| host.audit_export(from.map(|from| from.saturating_sub(1))));
            pages.next_page()
        })?;
        let Some(records) = page else { return Ok(ExitCode::SUCCESS) };
        let mut text = String::new();
        for record in &records {
            text.push_str(&serde_json::to_string(record).map_err(|cause| {
                Error::new(ErrorCode::Internal, "cannot write a record as JSON").with_source(cause)
            })?);
            text.push('\n');
        }
        // An archive that was cut off must not look like one that is whole: a reader that went away is a failure here.
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|cause| Error::new(ErrorCode::Io, "cannot write the records").with_source(cause))?;
    }
}

impl ListArguments {
    fn filter(&self) -> AuditFilter {
        AuditFilter {
            plugin: self.plugin.clone(),
            event: self.event.clone(),
            correlation_id: self.id.clone(),
            order: if self.oldest_first { AuditOrder::OldestFirst } else { AuditOrder::NewestFirst },
            ..AuditFilter::default()
        }
    }
}

fn listed(page: &AuditPage, arguments: &ListArguments) -> Result<Answer, Error> {
    let mut table = Table::new(["NUMBER", "TIME (UTC)", "EVENT", "PLUGIN", "ID", "WHAT"]);
    for record in &page.records {
        table.row([
            record.seq.to_string(),
            utc_of(record.at_ms),
            one_line(&record.event),
            one_line(&record.plugin),
            one_line(&record.correlation_id),
            what(record),
        ]);
    }
    let answer = Answer::of(page)?.text(table.for_stdout());
    Ok(match page.records.last() {
        None => answer.talk("no records match"),
        Some(last) if page.more => {
            answer.talk(format!("more: the same with --after {}{}", last.seq, order_word(arguments)))
        }
        Some(_) => answer,
    })
}

fn order_word(arguments: &ListArguments) -> &'static str {
    if arguments.oldest_first { " --oldest-first" } else { "" }
}

/// The body on one line: `name=value`, in the order in which it was written.
fn what(record: &AuditRecord) -> String {
    let Value::Object(members) = &record.body else { return one_line(&record.body.to_string()) };
    let word = |value: &Value| match value {
        Value::String(text) => one_line(text),
        other => one_line(&other.to_string()),
    };
    let told = members.iter().filter(|(_, value)| !value.is_null());
    told.map(|(name, value)| format!("{}={}", one_line(name), word(value))).collect::<Vec<_>>().join(" ")
}

fn put_away(sealed: &SealedTrail) -> String {
    let file = one_line(&sealed.file);
    let is = match sealed.state {
        SealedState::Whole => "which is as it was put away",
        SealedState::Altered => "which is NOT as it was put away",
        SealedState::Gone => "which is not in the home any more",
    };
    format!("record {} says that the trail before it was damaged and is in {file}, {is}", sealed.seq)
}

fn judged(verdict: &AuditVerdict) -> Result<Answer, Error> {
    let answer = Answer::of(verdict)?;
    Ok(match &verdict.first_bad {
        None => answer
            .talk(format!("{} records, every one as it was written", verdict.records))
            .talk_all(verdict.sealed.iter().map(put_away)),
        Some(bad) => answer
            .talk(format!("record {}: {}", bad.seq, bad.reason))
            .talk(format!("the {} records before it are as they were written", verdict.records))
            .talk("find out who can write to the home; a backup shows what stood there"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence::audit::BadRecord;
    use serde_json::json;

    fn arguments() -> ListArguments {
        ListArguments {
            plugin: None,
            event: None,
            id: None,
            limit: 50,
            after: None,
            oldest_first: true,
            json: false,
        }
    }

    fn record(seq: i64, event: &str, body: Value) -> AuditRecord {
        AuditRecord {
            seq,
            at_ms: 0,
            event: event.to_owned(),
            plugin: "p".to_owned(),
            publisher: String::new(),
            correlation_id: "7-1".to_owned(),
            body,
            hash: String::new(),
        }
    }

    #[test]
    fn a_record_is_one_line_that_no_terminal_obeys() {
        let crash = json!({"detail": "gone\n\u{1b}[2J", "exit_code": 3, "signal": null});
        let page = AuditPage {
            records: vec![record(4, "crash", crash), record(5, "x", json!("edited"))],
            more: true,
        };
        assert_eq!(
            listed(&page, &arguments()).unwrap().for_people(),
            "NUMBER  TIME (UTC)           EVENT  PLUGIN  ID   WHAT\n\
             4       1970-01-01 00:00:00  crash  p       7-1  detail=gone\\n\\u{1b}[2J exit_code=3\n\
             5       1970-01-01 00:00:00  x      p       7-1  \"edited\"\n\
             more: the same with --after 5 --oldest-first"
        );
        let empty = AuditPage { records: Vec::new(), more: false };
        assert_eq!(listed(&empty, &arguments()).unwrap().for_people(), "no records match");
    }

    #[test]
    fn the_verdict_names_the_first_bad_record() {
        let verdict = AuditVerdict {
            records: 2,
            last_seq: 2,
            first_bad: Some(BadRecord { seq: 3, reason: "it is gone".to_owned() }),
            pruned_before: None,
            sealed: None,
        };
        assert_eq!(
            judged(&verdict).unwrap().for_people(),
            "record 3: it is gone\nthe 2 records before it are as they were written\n\
             find out who can write to the home; a backup shows what stood there"
        );
        let intact = AuditVerdict { first_bad: None, ..verdict };
        assert_eq!(judged(&intact).unwrap().for_people(), "2 records, every one as it was written");
        let sealed =
            SealedTrail { seq: 1, file: "audit-damaged-1.jsonl".to_owned(), state: SealedState::Altered };
        let put_away = AuditVerdict { sealed: Some(sealed), ..intact };
        assert!(
            judged(&put_away)
                .unwrap()
                .for_people()
                .ends_with("audit-damaged-1.jsonl, which is NOT as it was put away")
        );
    }
}
