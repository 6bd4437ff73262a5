//! What the tools answer: typed and bounded, with the schema made from the types, and the same as text.
//!
//! What a plugin wrote stands everywhere escaped and cut, but for its configuration, which is exact in the structured content
//! and escaped in the text.

use ringfence::consent::{Asked, ConsentRequest, shown};
use ringfence::plugin::PluginSummary;
use ringfence::scan::{self, Ran, Report};
use ringfence_api::{PluginState, Runtime};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::text;
use super::tool::Tool;
use crate::dashboard;

/// How many plugins, packages or permissions one answer lists at most.
pub(super) const LISTED_MAX: usize = 500;
/// How many findings of a scan are told beside something else, and how many of one package alone.
pub(super) const FINDINGS_BESIDE_MAX: usize = 10;
pub(super) const FINDINGS_MAX: usize = 200;
/// The longest message about a broken package, in characters.
const BROKEN_MAX_CHARS: usize = 2_000;
/// The largest schema of a configuration that is passed on, in bytes.
const SCHEMA_MAX_BYTES: usize = 32 << 10;

/// A plugin as it stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Plugin {
    name: String,
    version: String,
    state: PluginState,
    runtime: Runtime,
    /// Who made it, as far as that is proven.
    publisher: String,
    /// The author's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Why it is in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How a person consents; only while nobody has.
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<Consent>,
}

/// How a person consents to a plugin. No MCP client can.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Consent {
    /// To be typed at a terminal; it asks, permission by permission.
    command: String,
    /// The page that asks the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
}

/// What `plugin_list` answers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Plugins {
    plugins: Vec<Plugin>,
    /// Plugins that are not listed, because there are too many.
    more: usize,
}

/// A permission that a plugin asks for.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    permission: String,
    /// What it means.
    meaning: String,
    /// Whether the plugin says that it works without.
    optional: bool,
    granted: bool,
    /// The author's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What `plugin_install` answers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Installed {
    plugin: Plugin,
    /// False: the same package was installed already.
    changed: bool,
    /// What it asks for.
    asks: Vec<Ask>,
    /// What it can not do, even if all of that is granted.
    cannot: Vec<String>,
    /// What the scan says of its code.
    findings: Vec<String>,
    /// What was converted or left out.
    notes: Vec<String>,
}

/// What `plugin_activate` and `plugin_deactivate` answer.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Changed {
    plugin: Plugin,
}

/// What `plugin_uninstall` answers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Removed {
    pub(super) name: String,
    /// Whether its private data was kept.
    pub(super) data_kept: bool,
}

/// What `plugin_configure` answers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Configuration {
    pub(super) name: String,
    /// With its defaults; secrets are ***.
    pub(super) config: Map<String, Value>,
    /// Whether something was set.
    pub(super) changed: bool,
    /// The plugin's schema for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schema: Option<Map<String, Value>>,
}

/// A call or event that has ended, or the count of many in one second.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    /// Its number: larger is later.
    pub(super) seq: i64,
    /// When it ended, in unix milliseconds.
    pub(super) at_ms: i64,
    pub(super) plugin: String,
    /// Such as `call` or `hook`.
    pub(super) method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool: Option<String>,
    /// How it ended: `ok`, `failed`, `invalid`, `timeout`, `cancelled`, `refused` or `crashed`.
    pub(super) outcome: String,
    /// How long it took, or they took together, in milliseconds.
    pub(super) duration_ms: u64,
    /// How many calls it stands for.
    pub(super) count: u64,
    pub(super) correlation_id: String,
}

/// What `plugin_executions` answers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Calls {
    pub(super) calls: Vec<Call>,
    /// Whether there are older ones.
    pub(super) more: bool,
}

/// A package that can be installed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Found {
    name: String,
    version: String,
    runtime: Runtime,
    path: String,
    /// The installed version, when another one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    installed_version: Option<String>,
    /// What the scan says of its code.
    findings: Vec<String>,
}

/// A package that cannot be installed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Broken {
    path: String,
    message: String,
}

/// What the scan says of the code of one package.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Code {
    path: String,
    /// Whether it was looked at at all.
    scanned: bool,
    findings: Vec<String>,
    /// Files that were not read, or not to their end.
    not_read: u64,
}

