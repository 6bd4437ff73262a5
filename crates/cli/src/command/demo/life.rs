//! What an administrator does with two honest plugins: install, read what they ask for, consent, activate, call, grant,
//! revoke, upgrade, uninstall. Each step says what came of it, and whether that is what should come.

use std::path::Path;

use ringfence::host::UpgradeOptions;
use ringfence::plugin::{Consent, KeepData};
use ringfence::{Error, Host};
use ringfence_api::{ErrorCode, Permission};
use serde::Serialize;
use serde_json::{Value, json};

use super::samples;
use super::world::World;
use crate::print;

/// What the checksum plugin is asked, and what it must say.
pub(super) const TEXT: &str = "ringfence";
const NO_PYTHON: &str = "skipped: needs python3";

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    plugin: &'static str,
    step: &'static str,
    /// What came of it, in one line.
    came: String,
    /// Whether that is what should come.
    pub(super) held: bool,
}

/// The steps so far.
pub(super) struct Life<'a> {
    pub(super) host: &'a Host,
    pub(super) world: &'a World,
    pub(super) quiet: bool,
    pub(super) steps: Vec<Step>,
}

impl Life<'_> {
    fn say(&self, text: &str) {
        if !self.quiet {
            print::data(text);
        }
    }

    fn note(&mut self, plugin: &'static str, step: &'static str, came: impl Into<String>, held: bool) {
        let came = came.into();
        let mark = if held { "" } else { "FAILED " };
        self.say(&format!("  {plugin:<9} {step:<10} {mark}{}", came.replace('\n', "; ")));
        self.steps.push(Step { plugin, step, came, held });
    }

    /// A step that should be done; `tell` says what came of it, and whether that is right.
    fn done<T>(
        &mut self,
        plugin: &'static str,
        step: &'static str,
        done: Result<T, Error>,
        tell: impl FnOnce(&T) -> (String, bool),
    ) -> Option<T> {
        match done {
            Ok(value) => {
                let (came, right) = tell(&value);
                self.note(plugin, step, came, right);
                Some(value)
            }
            Err(error) => {
                self.note(plugin, step, said(&error), false);
                None
            }
        }
    }

    /// The text that a person reads before consenting.
    async fn show_request(&mut self, plugin: &'static str) -> Vec<Permission> {
        match self.host.consent_request(plugin).await {
            Ok(request) => {
                let text = request.to_string().replace('\n', "\n      | ");
                self.say(&format!("      | {text}"));
                request.all()
            }
            Err(error) => {
                self.note(plugin, "consent", said(&error), false);
                Vec::new()
            }
        }
    }

    async fn install(&mut self, plugin: &'static str, package: &Path) -> bool {
        let installed = self.host.install(package, Consent::Absent).await;
        if installed.as_ref().is_err_and(|error| error.code() == ErrorCode::NotFound) {
            self.note(plugin, "install", NO_PYTHON, true);
            return false;
        }
        let tell = |installed: &ringfence::plugin::Installed| {
            (format!("{}: it waits for consent", installed.plugin.state), installed.changed)
        };
        self.done(plugin, "install", installed, tell).is_some()
    }

    async fn activate(&mut self, plugin: &'static str) {
        let activated = self.host.activate(plugin).await;
        self.done(plugin, "activate", activated, |summary| (summary.state.to_string(), true));
    }

    /// A call that should be answered, with what the answer must contain.
    async fn call(&mut self, plugin: &'static str, tool: &str, arguments: Value, contains: &str) {
        let line = format!("{tool} {arguments}");
        let answered = self.host.call(plugin, tool, arguments).await;
        self.done(plugin, "call", answered, |value| {
            let answer = value.to_string();
            let right = answer.contains(contains);
            (format!("{line}: {answer}"), right)
        });
    }

    /// A call that should be refused, with the grant that would allow it.
    async fn refused(&mut self, plugin: &'static str, tool: &str, arguments: Value, grant: &str) {
        let line = format!("{tool} {arguments}");
        match self.host.call(plugin, tool, arguments).await {
            Ok(value) => self.note(plugin, "call", format!("{line}: {value}"), false),
            Err(error) => {
                let refused = error.hint().is_some_and(|hint| hint.contains(grant));
                self.note(plugin, "refused", format!("{line}: {}", said(&error)), refused);
            }
        }
    }

    /// The Python plugin, granted all that it asks for.
    pub(super) async fn visitors(&mut self) -> Result<(), Error> {
        let plugin = "visitors";
        if !self.install(plugin, &samples::visitors(self.world)?).await {
            return Ok(());
        }
        self.show_request(plugin).await;
        let consented = self.host.consent(plugin, Consent::Requested).await;
        self.done(plugin, "consent", consented, |_| ("all that it asks for is granted".to_owned(), true));
        self.activate(plugin).await;
        self.call(plugin, "greet", json!({ "name": "Ada" }), "Hello, Ada!").await;
        let page = self.world.path("guest-book/today.txt").display().to_string();
        self.call(plugin, "guest_book", json!({ "page": page }), "Ada was here.").await;
        Ok(())
    }

    /// The compiled plugin, granted less than it asks for, then more.
    pub(super) async fn checksum(&mut self) -> Result<(), Error> {
        let plugin = "checksum";
        if !self.install(plugin, &samples::checksum(self.world)?).await {
            return Ok(());
        }
        let asked = self.show_request(plugin).await;
        let consented = self.host.consent(plugin, Consent::Only(Vec::new())).await;
        self.done(plugin, "consent", consented, |_| ("nothing of it is granted".to_owned(), true));
        self.activate(plugin).await;
        self.call(plugin, "checksum", json!({ "text": TEXT }), "fnv1a").await;
        let file = self.world.path("data/numbers.txt").display().to_string();
        self.refused(plugin, "checksum", json!({ "path": file }), "ringfence grant checksum").await;
        let granted = self.host.grant(plugin, &asked).await;
        self.done(plugin, "grant", granted, |grants| {
            let all: Vec<String> = grants.iter().map(|grant| grant.permission.to_string()).collect();
            (all.join(", "), !all.is_empty())
        });
        self.call(plugin, "checksum", json!({ "path": file }), "\"bytes\":12").await;
        Ok(())
    }

    /// What comes at the end of a plugin's life.
    pub(super) async fn end(&mut self) -> Result<(), Error> {
        let plugin = "checksum";
        let file = self.world.path("data/numbers.txt").display().to_string();
        let held: Vec<Permission> =
            self.host.grants(plugin).await?.into_iter().map(|grant| grant.permission).collect();
        let revoked = self.host.revoke(plugin, &held).await;
        self.done(plugin, "revoke", revoked, |left| {
            (format!("{} grants are left", left.len()), left.is_empty())
        });
        self.refused(plugin, "checksum", json!({ "path": file }), "ringfence grant checksum").await;

        let next = samples::checksum_next(self.world)?;
        let waits = self.host.upgrade(&next, Consent::Absent, UpgradeOptions::default()).await;
        self.done(plugin, "upgrade", waits, |upgraded| {
            let wider: Vec<String> = upgraded.wider.iter().map(ToString::to_string).collect();
            let (from, to) = (&upgraded.from_version, &upgraded.to_version);
            let came =
                format!("{to} asks for more, so {from} stays until you consent: + {}", wider.join(", + "));
            (came, !upgraded.done && wider == ["env:read=LANG"])
        });
        self.call(plugin, "checksum", json!({ "text": TEXT }), "fnv1a").await;
        let done = self.host.upgrade(&next, Consent::Requested, UpgradeOptions::default()).await;
        self.done(plugin, "upgrade", done, |upgraded| {
            (format!("{} is in place, consented to", upgraded.plugin.version), upgraded.done)
        });
        self.call(plugin, "checksum", json!({ "path": file }), "\"bytes\":12").await;

        for summary in self.host.list().await? {
            self.host.uninstall(summary.name.as_str(), KeepData::No).await?;
        }
        let left = self.host.list().await;
        self.done("all", "uninstall", left, |left| {
            (format!("{} plugins are left", left.len()), left.is_empty())
        });
        Ok(())
    }
}

/// An error in one line, with what to do.
fn said(error: &Error) -> String {
    let hint = error.hint().map(|hint| format!(" [{hint}]")).unwrap_or_default();
    format!("{}{hint}", error.message())
}
