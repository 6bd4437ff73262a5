//! What a person is asked before a plugin may run: what it wants, why, where, and what it can not do.
//!
//! Everything a plugin supplies is shown escaped and cut, so that no text of its own can pass for ours (PKG-31).

mod later;
pub(crate) mod place;

use std::fmt;
use std::path::Path;

use ringfence_api::text::is_hidden;
use ringfence_api::{Manifest, Permission, PermissionName, PluginName, Runtime};
use serde::Serialize;

use crate::enforcement::{Enforcement, enforcement};
use crate::plugin::{GrantPlace, PolicyNote, PublisherChange};
use crate::scan::{self, Report};

/// The longest text of a plugin that is shown, in characters.
pub const SHOWN_MAX_CHARS: usize = 200;
/// How many findings of the scan are shown with the question.
pub const FINDINGS_SHOWN_MAX: usize = 10;

/// One permission that is asked for.
///
/// ```
/// use ringfence::consent::Asked;
///
/// # use ringfence_api::Runtime;
/// let asked = Asked::new("file:read=/srv/notes/**".parse()?, Runtime::Python, true, Some("to read\nnotes"));
/// assert_eq!(asked.meaning, "read files below /srv/notes");
/// assert_eq!(asked.reason.as_deref(), Some("to read\\nnotes"));
/// # Ok::<(), ringfence_api::PermissionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Asked {
    /// The permission, as it is granted.
    pub permission: Permission,
    /// What that means, in words.
    pub meaning: String,
    /// How it would be enforced, if by anything yet.
    pub enforced: Enforcement,
    /// Whether the plugin says that it works without.
    pub optional: bool,
    /// The author's reason, escaped and cut.
    pub reason: Option<String>,
    /// Whether it is granted already.
    pub granted: bool,
    /// Whether the version before asked for as much; true for a first install only when it is granted.
    pub new: bool,
    /// What the administrator's policy takes of it; `None`: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyNote>,
    /// Where it leads on this machine; `None` for what is over no files, and where it opens just what is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<GrantPlace>,
    /// What it reaches beyond what is written, such as files with a name elsewhere, or what is executed later.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Asked {
    /// One permission of a plugin of this runtime, with its meaning; not granted.
    #[must_use]
    pub fn new(permission: Permission, runtime: Runtime, optional: bool, reason: Option<&str>) -> Self {
        let meaning = meaning(&permission);
        let enforced = enforcement(permission.name(), runtime);
        Self {
            permission,
            meaning,
            enforced,
            optional,
            reason: reason.map(shown),
            granted: false,
            new: true,
            policy: None,
            place: None,
            warnings: Vec::new(),
        }
    }

    /// Where it leads, as a line for people; `None` where that is what is written.
    #[must_use]
    pub fn leads(&self) -> Option<String> {
        self.place.as_ref().map(GrantPlace::line)
    }
}

/// What is asked of whoever installs or upgrades a plugin. Its `Display` is the text for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConsentRequest {
    /// The plugin.
    pub name: PluginName,
    /// Its version.
    pub version: String,
    /// Who made it, as far as that is proven: `unsigned:` and what the manifest claims.
    pub publisher: String,
    /// Who made the version that is in place, where that is somebody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_change: Option<PublisherChange>,
    /// The digest of the package that is consented to.
    pub digest: String,
    /// How it runs.
    pub runtime: Runtime,
    /// What it is for, in the author's words, escaped and cut.
    pub description: Option<String>,
    /// The command that will be executed, whole.
    pub command: Vec<String>,
    /// What it asks for.
    pub asked: Vec<Asked>,
    /// What it can not do, whatever it tries.
    pub cannot: Vec<String>,
    /// What the scan says of its code; empty until [`ConsentRequest::with_scan`].
    pub scan: Report,
}