/// What `plugin_scan` answers.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Scanned {
    found: Vec<Found>,
    broken: Vec<Broken>,
    /// Packages that are not listed, because there are too many.
    more: usize,
    /// The one package that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
}

impl Plugin {
    pub(super) fn of(summary: &PluginSummary, page: Option<&str>) -> Self {
        let waits = summary.state == PluginState::Installed;
        Self {
            name: summary.name.to_string(),
            version: shown(&summary.version),
            state: summary.state,
            runtime: summary.runtime,
            publisher: shown(&summary.publisher),
            description: summary.description.as_deref().map(shown),
            reason: summary.reason.as_deref().map(shown),
            consent: waits.then(|| Consent::to(summary.name.as_str(), page)),
        }
    }

    fn line(&self) -> String {
        let mut line = format!("{} {} ({}): {}", self.name, self.version, self.runtime, self.state);
        for text in [&self.reason, &self.description].into_iter().flatten() {
            line.push_str(&format!("; \"{text}\""));
        }
        if let Some(consent) = &self.consent {
            line.push_str(&format!("; {}", consent.sentence()));
        }
        line
    }
}

impl Consent {
    /// `page` is the address of the dashboard, if there is one.
    pub(super) fn to(name: &str, page: Option<&str>) -> Self {
        Self {
            command: format!("ringfence activate {name}"),
            page: page.map(|page| {
                format!("{}{}/plugins/{name}/grants", page.trim_end_matches('/'), dashboard::ROOT)
            }),
        }
    }

    pub(super) fn sentence(&self) -> String {
        let page = self.page.as_ref().map(|page| format!(", or opens {page}")).unwrap_or_default();
        format!("a person must consent: they run `{}` at a terminal{page}", self.command)
    }
}

impl Plugins {
    pub(super) fn of(all: &[PluginSummary], page: Option<&str>) -> Self {
        Self {
            plugins: all.iter().take(LISTED_MAX).map(|summary| Plugin::of(summary, page)).collect(),
            more: all.len().saturating_sub(LISTED_MAX),
        }
    }
}

impl Installed {
    pub(super) fn of(done: &ringfence::plugin::Installed, asks: &ConsentRequest, page: Option<&str>) -> Self {
        Self {
            plugin: Plugin::of(&done.plugin, page),
            changed: done.changed,
            asks: asks.asked.iter().take(LISTED_MAX).map(Ask::of).collect(),
            cannot: asks.cannot.clone(),
            findings: scan::lines(&done.scan, FINDINGS_BESIDE_MAX),
            notes: done.notes.iter().take(LISTED_MAX).map(|note| shown(note)).collect(),
        }
    }
}

impl Ask {
    fn of(asked: &Asked) -> Self {
        Self {
            permission: shown(&asked.permission.to_string()),
            meaning: shown(&asked.meaning),
            optional: asked.optional,
            granted: asked.granted,
            reason: asked.reason.as_deref().map(shown),
        }
    }
}

impl Changed {
    pub(super) fn of(summary: &PluginSummary, page: Option<&str>) -> Self {
        Self { plugin: Plugin::of(summary, page) }
    }
}

impl Scanned {
    /// `wanted` says of each name whether the caller may see it.
    pub(super) fn of(scan: &ringfence::plugin::Scan, wanted: impl Fn(&str) -> bool, whole: bool) -> Self {
        let found = scan.found.iter().filter(|found| wanted(found.name.as_str()));
        let broken = scan.broken.iter().filter(|_| whole);
        let (all_found, all_broken) = (found.clone().count(), broken.clone().count());
        Self {
            found: found.take(LISTED_MAX).map(Found::of).collect(),
            broken: broken
                .take(LISTED_MAX)
                .map(|broken| Broken {
                    path: shown(&broken.path),
                    message: text::lines(&broken.message, BROKEN_MAX_CHARS),
                })
                .collect(),
            more: all_found.saturating_sub(LISTED_MAX) + all_broken.saturating_sub(LISTED_MAX),
            code: None,
        }
    }

