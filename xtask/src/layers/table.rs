//! The crate table of ARCHITECTURE.md as data. A new crate, a new import or a new user of a guarded dependency is
//! one row here, and so one line that a reviewer sees.

/// Packages that never ship: they may start processes and use what only one product crate may.
pub(crate) const DEVELOPMENT: &[&str] =
    &["ringfence-testkit", "ringfence-tests", "ringfence-benches", "ringfence-llm-gateway", "xtask"];

/// The crate that every crate may use in its tests.
pub(crate) const TESTKIT: &str = "ringfence-testkit";

/// One crate and the workspace crates that it may import.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrateRow {
    pub(crate) package: &'static str,
    pub(crate) imports: &'static [&'static str],
}

/// Who may import whom.
pub(crate) const CRATES: &[CrateRow] = &[
    CrateRow { package: "ringfence-api", imports: &[] },
    CrateRow { package: "ringfence-policy", imports: &["ringfence-api"] },
    CrateRow { package: "ringfence-sandbox", imports: &[] },
    CrateRow { package: "ringfence-scan", imports: &["ringfence-api", "ringfence-sandbox"] },
    CrateRow {
        package: "ringfence",
        imports: &["ringfence-api", "ringfence-policy", "ringfence-sandbox", "ringfence-scan"],
    },
    CrateRow { package: "ringfence-server", imports: &["ringfence-api", "ringfence"] },
    CrateRow { package: "ringfence-cli", imports: &["ringfence-api", "ringfence", "ringfence-server"] },
    CrateRow { package: "ringfence-testkit", imports: &["ringfence-api", "ringfence", "ringfence-sandbox"] },
    CrateRow { package: "ringfence-tests", imports: &["ringfence-testkit", "ringfence-api"] },
    CrateRow {
        package: "ringfence-benches",
        imports: &["ringfence-api", "ringfence-sandbox", "ringfence", "ringfence-policy", "ringfence-server"],
    },
    CrateRow {
        package: "ringfence-llm-gateway",
        imports: &["ringfence", "ringfence-api", "ringfence-benches"],
    },
    CrateRow { package: "xtask", imports: &[] },
];

/// One outside dependency and the product crates that may use it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UserRow {
    pub(crate) dependency: &'static str,
    pub(crate) users: &'static [&'static str],
    /// Why there is one user: the end of the sentence "only ... because".
    pub(crate) because: &'static str,
}

/// Who may use what from outside. [`DEVELOPMENT`] packages may use all of it.
pub(crate) const USERS: &[UserRow] = &[
    UserRow { dependency: "axum", users: &["ringfence-server"], because: "HTTP ends at the server" },
    UserRow { dependency: "clap", users: &["ringfence-cli"], because: "the command line is one crate" },
    UserRow {
        dependency: "clap_complete",
        users: &["ringfence-cli"],
        because: "the command line is one crate",
    },
    UserRow {
        dependency: "clap_mangen",
        users: &["ringfence-cli"],
        because: "the command line is one crate",
    },
    UserRow { dependency: "maud", users: &["ringfence-server"], because: "pages end at the server" },
    UserRow { dependency: "landlock", users: &["ringfence-sandbox"], because: "confinement is one crate" },
    UserRow { dependency: "libc", users: &["ringfence-sandbox"], because: "system calls stand in one crate" },
    UserRow { dependency: "nix", users: &["ringfence-sandbox"], because: "system calls stand in one crate" },
    UserRow {
        dependency: "object",
        users: &["ringfence-scan"],
        because: "what parses a stranger's files can run in a sandbox",
    },
    UserRow { dependency: "rmcp", users: &["ringfence-server"], because: "MCP ends at the server" },
    UserRow { dependency: "rusqlite", users: &["ringfence"], because: "the store stands behind one module" },
    UserRow {
        dependency: "rustix",
        users: &["ringfence-sandbox"],
        because: "system calls stand in one crate",
    },
    UserRow {
        dependency: "schemars",
        users: &["ringfence-api", "ringfence-scan", "ringfence", "ringfence-server"],
        because: "schemas come from the types themselves",
    },
    UserRow {
        dependency: "tokio",
        users: &["ringfence", "ringfence-server", "ringfence-cli", "ringfence-wasm"],
        because: "api, policy and sandbox stay synchronous",
    },
    UserRow {
        dependency: "tree-sitter",
        users: &["ringfence-scan"],
        because: "what parses a stranger's files can run in a sandbox",
    },
    UserRow {
        dependency: "tracing-subscriber",
        users: &["ringfence-cli"],
        because: "a library chooses no log",
    },
    UserRow {
        dependency: "wasmtime",
        users: &["ringfence-wasm"],
        because: "the engine runs in its own worker",
    },
];

/// Words that product code may hold only below one directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WordRow {
    /// What is looked for in code without comments, literals and tests.
    pub(crate) word: &'static str,
    /// The directory, from the root, that may hold it.
    pub(crate) below: &'static str,
    pub(crate) because: &'static str,
}

/// Where dangerous words may stand. [`DEVELOPMENT`] packages may start processes, but have no `unsafe` either:
/// their row for it is the workspace lint.
pub(crate) const WORDS: &[WordRow] = &[
    WordRow {
        word: "Command::new",
        below: "crates/sandbox/",
        because: "one function starts processes: ringfence_sandbox's launch",
    },
    WordRow {
        word: "unsafe",
        below: "crates/sandbox/src/sys/",
        because: "unsafe code is read in one directory",
    },
];
