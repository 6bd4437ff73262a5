//! The stable error codes: one table with the meaning, what to do, and the status in each place.
//!
//! The table is the only source: the exit statuses of the command line, the HTTP statuses and the page
//! `docs/errors.md` come from it. Codes are never renamed and never reused.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defines the enum and its look-ups from one table, so that a code without a status cannot exist.
macro_rules! error_codes {
    ($($variant:ident $code:literal exec $exec:literal exit $exit:literal http $http:literal
        $meaning:literal $remedy:literal;)+) => {
        /// The stable name of what went wrong, the same in JSON, logs, exit statuses and the HTTP API.
        ///
        /// The whole table, with what to do about each, is the page `docs/errors.md`.
        ///
        /// ```
        /// use ringfence_api::ErrorCode;
        ///
        /// let code: ErrorCode = "not_enforceable".parse()?;
        /// assert_eq!(code, ErrorCode::NotEnforceable);
        /// assert_eq!((code.exec_exit_status(), code.exit_status(), code.http_status()), (125, 7, 501));
        /// # Ok::<(), ringfence_api::UnknownErrorCode>(())
        /// ```
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum ErrorCode { $(#[doc = $meaning] $variant,)+ }

        impl ErrorCode {
            /// All codes, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stable code, such as `not_enforceable`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// What the code means, in one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            /// What a person can do about it, in one sentence.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)+ }
            }

            /// The exit status of `ringfence exec` (122 and above, so that the command's own statuses stay
            /// free). A cancelled run ends with 128 + the number of the signal; the table has SIGINT's.
            #[must_use]
            pub const fn exec_exit_status(self) -> u8 {
                match self { $(Self::$variant => $exec,)+ }
            }

            /// The exit status of every other `ringfence` command (1 to 8).
            #[must_use]
            pub const fn exit_status(self) -> u8 {
                match self { $(Self::$variant => $exit,)+ }
            }

            /// The HTTP status (400 to 504).
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)+ }
            }
        }
    };
}