    pub(super) fn code(path: &str, report: &Report) -> Self {
        let listed = u64::try_from(report.not_read.len()).unwrap_or(u64::MAX);
        let code = Code {
            path: shown(path),
            scanned: !matches!(report.ran, Ran::NotRun(_)),
            findings: scan::lines(report, FINDINGS_MAX),
            not_read: listed.saturating_add(report.more_not_read),
        };
        Self { code: Some(code), ..Self::default() }
    }
}

impl Found {
    fn of(found: &ringfence::plugin::Discovered) -> Self {
        Self {
            name: found.name.to_string(),
            version: shown(&found.version),
            runtime: found.runtime,
            path: shown(&found.path),
            installed_version: found.installed_version.as_deref().map(shown),
            findings: found
                .scan
                .as_ref()
                .map(|scan| scan::lines(scan, FINDINGS_BESIDE_MAX))
                .unwrap_or_default(),
        }
    }
}

/// A schema of a plugin as it may be shown: every text escaped and cut. `None` when there is none, or it is too large.
pub(super) fn shown_schema(schema: Option<&Value>) -> Option<Map<String, Value>> {
    let schema = schema?;
    if schema.to_string().len() > SCHEMA_MAX_BYTES {
        return None;
    }
    match escaped(schema) {
        Value::Object(schema) => Some(schema),
        _ => None,
    }
}

fn escaped(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(shown(text)),
        Value::Array(items) => Value::Array(items.iter().map(escaped).collect()),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (shown(name), escaped(value))).collect())
        }
        other => other.clone(),
    }
}

/// An answer as text for people and models.
pub(super) trait Told {
    fn told(&self) -> String;
}

impl Told for Plugins {
    fn told(&self) -> String {
        let mut lines: Vec<String> = self.plugins.iter().map(Plugin::line).collect();
        if lines.is_empty() {
            lines.push("no plugin is installed".to_owned());
        }
        if self.more > 0 {
            lines.push(format!("and {} more", self.more));
        }
        lines.join("\n")
    }
}

impl Told for Installed {
    fn told(&self) -> String {
        let (name, version) = (&self.plugin.name, &self.plugin.version);
        let mut lines = vec![if self.changed {
            format!("installed {name} {version}; nothing of it was executed and nothing is granted")
        } else {
            format!("{name} {version} is installed already; nothing was changed")
        }];
        lines.push(if self.asks.is_empty() {
            "It asks for no permission.".to_owned()
        } else {
            "It asks to:".to_owned()
        });
        for ask in &self.asks {
            let optional = if ask.optional { " (optional)" } else { "" };
            let granted = if ask.granted { " (granted)" } else { "" };
            let reason = ask
                .reason
                .as_ref()
                .map(|reason| format!("; the author says: \"{reason}\""))
                .unwrap_or_default();
            lines.push(format!("- {}{optional}{granted} [{}]{reason}", ask.meaning, ask.permission));
        }
        lines.push(format!("It can not: {}.", self.cannot.join(", ")));
        lines.extend(self.findings.iter().map(|finding| format!("scan: {finding}")));
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        match &self.plugin.consent {
            Some(consent) => lines.push(format!("It does not run: {}.", consent.sentence())),
            None => lines.push(format!("It is {}.", self.plugin.state)),
        }
        lines.join("\n")
    }
}

impl Told for Changed {
    fn told(&self) -> String {
        self.plugin.line()
    }
}

impl Told for Removed {
    fn told(&self) -> String {
        let data = if self.data_kept { "its private data was kept" } else { "its private data is gone" };
        format!("uninstalled {}; {data}", self.name)
    }
}

impl Told for Configuration {
    fn told(&self) -> String {
        let done = if self.changed { "is now" } else { "is" };
        let config = Value::Object(self.config.clone()).to_string();
        let config = text::lines(&config, text::TEXT_MAX_BYTES);
        let mut lines = vec![format!("the configuration of {} {done} {config}", self.name)];
        if let Some(schema) = &self.schema {
            lines.push(format!("its schema is {}", Value::Object(schema.clone())));
        }
        lines.join("\n")
    }
}