impl ConsentRequest {
    /// The request for this manifest; `granted` is what is granted already, `before` what an older version asked for.
    ///
    /// # Errors
    /// When a scope breaks the grammar of its permission; a manifest that was loaded has none of those.
    pub fn of(
        manifest: &Manifest,
        publisher: &str,
        digest: &str,
        command: Vec<String>,
        granted: &[Permission],
        before: Option<&[Permission]>,
    ) -> Result<Self, ringfence_api::PermissionError> {
        let mut asked = Vec::new();
        for request in &manifest.permissions {
            for permission in request.permissions()? {
                let (runtime, reason) = (manifest.runtime, request.reason.as_deref());
                asked.push(Asked::new(permission, runtime, request.optional, reason));
            }
        }
        for (permission, optional) in manifest.requested()? {
            if *permission.name() == PermissionName::HookRegister
                && !asked.iter().any(|known| known.permission == permission)
            {
                asked.push(Asked::new(permission, manifest.runtime, optional, None));
            }
        }
        for item in &mut asked {
            item.granted = granted.contains(&item.permission);
            item.new = !before.unwrap_or(granted).contains(&item.permission);
        }
        let open = asked.iter().filter(|item| item.enforced != Enforcement::NotServed);
        let names: Vec<&PermissionName> = open.map(|item| item.permission.name()).collect();
        Ok(Self {
            name: manifest.name.clone(),
            version: manifest.version.to_string(),
            publisher: publisher_shown(publisher),
            publisher_change: None,
            digest: digest.to_owned(),
            runtime: manifest.runtime,
            description: manifest.description.as_deref().map(shown),
            command: command.iter().map(|word| escaped(word, usize::MAX)).collect(),
            cannot: cannot(&names),
            asked,
            scan: Report::default(),
        })
    }

    /// The same request with what the scan says of the code.
    #[must_use]
    pub fn with_scan(mut self, scan: Report) -> Self {
        self.scan = scan;
        self
    }

    /// Whether there is nothing to be asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Everything that is asked for, as grants.
    #[must_use]
    pub fn all(&self) -> Vec<Permission> {
        self.asked.iter().map(|item| item.permission.clone()).collect()
    }
}

impl fmt::Display for ConsentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} ({}, {})", self.name, self.version, self.publisher, self.runtime)?;
        if let Some(change) = &self.publisher_change {
            writeln!(f, "  ANOTHER PUBLISHER: {change}")?;
        }
        if let Some(description) = &self.description {
            writeln!(f, "  says of itself: \"{description}\"")?;
        }
        if self.asked.is_empty() {
            writeln!(f, "It asks for no permission.")?;
        } else {
            writeln!(f, "It wants to:")?;
        }
        for item in &self.asked {
            let optional = if item.optional { " (optional)" } else { "" };
            let granted = match (item.granted, item.new) {
                (true, _) => " (granted)",
                (false, true) => "",
                (false, false) => " (was refused before)",
            };
            writeln!(f, "  - {}{optional}{granted}{}", item.meaning, item.enforced.remark())?;
            writeln!(f, "      {}", escaped(&item.permission.to_string(), usize::MAX))?;
            if let Some(reason) = &item.reason {
                writeln!(f, "      the author says: \"{reason}\"")?;
            }
            if let Some(leads) = item.leads() {
                writeln!(f, "      {leads}")?;
            }
            for warning in &item.warnings {
                writeln!(f, "      note: {warning}")?;
            }
            for because in item.policy.iter().flat_map(|note| &note.because) {
                writeln!(f, "      {}", escaped(because, usize::MAX))?;
            }
        }
        writeln!(f, "It can not: {}.", self.cannot.join(", "))?;
        writeln!(f, "It starts: {}", self.command.join(" "))?;
        let found = scan::lines(&self.scan, FINDINGS_SHOWN_MAX);
        if !found.is_empty() {
            writeln!(f, "Its code, as far as it can be read without running it:")?;
        }
        for line in found {
            writeln!(f, "  - {line}")?;
        }
        write!(f, "Package: {}", self.digest)
    }
}

/// What no plugin can do to which at most these permissions are open.
fn cannot(asked: &[&PermissionName]) -> Vec<String> {
    use PermissionName as P;
    let has = |name: &P| asked.contains(&name);
    let mut list = vec!["see other plugins, other processes or your environment".to_owned()];
    let files = [P::FileRead, P::FileWrite, P::FileDelete].iter().any(has);
    list.push(if files { "touch other files than those" } else { "read or change your files" }.to_owned());
    list.push(
        if has(&P::NetworkRequest) { "reach other hosts than those" } else { "reach the network" }.to_owned(),
    );
    if !has(&P::SubprocessExecute) {
        list.push("start programs".to_owned());
    }
    list.push("use more than its limits".to_owned());
    list
}

