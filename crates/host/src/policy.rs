//! The administrator's policy: `policy.toml` in the home.
//!
//! Without the file nothing is denied. With it, each operation goes by what it says at that moment: `keeper.rs` looks at the file
//! before every use and reads it again when it is another one. A file that cannot be used never counts as none: a host that had
//! a good one keeps that, and one that had none refuses to install, grant, start or call anything.
//!
//! What the rules mean is the business of `ringfence_policy`; this module reads them ([`parse`]), keeps them current, and says
//! what they leave of a plugin's grants and limits. Start reading at [`parse`], then `keeper`.

mod file;
mod keeper;
mod limits;
mod links;
mod parse;
mod template;

use std::fmt;
use std::path::Path;

use ringfence_api::ErrorCode;
use ringfence_policy::{Policy, Vars};
use serde::Serialize;

use crate::{Error, Home};

pub(crate) use keeper::{Keeper, PluginRules};
pub(crate) use limits::clamp;
pub use template::template;

/// The largest policy that is read, in bytes.
pub const POLICY_MAX_BYTES: u64 = 1024 * 1024;
/// The most entries of all lists of a policy together: rules, names, digests.
pub const ENTRIES_MAX: usize = 10_000;

/// What is wrong with a policy, and where. Line and column are from 1; what is about the whole file stands at 1:1.
///
/// ```
/// let home = ringfence::Home::at("/srv/ringfence");
/// let findings = ringfence::policy::parse("deny = [\"file:raed=/srv/**\"]\n", "policy.toml", &home).unwrap_err();
/// assert!(findings[0].to_string().starts_with("1:9 "), "{}", findings[0]);
/// assert!(findings[0].message.contains("did you mean 'file:read'"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "PolicyFinding"))]
pub struct Finding {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// What is wrong, and what was probably meant.
    pub message: String,
}

impl Finding {
    pub(crate) fn whole(message: impl Into<String>) -> Self {
        Self { line: 1, column: 1, message: message.into() }
    }
}

impl From<(usize, usize, String)> for Finding {
    fn from((line, column, message): (usize, usize, String)) -> Self {
        Self { line, column, message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.line, self.column, self.message)
    }
}

/// The policy in `text`, as it would hold in this home. `name` is what rules and messages call it.
///
/// # Errors
/// Every mistake with its place, at most 100.
pub fn parse(text: &str, name: &str, home: &Home) -> Result<Policy, Vec<Finding>> {
    let vars = vars(home)?;
    parse::parse(text, name, &vars).map(|policy| links::follow(policy, &vars))
}

/// The policy in any file, for looking at it: links are not followed, but who owns it does not matter.
///
/// # Errors
/// `path_not_found` when there is none. The inner error is what [`parse`] finds, or that it cannot be read.
pub fn read(path: &Path, home: &Home) -> Result<Result<Policy, Vec<Finding>>, Error> {
    let name = path.file_name().map_or_else(|| "policy".into(), |name| name.to_string_lossy());
    let name = crate::consent::shown(&name);
    Ok(file::read_any(path)?.and_then(|text| parse(&text, &name, home)))
}

/// What the paths of a policy mean, which is the same for every plugin.
fn vars(home: &Home) -> Result<Vars, Vec<Finding>> {
    crate::exec::translate::vars_of_home(home)
        .map_err(|error| vec![Finding::whole(format!("its paths cannot be judged: {}", error.chain()))])
}

/// How the policy of a home stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PolicyState {
    /// There is none: nothing is denied.
    Absent,
    /// It holds.
    InForce,
    /// The file cannot be used any more, or is gone; the last good one holds until this host ends.
    LastGood,
    /// The file cannot be used: nothing is installed, granted, started or called.
    Unusable,
}

/// How the policy of a home stands, and what is wrong with it.
///
/// ```no_run
/// # fn example(host: &ringfence::Host) {
/// for finding in &host.policy().findings {
///     eprintln!("policy.toml:{finding}");
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyStatus {
    /// How it stands.
    pub state: PolicyState,
    /// The file.
    pub file: String,
    /// The rules that hold.
    pub rules: usize,
    /// What is wrong with the file as it is now.
    pub findings: Vec<Finding>,
}

impl PolicyStatus {
    /// What a person should know of it, in one sentence; `None` when there is nothing to tell.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let first = self.findings.first().map(ToString::to_string).unwrap_or_default();
        let file = &self.file;
        match self.state {
            PolicyState::Absent | PolicyState::InForce => None,
            PolicyState::LastGood => {
                Some(format!("the policy {file} cannot be used, and the last good one still holds: {first}"))
            }
            PolicyState::Unusable => Some(format!(
                "the policy {file} cannot be used, so nothing is installed, granted, started or called: {first}"
            )),
        }
    }
}

/// How the policy of a home stands now, for a process that has none yet: a file that cannot be used is unusable.
#[must_use]
pub fn status(home: &Home) -> PolicyStatus {
    Keeper::new(home).status()
}

/// Why nothing is done under a policy that cannot be used.
fn unusable(path: &Path, findings: &[Finding]) -> Error {
    const SHOWN: usize = 3;
    let name = path.file_name().map_or_else(Default::default, |name| name.to_string_lossy());
    let shown: Vec<String> = findings.iter().take(SHOWN).map(|finding| format!("{name}:{finding}")).collect();
    let more = findings.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let message = format!(
        "the policy cannot be used, so nothing is installed, granted, started or called: {}{more}",
        shown.join("; ")
    );
    Error::new(ErrorCode::PolicyDenied, message)
        .with_hint(format!("mend '{}'; `ringfence policy check` lists every mistake", path.display()))
}

#[cfg(test)]
mod tests;
