//! Fills `tools` and `hooks` of a manifest from the code, and leaves everything else as the author wrote it.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ringfence_api::{ErrorCode, HookDeclaration, ToolDeclaration};
use serde::Serialize as _;
use serde_json::Value;

use super::Described;
use super::emit::{self, TomlForm};
use crate::Error;
use crate::manifest::tree::Lines;
use crate::manifest::{self, Dialect, Format, Source};

/// What [`write()`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Written {
    /// The manifest says already what the code declares.
    Nothing,
    /// These are new or changed in the file.
    Changed {
        /// Names of tools.
        tools: Vec<String>,
        /// Events of hooks.
        hooks: Vec<String>,
    },
}

/// Puts the tools and hooks that the code declares into the manifest's file.
///
/// What the manifest declares and the code does not stays; what both declare is taken from the code, as far as it says it.
/// Everything else of the file keeps its content: JSON is written anew in the same order and indentation, in YAML and TOML
/// only the two sections are replaced. Before the file is replaced (atomically) the new text is read again, and must say the
/// same as before and the new.
///
/// # Errors
/// `invalid_manifest` when the manifest, or what the code declares, breaks a rule; `not_supported` when the file is a
/// dialect or is laid out so that the sections cannot be replaced, with what to add in the hint; `plugin_failed` when the
/// code could not be looked at; `io` when the file cannot be written.
///
/// ```
/// use ringfence::check::{self, Described, Written};
///
/// let package = tempfile::tempdir()?;
/// let file = package.path().join("plugin.yaml");
/// std::fs::write(&file, "name: a # the name\nversion: 1.0.0\nruntime: python\nentry_point: a.py\n")?;
/// let described: Described = serde_json::from_str(r#"{"tools": [{"name": "greet"}]}"#)?;
/// let written = check::write(package.path(), &described)?;
/// assert_eq!(written, Written::Changed { tools: vec!["greet".to_owned()], hooks: vec![] });
/// assert!(std::fs::read_to_string(&file)?.starts_with("name: a # the name\n"));
/// assert_eq!(check::write(package.path(), &described)?, Written::Nothing);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(package: &Path, described: &Described) -> Result<Written, Error> {
    if let Some(error) = &described.error {
        let message = format!("the plugin's code cannot be looked at: {}", manifest::text::shown(error));
        return Err(
            Error::new(ErrorCode::PluginFailed, message).with_hint("mend it, and run the check again")
        );
    }
    let source = Source::read(package).map_err(Error::from)?;
    let loaded = manifest::read(&source).map_err(Error::from)?;
    let (tools, new_tools) = merge_tools(&loaded.manifest.tools, &described.tools);
    let (hooks, new_hooks) = merge_hooks(&loaded.manifest.hooks, &described.hooks);
    if new_tools.is_empty() && new_hooks.is_empty() {
        return Ok(Written::Nothing);
    }
    let mut sections = Vec::new();
    if !new_tools.is_empty() {
        sections.push(("tools", values(&tools)?));
    }
    if !new_hooks.is_empty() {
        sections.push(("hooks", values(&hooks)?));
    }
    let what_to_add =
        || sections.iter().map(|(name, values)| emit::yaml(name, &Value::Array(values.clone()))).collect();
    if loaded.dialect != Dialect::Ringfence {
        let message = "tools and hooks from code are written only into Ringfence's own form of a manifest";
        return Err(refused(message, what_to_add()));
    }
    let text = changed(&source, &sections).ok_or_else(|| {
        refused("the file is laid out so that its sections cannot be replaced safely", what_to_add())
    })?;
    // What the code declares is a stranger's too: a bad name or schema must not get into the file.
    manifest::parse(&text, &source.file).map_err(Error::from)?;
    replace(&source.file, &text).map_err(|error| Error::file("write", &source.file, error))?;
    Ok(Written::Changed { tools: new_tools, hooks: new_hooks })
}

fn refused(message: &str, what_to_add: String) -> Error {
    Error::new(ErrorCode::NotSupported, message)
        .with_hint(format!("add this to the manifest (as YAML):\n{what_to_add}"))
}

/// The manifest's tools with what the code says, and the names of those that are new or changed.
fn merge_tools(old: &[ToolDeclaration], code: &[ToolDeclaration]) -> (Vec<ToolDeclaration>, Vec<String>) {
    let mut all = old.to_vec();
    for tool in code {
        let Some(known) = all.iter_mut().find(|known| known.name == tool.name) else {
            all.push(tool.clone());
            continue;
        };
        let from_code = tool.clone();
        known.description = from_code.description.or(known.description.take());
        known.input_schema = from_code.input_schema.or(known.input_schema.take());
        known.output_schema = from_code.output_schema.or(known.output_schema.take());
    }
    let new = all.iter().filter(|tool| !old.contains(tool)).map(|tool| tool.name.clone()).collect();
    (all, new)
}