impl Told for Calls {
    fn told(&self) -> String {
        let mut lines: Vec<String> = self.calls.iter().map(Call::line).collect();
        if lines.is_empty() {
            lines.push("no call is recorded".to_owned());
        }
        if let (true, Some(last)) = (self.more, self.calls.last()) {
            lines.push(format!("there are older ones: before {}", last.seq));
        }
        lines.join("\n")
    }
}

impl Call {
    fn line(&self) -> String {
        let what = self.tool.as_ref().unwrap_or(&self.method);
        let count = if self.count == 1 { String::new() } else { format!(", {} in one second", self.count) };
        let (at, plugin) = (crate::time::utc(self.at_ms), &self.plugin);
        let (outcome, ms) = (&self.outcome, self.duration_ms);
        format!(
            "{at} {plugin} {what}{count}: {outcome} after {ms} ms (seq {}, correlation id {})",
            self.seq, self.correlation_id
        )
    }
}

impl Told for Scanned {
    fn told(&self) -> String {
        if let Some(code) = &self.code {
            return code.told();
        }
        let mut lines = Vec::new();
        for found in &self.found {
            let other = found
                .installed_version
                .as_ref()
                .map(|old| format!("; {old} is installed"))
                .unwrap_or_default();
            lines.push(format!(
                "{} {} ({}) in {}{other}",
                found.name, found.version, found.runtime, found.path
            ));
            lines.extend(found.findings.iter().map(|finding| format!("  scan: {finding}")));
        }
        for broken in &self.broken {
            lines.push(format!(
                "cannot be installed: {}\n    {}",
                broken.path,
                broken.message.replace('\n', "\n    ")
            ));
        }
        if lines.is_empty() {
            lines.push("no new package was found".to_owned());
        }
        if self.more > 0 {
            lines.push(format!("and {} more", self.more));
        }
        lines.join("\n")
    }
}

impl Code {
    fn told(&self) -> String {
        let mut lines = vec![match (self.scanned, self.findings.is_empty()) {
            (false, _) => format!("the code in {} was not looked at", self.path),
            (true, true) => {
                format!("nothing was found in {}; that does not prove that it is harmless", self.path)
            }
            (true, false) => format!("the code in {}:", self.path),
        }];
        lines.extend(self.findings.iter().map(|finding| format!("- {finding}")));
        if self.not_read > 0 {
            lines.push(format!("{} files were not read to their end", self.not_read));
        }
        lines.join("\n")
    }
}

/// The output schema of a tool: its answer, or `error` where it failed.
pub(super) fn schema(tool: Tool) -> Value {
    match tool {
        Tool::List => of::<Plugins>(),
        Tool::Install => of::<Installed>(),
        Tool::Activate | Tool::Deactivate => of::<Changed>(),
        Tool::Uninstall => of::<Removed>(),
        Tool::Configure => of::<Configuration>(),
        Tool::Executions => of::<Calls>(),
        Tool::Scan => of::<Scanned>(),
    }
}

fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        // Validators of older clients know no dialect but their own default.
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    simplify(&mut schema);
    let Some(root) = schema.as_object_mut() else { return schema };
    root.remove("title");
    root.remove("description");
    let required = root.remove("required").unwrap_or_else(|| json!([]));
    if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("error".to_owned(), error_schema());
    }
    root.insert(
        "oneOf".to_owned(),
        json!([{"required": required, "not": {"required": ["error"]}}, {"required": ["error"]}]),
    );
    schema
}

/// Leaves the first paragraph of each description, as what follows is for who reads the code; and of types that may be null
/// the other one, as what is absent is left out.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), &mut *value) {
                    ("description", Value::String(text)) => {
                        text.truncate(text.find("\n\n").unwrap_or(text.len()));
                    }
                    ("type", Value::Array(types)) => {
                        types.retain(|one| one != "null");
                        if let [only] = types.as_slice() {
                            *value = only.clone();
                        }
                    }
                    (_, other) => simplify(other),
                }
            }
        }
        _ => {}
    }
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "description": "Only when the call failed: why, and what to do next.",
        "properties": {
            "code": {"type": "string", "description": "A stable code, such as consent_required."},
            "message": {"type": "string"},
            "hint": {"type": "string"},
        },
        "required": ["code", "message", "hint"],
        "additionalProperties": false,
    })
}
