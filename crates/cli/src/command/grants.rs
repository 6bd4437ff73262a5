//! `ringfence grants NAME`, `grant NAME P...` and `revoke NAME P...`.

use std::process::ExitCode;

use clap::Args;
use ringfence::Error;
use ringfence::plugin::{GrantInfo, PolicyEffect};
use ringfence_api::Permission;

use crate::answer::Answer;
use crate::host::{self, Opened, Stopped};
use crate::permissions;
use crate::table::Table;
use crate::text::one_line;
use crate::time::utc_of;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence grants translator
  ringfence grants translator --json

Exit status: 0, also when nothing is granted; 3 no such plugin; 8 busy.")]
pub(crate) struct GrantsArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A permission is NAME or NAME=SCOPE; a relative path is taken from the working directory. A plugin that runs is started \
anew with more.

Examples:
  ringfence grant translator 'file:read=/srv/notes/**'
  ringfence grant translator env:read=LANG file:write=./out

Exit status: 0 granted; 2 no permission; 3 no such plugin or path; 4 refused, such as a wildcard over protected files; 8 busy."
)]
pub(crate) struct GrantArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    /// What to grant
    #[arg(value_name = "PERMISSION", required = true)]
    permissions: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "It holds at once: a plugin that runs is stopped and started anew with less.

Examples:
  ringfence revoke translator 'file:read=/srv/notes/**'

Exit status: 0 revoked; 2 no permission; 3 no such plugin or grant; 8 busy.")]
pub(crate) struct RevokeArguments {
    /// The name of the plugin
    #[arg(value_name = "NAME")]
    name: String,
    /// What to revoke, as `ringfence grants` shows it
    #[arg(value_name = "PERMISSION", required = true)]
    permissions: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Shows what is granted.
pub(crate) fn run(arguments: &GrantsArguments) -> ExitCode {
    host::with(arguments.json, |opened| {
        let grants = opened.wait("reading the grants", |host| host.grants(&arguments.name))?;
        Ok(answer(&arguments.name, &grants)?)
    })
}

/// Grants.
pub(crate) fn run_grant(arguments: &GrantArguments) -> ExitCode {
    host::with(arguments.json, |opened| {
        let (name, words) = (arguments.name.as_str(), &arguments.permissions);
        let known = if permissions::any_relative(words) {
            opened.wait("reading what it asks for", |host| host.consent_request(name))?.all()
        } else {
            Vec::new()
        };
        let permissions = permissions::read_or_known(words, &known)?;
        let grants = opened.wait("granting it", |host| host.grant(name, &permissions))?;
        Ok(answer(name, &grants)?.talk(said("granted", name, &permissions)))
    })
}

/// Revokes.
pub(crate) fn run_revoke(arguments: &RevokeArguments) -> ExitCode {
    host::with(arguments.json, |opened| revoke(opened, arguments))
}

fn revoke(opened: &Opened, arguments: &RevokeArguments) -> Result<Answer, Stopped> {
    let (name, words) = (arguments.name.as_str(), &arguments.permissions);
    let known = if permissions::any_relative(words) {
        opened.wait("reading the grants", |host| host.grants(name))?
    } else {
        Vec::new()
    };
    let known: Vec<Permission> = known.into_iter().map(|grant| grant.permission).collect();
    let permissions = permissions::read_or_known(words, &known)?;
    let grants = opened.wait("revoking it", |host| host.revoke(name, &permissions))?;
    Ok(answer(name, &grants)?.talk(said("revoked", name, &permissions)))
}

fn said(done: &str, name: &str, permissions: &[Permission]) -> String {
    let list: Vec<String> = permissions.iter().map(ToString::to_string).collect();
    format!("{done} for {name}: {}", list.join(", "))
}

fn answer(name: &str, grants: &[GrantInfo]) -> Result<Answer, Error> {
    let mut table = Table::new(["GIVEN (UTC)", "ENFORCED BY", "PERMISSION"]).last_whole();
    for grant in grants {
        let permission = one_line(&grant.permission.to_string());
        table.row([utc_of(grant.granted_at_ms), grant.enforced.to_string(), permission]);
    }
    let answer = Answer::of(&grants)?.text(table.for_stdout()).talk_all(grants.iter().flat_map(notes));
    Ok(if grants.is_empty() { answer.talk(format!("nothing is granted to {name}")) } else { answer })
}

/// Where a grant leads if not where it says, and what the policy takes of it, in lines.
fn notes(grant: &GrantInfo) -> Vec<String> {
    let permission = one_line(&grant.permission.to_string());
    let place = grant.place.as_ref().map(|place| format!("{permission}: {}", one_line(&place.line())));
    let warnings = grant.warnings.iter().map(|warning| format!("note: {permission}: {}", one_line(warning)));
    place.into_iter().chain(warnings).chain(policy(grant)).collect()
}

/// What the policy takes of a grant, in lines.
fn policy(grant: &GrantInfo) -> Vec<String> {
    let Some(note) = &grant.policy else { return Vec::new() };
    let permission = one_line(&grant.permission.to_string());
    let because = note.because.iter().map(|because| format!("{permission}: {}", one_line(because)));
    let left = (note.effect == PolicyEffect::Narrowed)
        .then(|| format!("{permission}: left is {}", one_line(&note.kept.join(", "))));
    because.chain(left).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence::plugin::{GrantPlace, PlaceState, PolicyNote};

    #[test]
    fn a_line_for_each_grant() {
        let grant = GrantInfo {
            permission: "file:read=/srv/notes/**".parse().unwrap(),
            meaning: "read files below /srv/notes".to_owned(),
            enforced: ringfence::enforcement::Enforcement::Sandbox,
            granted_at_ms: 0,
            granted_by: "ada".to_owned(),
            policy: None,
            place: None,
            warnings: Vec::new(),
        };
        let closed = GrantInfo {
            place: Some(GrantPlace {
                path: "/srv/b".to_owned(),
                state: PlaceState::Closed,
                why: Some("nothing was there".to_owned()),
            }),
            ..grant.clone()
        };
        assert_eq!(
            notes(&closed),
            ["file:read=/srv/notes/**: nothing was there; it opens nothing until somebody consents anew"]
        );
        let warned = GrantInfo { warnings: vec!["it holds .git: hooks".to_owned()], ..grant.clone() };
        assert_eq!(notes(&warned), ["note: file:read=/srv/notes/**: it holds .git: hooks"]);
        let narrowed = GrantInfo {
            policy: Some(PolicyNote {
                effect: PolicyEffect::Narrowed,
                kept: vec!["file:read=/srv/notes/a/**".to_owned()],
                because: vec!["the policy says so (policy.toml:3)".to_owned()],
            }),
            ..grant.clone()
        };
        assert_eq!(
            policy(&narrowed),
            [
                "file:read=/srv/notes/**: the policy says so (policy.toml:3)",
                "file:read=/srv/notes/**: left is file:read=/srv/notes/a/**"
            ]
        );
        assert!(policy(&grant).is_empty());
        assert_eq!(
            answer("translator", &[grant]).unwrap().for_people(),
            "GIVEN (UTC)          ENFORCED BY  PERMISSION\n1970-01-01 00:00:00  sandbox      file:read=/srv/notes/**"
        );
        assert_eq!(answer("translator", &[]).unwrap().for_people(), "nothing is granted to translator");
        let permissions = ["env:read".parse().unwrap(), "profile:read".parse().unwrap()];
        assert_eq!(
            said("revoked", "translator", &permissions),
            "revoked for translator: env:read, profile:read"
        );
    }
}
