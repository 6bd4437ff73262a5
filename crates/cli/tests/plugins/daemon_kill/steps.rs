//! The changes at which the daemon is killed, and the homes that they begin with.

/// One change.
pub(super) struct Step {
    pub(super) name: &'static str,
    /// Commands that make the home it begins with.
    pub(super) prepared: &'static [&'static [&'static str]],
    pub(super) act: Act,
    pub(super) between: Between,
}

/// A state between the old and the new one, which a kill may leave as well.
pub(super) enum Between {
    Nothing,
    /// The one that this request leaves.
    Request(&'static str, Sent),
    /// The old one with the record of an `activate`, which is written before the start that it asks for.
    Recorded,
}

/// What makes the change.
pub(super) enum Act {
    /// Method and path; `{token}` is the number of the one token that there is.
    Request(&'static str, Sent),
    /// The same with an idempotency key: sent again afterwards, it is done if nothing was, and never twice.
    Keyed(&'static str, Sent),
    /// Another policy lies in the home, and the daemon takes it up. Killed anywhere, it does so when it is started again.
    Policy(&'static str),
}

#[derive(Clone, Copy)]
pub(super) enum Sent {
    Nothing,
    Document(&'static str),
    /// The package of this version, as an archive.
    Package(&'static str),
}

const INSTALLED: &[&str] = &["install", "notes-1.0.0", "--grant-requested"];
const ACTIVE: &[&str] = &["activate", "notes"];
pub(super) const KEEPER: &[&str] = &["install", "keeper", "--grant-requested"];
pub(super) const KEEPER_ACTIVE: &[&str] = &["activate", "keeper"];
const UPGRADED: &[&str] = &["upgrade", "notes-2.0.0", "--grant-requested"];
const TOKEN: &[&str] = &["token", "create", "--role", "viewer"];

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "install",
        prepared: &[],
        act: Act::Request("POST /api/v1/plugins", Sent::Package("1.0.0")),
        between: Between::Nothing,
    },
    Step {
        name: "grants",
        prepared: &[INSTALLED, ACTIVE],
        act: Act::Request(
            "PUT /api/v1/plugins/notes/grants",
            Sent::Document(r#"{"permissions": ["env:read=LANG"]}"#),
        ),
        between: Between::Nothing,
    },
    Step {
        name: "config",
        prepared: &[INSTALLED],
        act: Act::Request("PUT /api/v1/plugins/notes/config", Sent::Document(r#"{"language": "fr"}"#)),
        between: Between::Nothing,
    },
    Step {
        name: "activate",
        prepared: &[INSTALLED],
        act: Act::Request("POST /api/v1/plugins/notes/activate", Sent::Nothing),
        between: Between::Recorded,
    },
    Step {
        name: "deactivate",
        prepared: &[INSTALLED, ACTIVE],
        act: Act::Request("POST /api/v1/plugins/notes/deactivate", Sent::Nothing),
        between: Between::Nothing,
    },
    Step {
        name: "upgrade",
        prepared: &[INSTALLED, ACTIVE],
        act: Act::Request("POST /api/v1/plugins/notes/upgrade?grant_requested=true", Sent::Package("2.0.0")),
        between: Between::Request("POST /api/v1/plugins/notes/upgrade", Sent::Package("2.0.0")),
    },
    Step {
        name: "rollback",
        prepared: &[INSTALLED, ACTIVE, UPGRADED],
        act: Act::Request("POST /api/v1/plugins/notes/rollback", Sent::Nothing),
        between: Between::Nothing,
    },
    Step {
        name: "uninstall",
        prepared: &[INSTALLED, ACTIVE],
        act: Act::Request("DELETE /api/v1/plugins/notes", Sent::Nothing),
        between: Between::Nothing,
    },
    Step {
        name: "token create",
        prepared: &[],
        act: Act::Request("POST /api/v1/tokens", Sent::Document(r#"{"role": "operator"}"#)),
        between: Between::Nothing,
    },
    Step {
        name: "token revoke",
        prepared: &[TOKEN],
        act: Act::Request("DELETE /api/v1/tokens/{token}", Sent::Nothing),
        between: Between::Nothing,
    },
    Step {
        name: "revoke",
        prepared: &[INSTALLED, ACTIVE],
        act: Act::Request("PUT /api/v1/plugins/notes/grants", Sent::Document(r#"{"permissions": []}"#)),
        between: Between::Nothing,
    },
    Step {
        name: "hook",
        prepared: &[KEEPER],
        act: Act::Request("POST /api/v1/plugins/keeper/activate", Sent::Nothing),
        between: Between::Recorded,
    },
    Step {
        name: "hook revoked",
        prepared: &[KEEPER, KEEPER_ACTIVE],
        act: Act::Request("PUT /api/v1/plugins/keeper/grants", Sent::Document(r#"{"permissions": []}"#)),
        between: Between::Nothing,
    },
    Step {
        name: "data of a plugin",
        prepared: &[KEEPER, KEEPER_ACTIVE],
        act: Act::Request("POST /api/v1/plugins/keeper/call", Sent::Document(r#"{"tool": "add"}"#)),
        between: Between::Nothing,
    },
    Step {
        name: "install with a key",
        prepared: &[],
        act: Act::Keyed("POST /api/v1/plugins", Sent::Package("1.0.0")),
        between: Between::Nothing,
    },
    Step {
        name: "call with a key",
        prepared: &[KEEPER, KEEPER_ACTIVE],
        act: Act::Keyed("POST /api/v1/plugins/keeper/call", Sent::Document(r#"{"tool": "add"}"#)),
        between: Between::Nothing,
    },
    Step {
        name: "policy",
        prepared: &[INSTALLED, ACTIVE],
        act: Act::Policy("deny = [\"env:read\"]\n"),
        between: Between::Nothing,
    },
];