fn merge_hooks(old: &[HookDeclaration], code: &[HookDeclaration]) -> (Vec<HookDeclaration>, Vec<String>) {
    let mut all = old.to_vec();
    for hook in code {
        match all.iter_mut().find(|known| known.event == hook.event && known.kind == hook.kind) {
            Some(known) => known.clone_from(hook),
            None => all.push(hook.clone()),
        }
    }
    let new = all.iter().filter(|hook| !old.contains(hook)).map(|hook| hook.event.clone()).collect();
    (all, new)
}

fn values<T: serde::Serialize>(items: &[T]) -> Result<Vec<Value>, Error> {
    items
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::new(ErrorCode::Internal, "a declaration is no JSON").with_source(error))
}

/// The new text; `None` when it would not say the same as before and the new.
fn changed(source: &Source, sections: &[(&str, Vec<Value>)]) -> Option<String> {
    let (root, _) = manifest::tree_of(&source.text, source.format)?;
    let mut wanted = root.to_value();
    for (name, values) in sections {
        wanted.as_object_mut()?.insert((*name).to_owned(), Value::Array(values.clone()));
    }
    let text = match source.format {
        Format::Json => json(&wanted, &source.text)?,
        Format::Yaml | Format::Toml => {
            let mut text = source.text.clone();
            for (name, values) in sections {
                text = with_section(&text, source.format, name, values)?;
            }
            text
        }
    };
    let (root, _) = manifest::tree_of(&text, source.format)?;
    (root.to_value() == wanted).then_some(text)
}

/// JSON in the order and with the indentation of the old text.
fn json(value: &Value, old: &str) -> Option<String> {
    let indent: String = old
        .lines()
        .find(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty())
        .map_or("  ", |line| line.get(..line.len() - line.trim_start().len()).unwrap_or("  "))
        .chars()
        .take(8)
        .collect();
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter)).ok()?;
    bytes.push(b'\n');
    String::from_utf8(bytes).ok()
}

/// The text with one section of the top level replaced, or added at the end.
fn with_section(text: &str, format: Format, name: &str, values: &[Value]) -> Option<String> {
    let old = section(text, format, name)?;
    let head = old.as_ref().and_then(|range| text.get(range.clone())).unwrap_or_default();
    let new = match format {
        Format::Toml => {
            // Behind tables a plain key would belong to the last of them.
            let form =
                if old.is_some() && !head.starts_with('[') { TomlForm::Inline } else { TomlForm::Tables };
            emit::toml(name, values, form)?
        }
        _ => emit::yaml(name, &Value::Array(values.to_vec())),
    };
    let mut changed = String::with_capacity(text.len() + new.len());
    match old {
        Some(range) => {
            changed.push_str(text.get(..range.start)?);
            changed.push_str(&new);
            changed.push_str(text.get(range.end..)?);
        }
        None => {
            changed.push_str(text);
            if !text.is_empty() && !text.ends_with('\n') {
                changed.push('\n');
            }
            if format == Format::Toml {
                changed.push('\n');
            }
            changed.push_str(&new);
        }
    }
    Some(changed)
}

/// The lines of a section: from its name to the next name of the top level, without the comments and blank lines before
/// that one. `Some(None)` when there is none.
#[expect(clippy::option_option, reason = "no tree, no section, a section")]
fn section(text: &str, format: Format, name: &str) -> Option<Option<Range<usize>>> {
    let (root, unit) = manifest::tree_of(text, format)?;
    let lines = Lines::new(text, unit);
    let members = root.members()?;
    let Some(index) = members.iter().position(|member| member.name == name) else { return Some(None) };
    let line_start = |at: usize| {
        let byte = lines.byte(at);
        text.get(..byte).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
    };
    let start = line_start(members.get(index)?.at);
    let mut end = members.get(index + 1).map_or(text.len(), |next| line_start(next.at));
    if end <= start {
        // Two members in one line: a flow mapping.
        return None;
    }
    // From behind: what stands before the next name belongs to that one.
    while let Some(line) =
        text.get(start..end).and_then(|section| section.trim_end_matches('\n').rsplit('\n').next())
    {
        let trimmed = line.trim();
        let kept = trimmed.is_empty() || line.starts_with('#') || trimmed == "..." || trimmed == "---";
        let with_newline = text.get(..end)?.trim_end_matches('\n').len();
        if !kept || with_newline <= start {
            break;
        }
        end = with_newline - line.len();
    }
    // Blank lines behind the section stay where they are.
    let content = text.get(start..end)?.trim_end_matches(['\n', '\r']).len();
    let newline = text.get(start + content..end)?.find('\n').map_or(0, |at| at + 1);
    Some(Some(start..start + content + newline))
}

/// Replaces the file and keeps its mode.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let mode = fs::symlink_metadata(file)?.permissions().mode() & 0o7777;
    crate::private_file::replace(file, text.as_bytes(), mode)
}
