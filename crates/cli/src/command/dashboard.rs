//! `ringfence dashboard`: an address that opens the daemon's dashboard once.

use std::process::ExitCode;

use clap::Args;

use crate::answer::Answer;
use crate::daemon::{self, DashboardLink};
use crate::host::{self, Stopped};

#[derive(Debug, Args)]
#[command(
    after_help = "The address is printed to standard output. It works once and for two minutes: whoever opens it first is signed in and acts as \
an administrator, so it is for nobody else. Others sign in at the same address with a token of their own: ringfence token create.

The daemon must run: ringfence serve --background.

Examples:
  ringfence dashboard
  ringfence dashboard --json

Exit status: 0 printed; 4 no daemon holds this home, or it listens on its socket alone."
)]
pub(crate) struct DashboardArguments {
    /// Print one JSON document: {url, expires_in_s}
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub(crate) fn run(arguments: &DashboardArguments) -> ExitCode {
    host::with(arguments.json, |opened| {
        let Some(daemon) = opened.daemon() else { return Err(daemon::needed("the dashboard").into()) };
        let link = opened.wait_for("asking the daemon", daemon.dashboard_link())?;
        Ok::<_, Stopped>(answer(&link)?)
    })
}

fn answer(link: &DashboardLink) -> Result<Answer, ringfence::Error> {
    let minutes = link.expires_in_s / 60;
    Ok(Answer::of(link)?
        .text(&link.url)
        .talk(format!("it opens once, within {minutes} min, and whoever opens it acts as an administrator")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_stands_alone_on_standard_output() {
        let link = DashboardLink {
            url: "http://127.0.0.1:7700/dashboard/open?code=1".to_owned(),
            expires_in_s: 120,
        };
        assert_eq!(
            answer(&link).unwrap().for_people(),
            "http://127.0.0.1:7700/dashboard/open?code=1\n\
             it opens once, within 2 min, and whoever opens it acts as an administrator"
        );
    }
}