/// What a permission means, in words.
fn meaning(permission: &Permission) -> String {
    use PermissionName as P;
    let scope = permission.scope().map(|scope| escaped(scope, usize::MAX));
    let place = |all: &str| match scope.as_deref() {
        None => all.to_owned(),
        Some(scope) => match scope.strip_suffix("/**") {
            Some(directory) => format!("files below {}", if directory.is_empty() { "/" } else { directory }),
            None if scope.contains('*') => format!("the files {scope}"),
            None => format!("the file {scope}"),
        },
    };
    let named = |all: &str, one: &str| match scope.as_deref() {
        None => all.to_owned(),
        Some(scope) => format!("{one} {scope}"),
    };
    match permission.name() {
        P::FileRead => format!("read {}", place("ALL files of yours")),
        P::FileWrite => format!("create and change {}", place("ALL files of yours")),
        P::FileDelete => format!("delete {}", place("ALL files of yours")),
        P::NetworkRequest => named("contact ALL hosts (through the host application)", "contact"),
        P::NetworkListen => named("take connections on ALL ports", "take connections on"),
        // The kernel holds no scope here: see SECURITY.md, "What a grant opens".
        P::SubprocessExecute => named(
            "start programs, inside its own sandbox",
            "start any program that it sees inside its own sandbox, and by way of the host those of",
        ),
        P::HookRegister => named("be called at ALL hook points", "be called at the hook point"),
        P::ConfigRead => named("read its configuration", "read the configuration"),
        P::ConfigWrite => named("change its configuration", "change the configuration"),
        P::DatabaseRead => named("read ALL databases", "read the database"),
        P::DatabaseWrite => named("change ALL databases", "change the database"),
        P::EnvRead => named("read ALL your environment variables", "read the environment variable"),
        P::EventPost => named("send events of ALL topics", "send events of the topic"),
        P::ProfileRead => named("read the user's profile", "read of the user's profile"),
        other => named(&format!("use {other}"), &format!("use {other} for")),
    }
}

/// A text of a plugin for people: escaped, and cut after [`SHOWN_MAX_CHARS`] characters.
#[must_use]
pub fn shown(text: &str) -> String {
    escaped(text, SHOWN_MAX_CHARS)
}

/// The same, cut after another number of characters.
pub(crate) fn shown_up_to(text: &str, max_chars: usize) -> String {
    escaped(text, max_chars)
}

/// A publisher for people: `unsigned` alone where nothing is claimed.
pub(crate) fn publisher_shown(publisher: &str) -> String {
    shown(publisher.strip_suffix(':').unwrap_or(publisher))
}

/// Control characters, line breaks, and what changes the direction or hides text stand as escapes.
fn escaped(text: &str, max_chars: usize) -> String {
    let mut out = String::new();
    for (index, character) in text.chars().enumerate() {
        if index >= max_chars {
            out.push('…');
            break;
        }
        match character {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ if character.is_control() || is_hidden(character) => out.extend(character.escape_unicode()),
            _ => out.push(character),
        }
    }
    out
}

