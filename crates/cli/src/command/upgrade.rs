//! `ringfence upgrade PATH`, `ringfence upgrade --abandon NAME` and `ringfence rollback NAME`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use ringfence::Error;
use ringfence::host::UpgradeOptions;
use ringfence::plugin::{Consent, Upgraded};
use ringfence_api::ErrorCode;
use ringfence_api::text::shell_word;

use super::install::{ask, package};
use crate::answer::Answer;
use crate::consent::{self, ConsentArguments, Flags};
use crate::host::{self, Opened, Stopped};
use crate::permissions;
use crate::text::lines;

#[derive(Debug, Args)]
#[command(
    after_help = "The new version takes over when everything it asks for is consented to and it has started well; until then the \
old one runs on, and it comes back by itself when the new one fails. --grant adds to what is granted; --grant-none takes all grants away. \
--abandon refuses a version that waits: it is dropped, and the old one stays.

Examples:
  ringfence upgrade ./translator
  ringfence upgrade ./translator --grant-requested
  ringfence upgrade ./translator-1.1.0 --allow-downgrade
  ringfence upgrade --abandon translator

Exit status: 0 upgraded, or this version was in place already, or abandoned; 1 the package has errors; 2 usage, or it is older; 3 no such path or plugin, \
or no version waits; 4 it asks for more and nobody consented: the old version stays; 5 the new version failed: the old one is back; 6 it broke a limit; \
7 not enforceable here; 8 busy."
)]
pub(crate) struct UpgradeArguments {
    /// The directory of the new version, or its parent; or an archive, .tar or .tar.gz
    #[arg(value_name = "PATH", required_unless_present = "abandon")]
    path: Option<PathBuf>,
    /// Drop the version of this plugin that waits for consent
    #[arg(long, value_name = "NAME", conflicts_with_all = ["path", "allow_downgrade", "grant", "grant_requested", "grant_none"])]
    abandon: Option<String>,
    #[command(flatten)]
    consent: ConsentArguments,
    /// Take an older version too
    #[arg(long)]
    allow_downgrade: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Goes back to the version before the last upgrade, with its grants.

Examples:
  ringfence rollback translator

Exit status: 0 rolled back; 3 no such plugin, or no version before; 4 it asks for what is not granted any more; 5 the older version failed; \
8 busy.")]
pub(crate) struct RollbackArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Upgrades.
pub(crate) fn run(arguments: &UpgradeArguments) -> ExitCode {
    host::with(arguments.json, |opened| match (&arguments.abandon, &arguments.path) {
        (Some(name), _) => abandon(opened, name),
        (None, path) => {
            let path = path.as_deref().unwrap_or(Path::new(""));
            let upgraded = upgrade(opened, arguments, path)?;
            Ok(answer(&upgraded, &format!("ringfence upgrade {}", shell_word(&path.to_string_lossy())))?)
        }
    })
}

fn abandon(opened: &Opened, name: &str) -> Result<Answer, Stopped> {
    // Which version it was is said beside; another one that comes meanwhile stays.
    let details = opened.wait("reading which version waits", |host| host.show(name))?;
    let (version, digest) = match &details.pending {
        Some(pending) => (pending.version.as_str(), Some(pending.digest.as_str())),
        None => ("", None),
    };
    let plugin = opened.wait("dropping the version that waits", |host| host.abandon_upgrade(name, digest))?;
    let said = format!("{name} {version} is dropped, and {} stays in place", plugin.version);
    Ok(Answer::of(&plugin)?.talk(said))
}

fn upgrade(opened: &Opened, arguments: &UpgradeArguments, path: &Path) -> Result<Upgraded, Stopped> {
    let path = package(path)?;
    let flags = arguments.consent.flags();
    let doing = "checking the new version and starting it";
    let options = || UpgradeOptions { allow_downgrade: arguments.allow_downgrade, expected: None };
    let attempt = |given: Consent| opened.wait(doing, |host| host.upgrade(&path, given, options()));
    // What is granted already is known only when the package has said whose upgrade it is.
    let first = match &flags {
        Flags::These(words) => {
            permissions::read(words)?;
            attempt(Consent::Absent)?
        }
        flags => attempt(flags.consent()?)?,
    };
    let name = first.plugin.name.to_string();
    let waits = !first.done && first.rolled_back.is_none();
    let given = match &flags {
        Flags::These(_) => Some(beside(opened, &name, &flags)?),
        Flags::Silent if waits && consent::can_ask() => ask(opened, &name)?,
        _ => None,
    };
    match given {
        Some(given) if waits => attempt(given),
        // It asked for nothing new, and was given something all the same.
        Some(Consent::Only(permissions)) => {
            opened.wait("recording the grants", |host| host.grant(&name, &permissions))?;
            Ok(first)
        }
        _ => Ok(first),
    }
}

fn beside(opened: &Opened, name: &str, flags: &Flags) -> Result<Consent, Stopped> {
    let request = opened.wait("reading what it asks for", |host| host.consent_request(name))?;
    let granted = opened.wait("reading the grants", |host| host.grants(name))?;
    Ok(flags.consent_beside(&request, granted.into_iter().map(|grant| grant.permission).collect())?)
}

/// Rolls back.
pub(crate) fn run_rollback(arguments: &RollbackArguments) -> ExitCode {
    host::with(arguments.json, |opened| {
        let name = &arguments.name;
        let upgraded = opened.wait("starting the version before", |host| host.rollback(name))?;
        Ok(answer(&upgraded, &format!("ringfence activate {name}"))?)
    })
}

/// What was done; an upgrade that is not in place is an error. `command` would grant what is missing.
fn answer(upgraded: &Upgraded, command: &str) -> Result<Answer, Error> {
    let Upgraded { plugin, from_version: from, to_version: to, wider, .. } = upgraded;
    let name = &plugin.name;
    if let Some(why) = &upgraded.rolled_back {
        let message = format!("{name} {to} failed, and {from} is back: {}", lines(why));
        return Err(Error::new(ErrorCode::PluginFailed, message)
            .with_hint(format!("read its log: ringfence logs {name}")));
    }
    if !upgraded.done {
        let wanted: Vec<String> = wider.iter().map(ToString::to_string).collect();
        let wanted = wanted.join(", ");
        let message = match &upgraded.publisher_change {
            None => format!("{name} {to} asks for more than is granted, so {from} stays: {wanted}"),
            Some(change) if wider.is_empty() => {
                format!("{name} {to} is by another publisher, so {from} stays: {change}")
            }
            Some(change) => format!(
                "{name} {to} is by another publisher and asks for more than is granted, so {from} stays: {change}; {wanted}"
            ),
        };
        return Err(Error::new(ErrorCode::ConsentRequired, lines(&message))
            .with_hint(format!("to grant all of it: {command} --grant-requested{}", of_its_code(upgraded))));
    }
    let said = if from == to {
        format!("{name} {to} is in place already; its package was not changed")
    } else {
        format!("{name} is {to} now, and was {from}; go back with: ringfence rollback {name}")
    };
    let found = upgraded.scan.as_ref().map(super::scan_code::told).unwrap_or_default();
    Ok(Answer::of(upgraded)?.talk_all(found).talk(said))
}

/// Where to read what the scan found in a version that waits.
fn of_its_code(upgraded: &Upgraded) -> String {
    let says = upgraded.scan.as_ref().is_some_and(|scan| !ringfence::scan::lines(scan, 1).is_empty());
    if says {
        format!("; the scan says something of its code: ringfence show {}", upgraded.plugin.name)
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence::plugin::{PluginSummary, PublisherChange};
    use ringfence_api::{PluginState, Runtime};

    fn upgraded(done: bool, rolled_back: Option<&str>) -> Upgraded {
        Upgraded {
            plugin: PluginSummary {
                name: "translator".parse().unwrap(),
                version: if done { "2.0.0" } else { "1.0.0" }.to_owned(),
                state: PluginState::Active,
                runtime: Runtime::Python,
                publisher: "unsigned".to_owned(),
                description: None,
                reason: None,
            },
            from_version: "1.0.0".to_owned(),
            to_version: "2.0.0".to_owned(),
            done,
            wider: vec!["env:read=LANG".parse().unwrap()],
            publisher_change: None,
            rolled_back: rolled_back.map(str::to_owned),
            scan: None,
        }
    }

    #[test]
    fn only_what_is_in_place_is_done() {
        let done = answer(&upgraded(true, None), "x").unwrap().for_people();
        assert_eq!(
            done,
            "translator is 2.0.0 now, and was 1.0.0; go back with: ringfence rollback translator"
        );

        let waits = answer(&upgraded(false, None), "ringfence upgrade ./t").unwrap_err();
        assert_eq!(waits.code(), ErrorCode::ConsentRequired);
        assert_eq!(
            waits.message(),
            "translator 2.0.0 asks for more than is granted, so 1.0.0 stays: env:read=LANG"
        );
        assert_eq!(waits.hint(), Some("to grant all of it: ringfence upgrade ./t --grant-requested"));

        let change = PublisherChange {
            from_publisher: "unsigned:ada".to_owned(),
            to_publisher: "unsigned:eve".to_owned(),
        };
        let theirs = Upgraded { publisher_change: Some(change), ..upgraded(false, None) };
        let message = answer(&theirs, "x").unwrap_err().message().to_owned();
        let who = "it is by unsigned:eve, and the version before by unsigned:ada";
        assert_eq!(
            message,
            format!(
                "translator 2.0.0 is by another publisher and asks for more than is granted, so 1.0.0 stays: {who}; env:read=LANG"
            )
        );
        let message =
            answer(&Upgraded { wider: Vec::new(), ..theirs }, "x").unwrap_err().message().to_owned();
        assert_eq!(message, format!("translator 2.0.0 is by another publisher, so 1.0.0 stays: {who}"));

        let back = answer(&upgraded(false, Some("it \u{1b}[2J exited")), "x").unwrap_err();
        assert_eq!(back.code(), ErrorCode::PluginFailed);
        assert_eq!(back.message(), "translator 2.0.0 failed, and 1.0.0 is back: it \\u{1b}[2J exited");
    }
}
