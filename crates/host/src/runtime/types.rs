//! The kinds of Python plugins that a host application has: each with the base class that its plugins derive from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ringfence_api::{ErrorCode, Manifest, ToolDeclaration};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Files;
use crate::{Error, Home, private_file};

/// A kind of plugin: the base class that a Python plugin of this `type` must derive from, and where that class comes from.
///
/// ```
/// use ringfence::runtime::PluginType;
///
/// let filter = PluginType::new("app.plugins.Filter").source("app.plugins", "class Filter:\n    pass\n");
/// assert_eq!(filter.base_class(), "app.plugins.Filter");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginType {
    base_class: String,
    sources: BTreeMap<String, String>,
    paths: Vec<PathBuf>,
    tools: Vec<String>,
}

impl PluginType {
    /// A kind whose base class has this dotted name, such as `app.plugins.Filter`.
    #[must_use]
    pub fn new(base_class: impl Into<String>) -> Self {
        Self { base_class: base_class.into(), sources: BTreeMap::new(), paths: Vec::new(), tools: Vec::new() }
    }

    /// Gives plugins the module `name` with this source text. For applications that ship no Python files.
    #[must_use]
    pub fn source(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.sources.insert(name.into(), text.into());
        self
    }

    /// Lets plugins import from this directory, which every sandbox of a Python plugin then shows read-only.
    #[must_use]
    pub fn path(mut self, directory: impl Into<PathBuf>) -> Self {
        self.paths.push(directory.into());
        self
    }

    /// Lets plugins of this kind answer this tool, `[A-Za-z0-9_.-]{1,128}`, with their method of that name, although their
    /// manifests declare none: what the base class promises. A manifest that declares it says more of it, and counts.
    ///
    /// ```
    /// use ringfence::runtime::PluginType;
    ///
    /// let processor = PluginType::new("agent.plugins.Processor").path("/srv/agent/plugin-api").tool("process");
    /// ```
    #[must_use]
    pub fn tool(mut self, name: impl Into<String>) -> Self {
        self.tools.push(name.into());
        self
    }

    /// The dotted name of the base class.
    #[must_use]
    pub fn base_class(&self) -> &str {
        &self.base_class
    }
}

/// All kinds of one host application.
pub(crate) type Types = BTreeMap<String, PluginType>;

/// The manifest with what its kind promises of every plugin.
pub(crate) fn completed(types: &Types, mut manifest: Manifest) -> Manifest {
    let kind = manifest.plugin_type.as_ref().and_then(|kind| types.get(kind));
    for name in kind.into_iter().flat_map(|kind| &kind.tools) {
        if !manifest.tools.iter().any(|declared| declared.name == *name) {
            let name = name.clone();
            let promised =
                ToolDeclaration { name, description: None, input_schema: None, output_schema: None };
            manifest.tools.push(promised);
        }
    }
    manifest
}

/// What the runner reads.
#[derive(Serialize)]
struct Document<'a> {
    bases: BTreeMap<&'a str, &'a str>,
    paths: Vec<&'a Path>,
    sources: BTreeMap<&'a str, &'a str>,
}

/// The file for the runner and the directories that it names; `None` when the application has no kinds. It is made if it is to be
/// and is not there.
///
/// # Errors
/// `usage` for a directory whose name is not UTF-8, which the file cannot hold; `io` when the home cannot be written.
pub(super) fn file(
    home: &Home,
    types: &Types,
    files: Files,
) -> Result<Option<(PathBuf, Vec<PathBuf>)>, Error> {
    if types.is_empty() {
        return Ok(None);
    }
    let mut document = Document { bases: BTreeMap::new(), paths: Vec::new(), sources: BTreeMap::new() };
    for (name, kind) in types {
        document.bases.insert(name, &kind.base_class);
        document.paths.extend(kind.paths.iter().map(PathBuf::as_path));
        document.sources.extend(kind.sources.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    }
    let bytes = serde_json::to_vec(&document).map_err(|error| {
        Error::new(ErrorCode::Usage, "the plugin types cannot be written down")
            .with_hint("give `PluginType::path` directories whose names are UTF-8")
            .with_source(error)
    })?;
    let digest = Sha256::digest(&bytes);
    let digest = data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or(&digest));
    let directory = home.path().join("runners");
    let place = directory.join(format!("types-{digest}.json"));
    let paths = document.paths.into_iter().map(Path::to_owned).collect();
    if files == Files::Made && !place.is_file() {
        private_file::create_dir_all(&directory)
            .and_then(|()| private_file::replace(&place, &bytes, 0o600))
            .map_err(|error| Error::file("write", &place, error))?;
    }
    Ok(Some((place, paths)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_become_one_file_that_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        assert_eq!(file(&home, &Types::new(), Files::Made).unwrap(), None);
        let kind = PluginType::new("app.Filter").source("app", "class Filter: pass").path("/usr/share/app");
        let types = Types::from([("filter".to_owned(), kind)]);
        let (place, paths) = file(&home, &types, Files::Made).unwrap().unwrap();
        assert_eq!(paths, [PathBuf::from("/usr/share/app")]);
        let text = std::fs::read_to_string(&place).unwrap();
        assert_eq!(
            text,
            r#"{"bases":{"filter":"app.Filter"},"paths":["/usr/share/app"],"sources":{"app":"class Filter: pass"}}"#
        );
        assert_eq!(file(&home, &types, Files::Made).unwrap().unwrap().0, place);
    }

    #[test]
    fn a_kind_adds_the_tools_that_the_manifest_does_not_declare() {
        let kind = PluginType::new("app.Filter").tool("filter").tool("explain");
        let types = Types::from([("filter".to_owned(), kind)]);
        let manifest = |kind: &str| -> Manifest {
            serde_json::from_value(serde_json::json!({
                "name": "p", "version": "1.0.0", "runtime": "python", "entry_point": "p:C", "type": kind,
                "tools": [{"name": "filter", "description": "Filters."}],
            }))
            .unwrap()
        };
        let tools = |kind: &str| {
            let tools = completed(&types, manifest(kind)).tools;
            tools.into_iter().map(|tool| (tool.name, tool.description)).collect::<Vec<_>>()
        };
        let declared = ("filter".to_owned(), Some("Filters.".to_owned()));
        assert_eq!(tools("filter"), [declared.clone(), ("explain".to_owned(), None)]);
        assert_eq!(tools("other"), [declared]);
    }

    #[test]
    fn first_starts_at_once_make_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        let types = Types::from([("filter".to_owned(), PluginType::new("app.Filter"))]);
        for round in 0..20 {
            let begin = std::sync::Barrier::new(8);
            let places: Vec<_> = std::thread::scope(|scope| {
                let start = || {
                    begin.wait();
                    file(&home, &types, Files::Made).unwrap().unwrap().0
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let names: Vec<_> = std::fs::read_dir(home.path().join("runners")).unwrap().flatten().collect();
            assert_eq!(names.len(), 1, "round {round}: {names:?}");
            assert_eq!(
                std::fs::read_to_string(&places[0]).unwrap(),
                r#"{"bases":{"filter":"app.Filter"},"paths":[],"sources":{}}"#
            );
            std::fs::remove_file(&places[0]).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_written_down_is_an_error_and_no_empty_file() {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"/srv/\xff"));
        let types = Types::from([("filter".to_owned(), PluginType::new("app.Filter").path(odd))]);
        assert_eq!(file(&home, &types, Files::Made).unwrap_err().code(), ErrorCode::Usage);
        assert!(!home.path().join("runners").exists());
    }
}