error_codes! {
    Usage "usage" exec 125 exit 2 http 400
        "The command line or the request is not understood."
        "Read the message: it names the argument and the choices.";
    InvalidPermission "invalid_permission" exec 125 exit 2 http 400
        "A permission or its scope does not follow the grammar."
        "Write `NAME` or `NAME=SCOPE`, such as `file:read=/srv/notes/**`.";
    LimitInvalid "limit_invalid" exec 125 exit 2 http 400
        "A limit is zero, too large, or in an unknown unit."
        "Use B, KB, MB, GB, KiB, MiB, GiB for sizes and ms, s, m, h for durations; `none` lifts a limit.";
    InvalidConfig "invalid_config" exec 125 exit 2 http 422
        "The configuration cannot be read or has a value that is not allowed."
        "Correct the line that the message names; `ringfence config-file` prints the defaults.";
    NotFound "not_found" exec 127 exit 3 http 404
        "The command, plugin or run does not exist."
        "Check the name, and for a command whether its file is visible in the sandbox.";
    PathNotFound "path_not_found" exec 125 exit 3 http 404
        "A path that a flag, a grant or a request names does not exist."
        "Create it first, or correct the path.";
    NotExecutable "not_executable" exec 126 exit 1 http 422
        "The command exists but cannot be executed."
        "Check its mode, its interpreter line and whether it was built for this processor.";
    InvalidManifest "invalid_manifest" exec 125 exit 1 http 422
        "The manifest cannot be read, or says something that is not allowed."
        "Correct the places that the message names; `ringfence check PATH` lists them all.";
    InvalidPackage "invalid_package" exec 125 exit 1 http 422
        "The package holds something that cannot be installed, or is not what it was."
        "Correct what the message names; install it again if the installed copy was changed.";
    AlreadyInstalled "already_installed" exec 125 exit 4 http 409
        "Another version of the plugin is installed."
        "Use `ringfence upgrade`, or uninstall the other version first.";
    NotActive "not_active" exec 125 exit 4 http 409
        "The plugin is not active, so it takes no calls."
        "Activate it: `ringfence activate NAME`.";
    Quarantined "quarantined" exec 125 exit 4 http 409
        "The plugin failed too often and is stopped until a person releases it."
        "Read the reason with `ringfence show NAME`; `ringfence activate NAME` releases it.";
    PermissionDenied "permission_denied" exec 125 exit 4 http 403
        "It was not granted, or a rule denies it."
        "The message names the grant that would allow it.";
    PolicyDenied "policy_denied" exec 125 exit 4 http 403
        "A rule of the administrator's policy denies it; no grant can override that."
        "Ask the administrator to change the rule that the message names.";
    Floor "floor" exec 125 exit 4 http 403
        "A wildcard would have opened something that only a literal grant can open."
        "Grant the narrower directories that are needed, or name the protected path itself.";
    ConsentRequired "consent_required" exec 125 exit 4 http 403
        "Nobody has consented to what the plugin asks for."
        "Grant it with `--grant` or `--grant-requested`, or answer at a terminal.";
    NotSupported "not_supported" exec 125 exit 4 http 501
        "This version of Ringfence cannot do that, on any machine."
        "Leave it out, or use what the message offers instead.";
    NotEnforceable "not_enforceable" exec 125 exit 7 http 501
        "This machine cannot enforce what was asked, so nothing was started."
        "Run `ringfence doctor`: it names what is missing and how to mend it.";
    Violation "violation" exec 122 exit 6 http 502
        "A limit or rule was broken, and the process was stopped."
        "Raise the limit if the use is right; the report has the evidence.";
    Timeout "timeout" exec 124 exit 6 http 504
        "It took longer than its limit, and was stopped."
        "Raise the timeout if the work is right.";
    PluginFailed "plugin_failed" exec 125 exit 5 http 502
        "The plugin answered with an error, crashed, or was given arguments that break its schema."
        "Read the plugin's log: `ringfence logs NAME`.";
    SchemaViolation "schema_violation" exec 125 exit 5 http 422
        "Arguments, a result or a configuration break their schema."
        "Correct the places that the message names; `ringfence show NAME` has the schema.";
    Quota "quota" exec 125 exit 6 http 409
        "The plugin's private data has reached its quota."
        "Delete what is not needed, or raise the quota.";
    TooLarge "too_large" exec 125 exit 1 http 413
        "A message or value is larger than its limit."
        "Send less at once; the message names the limit.";
    Busy "busy" exec 125 exit 8 http 503
        "Someone else holds what is needed: another daemon this home, or a full queue."
        "Try again, or stop the process that the message names.";
    Unauthenticated "unauthenticated" exec 125 exit 4 http 401
        "The request has no token, or one that does not hold (any more)."
        "Send `Authorization: Bearer TOKEN`; `ringfence token create` makes one.";
    Forbidden "forbidden" exec 125 exit 4 http 403
        "The token's role or plugin does not cover the request, or it comes from a page or name that is not ours."
        "Use a token with the role that the message names, and the server's own address.";
    Conflict "conflict" exec 125 exit 4 http 412
        "Somebody else has changed it since it was read."
        "Read it again, and send the change with its new version.";
    MethodNotAllowed "method_not_allowed" exec 125 exit 2 http 405
        "The address exists, but not with this method."
        "Use one of the methods in the `Allow` header.";
    UnsupportedMediaType "unsupported_media_type" exec 125 exit 2 http 415
        "The body is of a kind that the request does not take."
        "Send JSON with `Content-Type: application/json`, not compressed.";
    RateLimited "rate_limited" exec 125 exit 8 http 429
        "Too many requests came from one place in a short time."
        "Wait as long as the `Retry-After` header says.";
    Cancelled "cancelled" exec 130 exit 1 http 409
        "The caller gave up before it was done."
        "Nothing: start it again when it is wanted.";
    Io "io" exec 125 exit 1 http 500
        "Reading or writing failed."
        "Check the path in the message, free space and file permissions.";
    Internal "internal" exec 125 exit 1 http 500
        "A bug in Ringfence; it stopped on the safe side."
        "Report it with the message and what you did.";
}

