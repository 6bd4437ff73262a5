//! What the code of a package says of itself: its tools, hooks and classes, found out in a sandbox without any grant.

use std::path::Path;
use std::time::Duration;

use ringfence_api::{ErrorCode, Manifest, Runtime, Wire};

use super::{Purpose, Runners, Spec, World};
use crate::check::Described;
use crate::exec::RedactionSet;
use crate::{Config, Error, Home};

/// How long a package may take to be imported and described.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(30);
/// The base class that every Python plugin may derive from, whatever the application registered.
const OWN_BASE: &str = "ringfence.Plugin";

/// What the code of a package declares, found out in a sandbox without any grant, for `check --write`.
///
/// # Errors
/// `invalid_manifest`; `not_supported` for a runtime whose code cannot be asked; `plugin_failed` when it ends without an
/// answer; what the sandbox says.
pub fn describe_package(package: &Path, home: &Home, config: &Config) -> Result<Described, Error> {
    let loaded = crate::manifest::load(package)?;
    let world = World { home, config, runners: &Runners::default(), types: &config.plugin_types };
    describe(package, &loaded.manifest, &world)
}

/// Imports the package of a Python or Node plugin in a sandbox that may read the package and nothing else.
///
/// # Errors
/// `not_supported` for other runtimes; `plugin_failed` when it ends without an answer; what the sandbox says.
pub(crate) fn describe(package: &Path, manifest: &Manifest, world: &World<'_>) -> Result<Described, Error> {
    if !matches!(manifest.runtime, Runtime::Python | Runtime::Node) {
        let message = format!("code of the runtime '{}' cannot be asked what it offers", manifest.runtime);
        return Err(Error::new(ErrorCode::NotSupported, message)
            .with_hint("declare its tools and hooks in the manifest"));
    }
    if manifest.wire == Wire::Legacy {
        return Err(Error::new(
            ErrorCode::NotSupported,
            "a script of the older wire form cannot be asked what it offers",
        )
        .with_hint("declare its tools in the manifest"));
    }
    let spec = Spec {
        package,
        data: None,
        manifest,
        grants: &[],
        policy: None,
        pins: None,
        purpose: Purpose::Describe,
    };
    let mut exec = super::request(&spec, world)?;
    exec.redaction(RedactionSet::none());
    exec.limits().timeout = Some(DESCRIBE_LIMIT.min(world.config.plugins.init_timeout));
    let done = exec.run_captured();
    if let Some(body) = &done.report.error {
        let made = Error::new(body.code, body.message.clone());
        return Err(match &body.hint {
            Some(hint) => made.with_hint(hint.clone()),
            None => made,
        });
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_slice(&done.stdout).map_err(|error| {
        let message = format!("the package could not be looked at: {}", crate::consent::shown(last));
        Error::new(ErrorCode::PluginFailed, message).with_source(error)
    })
}

/// The check at an installation: a Python class must exist and derive from a registered base class.
///
/// # Errors
/// `invalid_package` with the reason; what [`describe`] says.
pub(crate) fn check_code(package: &Path, manifest: &Manifest, world: &World<'_>) -> Result<(), Error> {
    let names_a_class = manifest.runtime == Runtime::Python && manifest.entry_point.contains(':');
    if !names_a_class {
        return Ok(());
    }
    let described = describe(package, manifest, world)?;
    judge(&described, manifest, world)
}

fn judge(described: &Described, manifest: &Manifest, world: &World<'_>) -> Result<(), Error> {
    let refuse = |why: String| Error::new(ErrorCode::InvalidPackage, why);
    let entry = crate::consent::shown(&manifest.entry_point);
    if let Some(error) = &described.error {
        return Err(refuse(format!("'{entry}' cannot be imported: {}", crate::consent::shown(error)))
            .with_hint(
                "it is imported in a sandbox without any grant: do nothing that needs one at import",
            ));
    }
    if !described.class_found {
        return Err(refuse(format!("the class of '{entry}' does not exist")));
    }
    let wanted: Vec<&str> = match &manifest.plugin_type {
        // An application without kinds of its own, such as the command line, cannot know the base class: what it is called
        // with decides, and the class only has to be there.
        Some(_) if world.types.is_empty() => return Ok(()),
        Some(kind) => match world.types.get(kind) {
            Some(known) => vec![known.base_class()],
            None => {
                let kinds: Vec<&str> = world.types.keys().map(String::as_str).collect();
                let known = if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
                let kind = crate::consent::shown(kind);
                return Err(refuse(format!("this host application has no plugin type '{kind}'"))
                    .with_hint(format!("its types: {known}")));
            }
        },
        None => {
            std::iter::once(OWN_BASE).chain(world.types.values().map(super::PluginType::base_class)).collect()
        }
    };
    let derives = described.bases.iter().any(|base| wanted.contains(&base.as_str()) || is_own(base, &wanted));
    if derives {
        return Ok(());
    }
    Err(refuse(format!("the class of '{entry}' does not derive from {}", wanted.join(" or ")))
        .with_hint("derive it from that class, or name a module as the entry point"))
}

/// The SDK's base class by the module that defines it.
fn is_own(base: &str, wanted: &[&str]) -> bool {
    wanted.contains(&OWN_BASE) && base.starts_with("ringfence.") && base.ends_with(".Plugin")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{PluginType, Runners, Types};
    use crate::{Config, Home};

    fn judged(described: Described, kind: Option<&str>, types: &Types) -> Result<(), Error> {
        let mut manifest: Manifest = serde_json::from_value(serde_json::json!({
            "name": "p", "version": "1.0.0", "runtime": "python", "entry_point": "p:C"
        }))
        .unwrap();
        manifest.plugin_type = kind.map(str::to_owned);
        let (home, config, runners) = (Home::at("/nowhere"), Config::default(), Runners::default());
        judge(&described, &manifest, &World { home: &home, config: &config, runners: &runners, types })
    }

    fn class(bases: &[&str]) -> Described {
        Described {
            class_found: true,
            bases: bases.iter().map(|base| (*base).to_owned()).collect(),
            ..Described::default()
        }
    }

    #[test]
    fn a_class_must_exist_and_derive_from_what_its_type_says() {
        let types = Types::from([("filter".to_owned(), PluginType::new("app.Filter"))]);
        let message = |result: Result<(), Error>| result.unwrap_err().message().to_owned();
        assert!(judged(class(&["ringfence._plugin.Plugin"]), None, &types).is_ok());
        assert!(judged(class(&["app.Filter"]), Some("filter"), &types).is_ok());
        assert!(judged(class(&[]), Some("filter"), &Types::new()).is_ok(), "nobody knows its base class");
        assert!(judged(class(&[]), None, &Types::new()).is_err());
        assert!(message(judged(class(&["ringfence.Plugin"]), Some("filter"), &types)).contains("app.Filter"));
        assert!(message(judged(class(&["object"]), None, &types)).contains("does not derive"));
        assert!(message(judged(class(&[]), Some("other"), &types)).contains("no plugin type 'other'"));
        assert!(message(judged(Described::default(), None, &types)).contains("does not exist"));
        let broken = Described { error: Some("SyntaxError: x".to_owned()), ..Described::default() };
        assert!(message(judged(broken, None, &types)).contains("SyntaxError"));
    }
}
