//! The decision: rules and a request in, allowed or denied and the reason out.
//!
//! Everything here is pure. It reads no file, no clock, no environment and no network, and it is the one place
//! where Ringfence says what a grant means: the sandbox, the broker of the host API and the consent screen all
//! go by it. It deliberately does not know how a grant is enforced.
//!
//! Start reading at [`Rule`] (what is written), [`Request`] (what is asked) and [`RuleSet::decide`]; the
//! administrator's rules over all plugins are a [`Policy`]; the patterns are [`PathPattern`], [`HostPattern`] and [`NamePattern`]; what no wildcard opens is the [`Floor`].
//!
//! ```
//! use ringfence_policy::{CanonicalPath, Effect, FileOp, Request, Rule, RuleSet, Vars};
//!
//! // Where grants are read: the working directory, the home and Ringfence's own state.
//! let vars = Vars::new(CanonicalPath::new("/home/ada/project")?)
//!     .with_home(CanonicalPath::new("/home/ada")?)
//!     .with_state(CanonicalPath::new("/home/ada/.local/share/ringfence")?);
//!
//! // What was granted, and what the administrator forbids.
//! let rules = RuleSet::new(vec![
//!     Rule::parse(Effect::Allow, "file:read=~/**", &vars, "--ro ~")?,
//!     Rule::parse(Effect::Deny, "file:read=**/*.key", &vars, "policy.toml:3")?,
//! ]);
//!
//! // What the plugin wants, and what it is told.
//! let ask = |path: &str| -> Result<String, Box<dyn std::error::Error>> {
//!     let request = Request::File { op: FileOp::Read, path: CanonicalPath::new(path)? };
//!     Ok(rules.decide(&request).to_string())
//! };
//! assert_eq!(
//!     ask("/home/ada/notes.txt")?,
//!     "allowed: file:read of /home/ada/notes.txt, by 'allow file:read=/home/ada/**' (--ro ~)",
//! );
//! assert_eq!(
//!     ask("/home/ada/.ssh/config")?,
//!     "denied: file:read of /home/ada/.ssh/config is protected, and 'allow file:read=/home/ada/**' (--ro ~) \
//!      does not name it; this grant would: file:read=/home/ada/.ssh/config",
//! );
//! assert_eq!(
//!     ask("/home/ada/project/tls/site.key")?,
//!     "denied: file:read of /home/ada/project/tls/site.key, by 'deny file:read=/home/ada/project/**/*.key' \
//!      (policy.toml:3); no grant overrides a deny rule, so that rule must change",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod rule;
mod vars;

mod request;

mod decision;
mod rule_set;

mod policy;

mod canonical_path;
mod floor;
mod host;
mod host_pattern;
mod name_pattern;
mod path_pattern;

mod glob;
mod index;
mod net;
mod network_floor;
mod pieces;

pub use canonical_path::{CanonicalPath, CanonicalPathError, PATH_MAX_BYTES};
pub use decision::{Deciding, Decision, Reason};
pub use floor::Floor;
pub use host::{HOST_MAX_BYTES, Host, HostError};
pub use host_pattern::{HostPattern, HostPatternError};
pub use name_pattern::{NAME_MAX_BYTES, Name, NameError, NamePattern};
pub use path_pattern::{PathPattern, PathPatternError, WILDCARDS_MAX};
pub use policy::{
    Admission, Blocked, Candidate, Ceilings, DIGEST_HEX_CHARS, Digest, DigestError, Judgement, Place, Placed,
    PluginPolicy, Policy, PolicyDecision, PolicyReason, PolicyRule, SCAN_RULE_ID_MAX_BYTES, ScanRuleId,
    ScanRuleIdError,
};
pub use request::{FileOp, NetworkOp, Request};
pub use rule::{Effect, GrantError, GrantProblem, PROGRAM_DIRECTORIES, Rule};
pub use rule_set::{Explanation, RuleSet, is_wider};
pub use vars::Vars;