impl ErrorCode {
    /// The code for a proven violation: `timeout` has its own, all others are `violation`.
    #[must_use]
    pub const fn from_violation(violation: crate::Violation) -> Self {
        match violation {
            crate::Violation::Timeout => Self::Timeout,
            _ => Self::Violation,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ErrorCode {
    type Err = UnknownErrorCode;

    /// # Errors
    ///
    /// [`UnknownErrorCode`] when this version has no such code.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or_else(|| UnknownErrorCode { text: text.to_owned() })
    }
}

/// A word that is no error code of this version.
///
/// ```
/// use ringfence_api::ErrorCode;
///
/// assert_eq!("oops".parse::<ErrorCode>().unwrap_err().text, "oops");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not an error code of this version; docs/errors.md lists them", .text.escape_debug())]
pub struct UnknownErrorCode {
    /// The word as it was given.
    pub text: String,
}

/// What is said about a failure, to programs (`code`) and to people (`message`, `hint`).
///
/// ```
/// use ringfence_api::{ErrorBody, ErrorCode};
///
/// let body = ErrorBody::new(ErrorCode::NotFound, "no command 'pyhton3'").with_hint("did you mean 'python3'?");
/// assert_eq!(body.to_string(), "no command 'pyhton3' (not_found)");
/// assert_eq!(
///     serde_json::to_string(&body)?,
///     r#"{"code":"not_found","message":"no command 'pyhton3'","hint":"did you mean 'python3'?"}"#,
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorBody {
    /// The stable code.
    pub code: ErrorCode,
    /// What was refused or failed and by which rule or limit. Never a secret.
    pub message: String,
    /// What to do next, when there is something to do.
    pub hint: Option<String>,
}

impl ErrorBody {
    /// A failure without a hint.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same failure with what to do next.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// The whole JSON document that every command prints with `--json` when it fails.
///
/// ```
/// use ringfence_api::{ErrorBody, ErrorCode, ErrorDocument};
///
/// let document = ErrorDocument { error: ErrorBody::new(ErrorCode::Busy, "another daemon holds this home") };
/// assert_eq!(
///     serde_json::to_string(&document)?,
///     r#"{"error":{"code":"busy","message":"another daemon holds this home","hint":null}}"#,
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorDocument {
    /// What failed.
    pub error: ErrorBody,
}

/// The text of `docs/errors.md`, made from the table.
///
/// ```
/// assert!(ringfence_api::errors_markdown().contains("## `not_enforceable`"));
/// ```
#[must_use]
pub fn errors_markdown() -> String {
    let mut page = String::from(PAGE_HEAD);
    for code in ErrorCode::ALL {
        // Writing to a String cannot fail; the result carries no information.
        let written = write!(
            page,
            "\n## `{code}`\n\n{}\n{}\n\n| `exec` | other commands | HTTP |\n|---|---|---|\n| {} | {} | {} |\n",
            code.meaning(),
            code.remedy(),
            exec_text(*code),
            code.exit_status(),
            code.http_status(),
        );
        debug_assert!(written.is_ok(), "writing to a string");
    }
    page
}

/// The status of `exec` as the page shows it: a cancelled run has no single number.
fn exec_text(code: ErrorCode) -> String {
    match code {
        ErrorCode::Cancelled => "128 + signal (130 for Ctrl-C)".to_owned(),
        _ => code.exec_exit_status().to_string(),
    }
}

const PAGE_HEAD: &str = "\
# Error codes

<!-- Made from crates/api/src/error_code.rs. Renew: RINGFENCE_BLESS=1 cargo test -p ringfence-api -->

Every failure has one stable code. With `--json` a command prints `{\"error\": {\"code\", \"message\", \"hint\"}}`,
and the HTTP API answers with the same object. Codes are never renamed and never reused.

`ringfence exec` passes the status of the command on. Its own statuses are 122 (a violation), 124 (a timeout),
125 (Ringfence refused or failed), 126 (not executable), 127 (not found) and 128 + n (ended by signal n, or
cancelled). All other commands end with 0 (done), 1 (failed), 2 (usage), 3 (not found), 4 (refused),
5 (the plugin failed), 6 (violation), 7 (not enforceable here) or 8 (busy).
";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_snake_case_and_the_same_in_json() {
        let words: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
    }

    #[test]
    fn every_code_has_sentences_and_statuses_in_range() {
        for code in ErrorCode::ALL {
            for sentence in [code.meaning(), code.remedy()] {
                assert!(sentence.ends_with('.') && sentence.len() > 10, "{code}: {sentence}");
            }
            assert!(matches!(code.exec_exit_status(), 122 | 124..=127 | 130), "{code}");
            assert!((1..=8).contains(&code.exit_status()), "{code}");
            assert!((400..=504).contains(&code.http_status()), "{code}");
        }
    }

    #[test]
    fn every_exit_status_of_the_design_is_reached() {
        let exits: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.exit_status()).collect();
        assert_eq!(exits, BTreeSet::from_iter(1..=8));
    }

    #[test]
    fn violations_map_to_a_code_with_the_same_exec_status() {
        for violation in crate::Violation::ALL {
            let code = ErrorCode::from_violation(violation);
            assert_eq!(code.exec_exit_status(), violation.exec_exit_status(), "{violation}");
            assert_eq!(code.exit_status(), 6);
        }
    }

    #[test]
    fn unknown_codes_are_refused() {
        assert!("Usage".parse::<ErrorCode>().is_err());
        assert!(serde_json::from_str::<ErrorCode>("\"nope\"").is_err());
        assert!("a\nb".parse::<ErrorCode>().unwrap_err().to_string().contains("a\\nb"));
    }

    #[test]
    fn the_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let page = errors_markdown();
        if std::env::var_os("RINGFENCE_BLESS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page, "docs/errors.md is stale: RINGFENCE_BLESS=1 cargo test -p ringfence-api");
    }
}
