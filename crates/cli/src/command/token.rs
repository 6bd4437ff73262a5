//! `ringfence token create`, `token list` and `token revoke`: what opens the daemon's doors, straight on the store.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use ringfence::Error;
use ringfence::token::{CreatedToken, NewToken, TokenId, TokenInfo};
use ringfence::units::Limit;
use ringfence_api::{PluginName, Role};
use serde::Serialize;

use crate::answer::Answer;
use crate::duration::parse_lifetime;
use crate::host;
use crate::table::Table;
use crate::text::one_line;
use crate::time::utc_of;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and show it this once
    #[command(
        after_help = "Roles: viewer looks; operator calls and activates as well; admin does everything. --plugin bounds it to one plugin. What is \
stored is a digest: a token that is lost is made anew. It is printed to standard output and nowhere else.

Examples:
  ringfence token create --role operator --expires 30d
  ringfence token create --role viewer --plugin translator --name dashboard
  ringfence token create --role admin --json

Exit status: 0 made; 2 usage; 3 no such plugin; 8 busy."
    )]
    Create(CreateArguments),
    /// List tokens, without what is secret of them
    #[command(after_help = "Examples:
  ringfence token list
  ringfence token list --json

Exit status: 0, also when there is none; 8 busy.")]
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Take a token back; it opens nothing from then on
    #[command(after_help = "Examples:
  ringfence token revoke 3f2a9c4417b0de56

Exit status: 0 revoked; 3 no such token; 8 busy.")]
    Revoke {
        /// Its ID, as `token list` shows it
        #[arg(value_name = "ID")]
        id: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// What its bearer may do: admin, operator or viewer
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
    /// Only for this plugin
    #[arg(long, value_name = "NAME", value_parser = plugin)]
    plugin: Option<PluginName>,
    /// After how long it opens nothing any more, such as 30d or 12h [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = parse_lifetime)]
    expires: Option<Limit<Duration>>,
    /// What it is for, in words
    #[arg(long, value_name = "TEXT", default_value = "")]
    name: String,
    /// Print one JSON document: {id, token, role, plugin, expires_at}
    #[arg(long)]
    json: bool,
}

/// Does it.
pub(crate) fn run(command: &TokenCommand) -> ExitCode {
    match command {
        TokenCommand::Create(arguments) => host::with(arguments.json, |opened| {
            let token = NewToken {
                plugin: arguments.plugin.clone(),
                expires: arguments.expires.and_then(|limit| limit.as_option()),
                name: arguments.name.clone(),
                ..NewToken::new(arguments.role)
            };
            let made = opened.wait("making the token", |host| host.create_token(token))?;
            Ok(created(&made)?)
        }),
        TokenCommand::List { json } => host::with(*json, |opened| {
            let tokens = opened.wait("reading the store", |host| host.tokens())?;
            Ok(listed(&tokens)?)
        }),
        TokenCommand::Revoke { id, json } => host::with(*json, |opened| {
            let id: TokenId = id.parse()?;
            opened.wait("revoking the token", |host| host.revoke_token(&id))?;
            Ok(Answer::of(&Revoked { id: &id, revoked: true })?.talk(format!("{id} opens nothing any more")))
        }),
    }
}

#[derive(Serialize)]
struct Revoked<'a> {
    id: &'a TokenId,
    revoked: bool,
}

fn created(made: &CreatedToken) -> Result<Answer, Error> {
    let info = &made.info;
    let whose = info.plugin.as_ref().map_or_else(String::new, |plugin| format!(" for {plugin}"));
    let end = match &info.expires_at {
        Some(at) => format!("until {at}"),
        None => format!("until: ringfence token revoke {}", info.id),
    };
    Ok(Answer::of(made)?
        .text(made.token.reveal())
        .talk(format!("{} {}{whose}, {end}", info.role, info.id))
        .talk("it is shown this once; send it as Authorization: Bearer TOKEN, never in an address"))
}

fn listed(tokens: &[TokenInfo]) -> Result<Answer, Error> {
    let mut table = Table::new(["ID", "ROLE", "PLUGIN", "EXPIRES", "LAST USED (UTC)", "FOR"]);
    for token in tokens {
        let end = token.expires_at.clone().unwrap_or_else(|| "never".to_owned());
        table.row([
            token.id.to_string(),
            token.role.to_string(),
            token.plugin.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string),
            if token.expired { format!("{end} (over)") } else { end },
            token.last_used_at_ms.map_or_else(|| "never".to_owned(), utc_of),
            one_line(&token.name),
        ]);
    }
    let answer = Answer::of(&tokens)?.text(table.for_stdout());
    Ok(if tokens.is_empty() {
        answer.talk("there is no token; ringfence token create makes one")
    } else {
        answer
    })
}

fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|_| {
        let all = Role::ALL.map(Role::as_str).join(", ");
        format!("'{}' is no role; choose {all}", text.escape_debug())
    })
}

fn plugin(text: &str) -> Result<PluginName, String> {
    text.parse().map_err(|error: ringfence_api::PluginNameError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_one_of_three() {
        assert_eq!(role("operator"), Ok(Role::Operator));
        assert_eq!(role("root").unwrap_err(), "'root' is no role; choose viewer, operator, admin");
    }

    #[test]
    fn a_list_shows_no_secret_and_what_is_over() {
        let token = TokenInfo {
            id: "00ff00ff00ff00ff".parse().unwrap(),
            role: Role::Viewer,
            plugin: Some("notes".parse().unwrap()),
            name: "board\u{1b}[2J".to_owned(),
            created_by: "command line, uid 0".to_owned(),
            created_at_ms: 0,
            expires_at: Some("1970-01-02T00:00:00Z".to_owned()),
            expired: true,
            last_used_at_ms: None,
        };
        assert_eq!(
            listed(&[token]).unwrap().for_people(),
            "ID                ROLE    PLUGIN  EXPIRES                      LAST USED (UTC)  FOR\n\
             00ff00ff00ff00ff  viewer  notes   1970-01-02T00:00:00Z (over)  never            board\\u{1b}[2J"
        );
        assert!(listed(&[]).unwrap().for_people().starts_with("there is no token"));
    }
}