/// The command of a start as it is shown: the program and its arguments, with the home shortened to nothing secret.
pub(crate) fn command_words(words: &[std::ffi::OsString], package: &Path, shown_as: &str) -> Vec<String> {
    let package = package.display().to_string();
    words.iter().map(|word| word.to_string_lossy().replace(&package, shown_as)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        serde_json::from_value(serde_json::json!({
            "name": "translator", "version": "1.2.0", "runtime": "python", "entry_point": "t.py",
            "description": "Translates.\u{202e}\u{1b}[31m\npermissions: none",
            "permissions": [
                {"permission": "file:read", "scope": ["/srv/notes/**", "/etc/hosts"], "reason": "to read notes"},
                {"permission": "network:request", "scope": ["api.example.com:443"], "optional": true},
                {"permission": "env:read"}
            ],
            "hooks": [{"event": "onRequest", "kind": "mutator"}]
        }))
        .unwrap()
    }

    fn request(granted: &[&str], before: Option<&[&str]>) -> ConsentRequest {
        let parse =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Permission>>();
        let before = before.map(parse);
        let command = vec!["/usr/bin/python3".to_owned(), "t.py".to_owned()];
        ConsentRequest::of(
            &manifest(),
            "unsigned:Example Labs",
            "ab12",
            command,
            &parse(granted),
            before.as_deref(),
        )
        .unwrap()
    }

    #[test]
    fn the_text_says_what_why_and_what_not_and_no_plugin_can_fake_a_line_of_it() {
        let text = request(&["file:read=/etc/hosts"], None).to_string();
        // What is served changes from version to version.
        let remark = |name: PermissionName| enforcement(&name, Runtime::Python).remark();
        let (network, hook) = (remark(PermissionName::NetworkRequest), remark(PermissionName::HookRegister));
        let fetched = enforcement(&PermissionName::NetworkRequest, Runtime::Python) == Enforcement::Brokered;
        let reach = if fetched { "reach other hosts than those" } else { "reach the network" };
        let expected = format!(
            "translator 1.2.0 (unsigned:Example Labs, python)\n  \
            says of itself: \"Translates.\\u{{202e}}\\u{{1b}}[31m\\npermissions: none\"\n\
            It wants to:\n  \
            - read files below /srv/notes\n      file:read=/srv/notes/**\n      the author says: \"to read notes\"\n  \
            - read the file /etc/hosts (granted)\n      file:read=/etc/hosts\n      the author says: \"to read notes\"\n  \
            - contact api.example.com:443 (optional){network}\n      network:request=api.example.com:443\n  \
            - read ALL your environment variables\n      env:read\n  \
            - be called at the hook point onRequest{hook}\n      hook:register=onRequest\n\
            It can not: see other plugins, other processes or your environment, touch other files than those, \
            {reach}, start programs, use more than its limits.\n\
            It starts: /usr/bin/python3 t.py\nPackage: ab12"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn proc_02_what_programs_are_opened_is_said_truthfully() {
        let said = |text: &str| meaning(&text.parse().unwrap());
        assert_eq!(said("subprocess:execute"), "start programs, inside its own sandbox");
        assert_eq!(
            said("subprocess:execute=/usr/bin/git"),
            "start any program that it sees inside its own sandbox, and by way of the host those of /usr/bin/git"
        );
    }

    #[test]
    fn where_it_leads_and_what_else_it_reaches_stand_below_what_is_asked() {
        let mut request = request(&[], None);
        request.asked[0].place = Some(GrantPlace {
            path: "/home/ada/notes".to_owned(),
            state: crate::plugin::PlaceState::Open,
            why: None,
        });
        request.asked[0].warnings = vec!["it holds a repository".to_owned()];
        request.publisher_change =
            Some(PublisherChange { from_publisher: "ada".to_owned(), to_publisher: "eve".to_owned() });
        let text = request.to_string();
        let expected = "file:read=/srv/notes/**\n      the author says: \"to read notes\"\n      \
            leads to /home/ada/notes\n      note: it holds a repository\n";
        assert!(text.contains(expected), "{text}");
        assert!(
            text.contains("\n  ANOTHER PUBLISHER: it is by eve, and the version before by ada\n"),
            "{text}"
        );
    }

    #[test]
    fn what_an_older_version_asked_for_is_not_new() {
        let asked = request(&[], Some(&["env:read"])).asked;
        let new: Vec<String> =
            asked.iter().filter(|item| item.new).map(|item| item.permission.to_string()).collect();
        assert!(!new.contains(&"env:read".to_owned()) && new.len() == 4, "{new:?}");
    }

    #[test]
    fn long_and_invisible_text_is_cut_and_shown() {
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), SHOWN_MAX_CHARS + 1);
        assert_eq!(shown("a\u{200b}b\u{7f}\u{feff}"), "a\\u{200b}b\\u{7f}\\u{feff}");
        assert_eq!(shown("grüße 日本"), "grüße 日本");
    }
}
