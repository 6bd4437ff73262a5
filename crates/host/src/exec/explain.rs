//! What a sandbox enforced and refused, in the words of the report: layers by name, denials with the grant that would help.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use ringfence_api::{Denial, EnforcedLayer, UNKNOWN_OBJECT};
use ringfence_policy::{CanonicalPath, FileOp, Host, HostPattern, PathPattern, Request, RuleSet};
use ringfence_sandbox::{Layer, Object, Observation, Refusal, Report, Sandbox};

use crate::exec::translate::{Translated, lexical};

/// How many denials a report lists.
const DENIALS_MAX: usize = 256;

/// The layers that were proven, each with what holds it.
pub(crate) fn enforced(report: &Report) -> BTreeMap<String, EnforcedLayer> {
    let describe = |layer| match layer {
        Layer::User | Layer::Mount | Layer::Pid | Layer::Ipc | Layer::Uts | Layer::Cgroup => {
            EnforcedLayer::by("namespace")
        }
        Layer::Network if report.shared_network => {
            EnforcedLayer::by("namespace").with_detail("empty, shared between sandboxes")
        }
        Layer::Network => EnforcedLayer::by("namespace").with_detail("empty"),
        Layer::Landlock => EnforcedLayer::by("landlock").with_detail(format!("ABI {}", report.landlock_abi)),
        Layer::Seccomp => EnforcedLayer::by("seccomp").with_detail("allow-list"),
        Layer::Limits => EnforcedLayer::by(report.limits_by.map_or("rlimits", |backend| backend.name())),
        _ => EnforcedLayer::by("kernel"),
    };
    report.layers.iter().map(|layer| (layer.name().to_owned(), describe(layer))).collect()
}

/// Every refusal that is known, equal ones counted together.
pub(crate) fn denials(sandbox: &Sandbox, translated: &Translated) -> Vec<Denial> {
    let mut all: Vec<Denial> = sandbox.refusals().map(refused).collect();
    for observation in sandbox.observations() {
        for denial in out_of_reach(observation, &translated.rules, translated.left_directory.as_deref()) {
            let same =
                |known: &&mut Denial| known.operation == denial.operation && known.object == denial.object;
            if let Some(known) = all.iter_mut().find(same) {
                known.count += 1;
            } else if all.len() < DENIALS_MAX {
                all.push(denial);
            }
        }
    }
    if sandbox.lost() > 0 {
        all.push(Denial {
            layer: Layer::Seccomp.name().to_owned(),
            operation: "more".to_owned(),
            object: UNKNOWN_OBJECT.to_owned(),
            grant: None,
            count: sandbox.lost(),
        });
    }
    all
}

fn refused(refusal: &Refusal) -> Denial {
    let object = match &refusal.object {
        Object::Unknown => UNKNOWN_OBJECT.to_owned(),
        object => object.to_string(),
    };
    let grant = match (&refusal.object, refusal.operation) {
        (Object::Address(address), _) => {
            let pattern = HostPattern::exact(&Host::from(address.ip()), address.port());
            Some(format!("network:request={pattern}"))
        }
        (Object::Path(path), "connect") => socket_grant(Path::new(path)),
        (_, "fork" | "vfork" | "clone" | "execve" | "execveat") => Some("subprocess:execute".to_owned()),
        _ => None,
    };
    Denial {
        layer: refusal.layer.name().to_owned(),
        operation: refusal.operation.to_owned(),
        object,
        grant,
        count: refusal.count,
    }
}

/// A socket itself cannot be granted: it can be reached where its directory may be written.
fn socket_grant(path: &Path) -> Option<String> {
    let directory = CanonicalPath::new(path.parent()?).ok()?;
    Some(format!("{}={}", FileOp::Write.permission(), PathPattern::subtree(&directory)))
}

/// What of an observed call the mounts kept away: a path that exists on the host (or whose directory does, for what
/// would create it) and that no rule allows.
///
/// `left` is the caller's directory when the command was started in /tmp instead: a relative name means something there.
fn out_of_reach(observation: &Observation, rules: &RuleSet, left: Option<&Path>) -> Vec<Denial> {
    let path = meant(lexical(Path::new(&observation.path)), left);
    // The private /tmp hides the host's, of which things can be granted.
    if ringfence_sandbox::is_always_shown(&path) && !path.starts_with("/tmp") {
        return Vec::new();
    }
    let Some(real) = on_the_host(&path) else { return Vec::new() };
    let Ok(canonical) = CanonicalPath::new(&real) else { return Vec::new() };
    operations(observation)
        .into_iter()
        .filter(|op| *op != FileOp::Read || real.symlink_metadata().is_ok())
        .filter(|_| !path.starts_with("/tmp") || real.symlink_metadata().is_ok())
        .filter_map(|op| {
            let request = Request::File { op, path: canonical.clone() };
            let decision = rules.decide(&request);
            (!decision.is_allowed()).then(|| Denial {
                layer: Layer::Mount.name().to_owned(),
                operation: op.permission().to_string(),
                object: real.display().to_string(),
                grant: decision.grant(),
                count: 1,
            })
        })
        .collect()
}

/// What a name in /tmp stands for if the command was written for the directory `left`.
fn meant(path: PathBuf, left: Option<&Path>) -> PathBuf {
    let Ok(name) = path.strip_prefix("/tmp") else { return path };
    let there = left.map(|left| left.join(name)).filter(|_| !name.as_os_str().is_empty());
    match there {
        Some(there) if path.symlink_metadata().is_err() && there.symlink_metadata().is_ok() => there,
        _ => path,
    }
}

/// The path without links: of the file itself, or of its directory if only that exists.
fn on_the_host(path: &Path) -> Option<PathBuf> {
    if let Ok(found) = ringfence_sandbox::Resolved::find(path) {
        return Some(found.path().to_owned());
    }
    let parent = ringfence_sandbox::Resolved::find(path.parent()?).ok()?;
    Some(parent.path().join(path.file_name().unwrap_or(OsStr::new(""))))
}

/// What a call wants to do with its path.
fn operations(observation: &Observation) -> Vec<FileOp> {
    const O_WRONLY: u32 = 1;
    const O_RDWR: u32 = 2;
    const O_CREAT: u32 = 0o100;
    const O_TRUNC: u32 = 0o1000;
    match observation.operation {
        "open" | "openat" => {
            let access = observation.flags & 3;
            let mut operations = Vec::new();
            if access != O_WRONLY {
                operations.push(FileOp::Read);
            }
            if access == O_WRONLY || access == O_RDWR || observation.flags & (O_CREAT | O_TRUNC) != 0 {
                operations.push(FileOp::Write);
            }
            operations
        }
        "creat" | "mkdir" | "mkdirat" | "truncate" | "symlinkat" | "chmod" | "fchmodat" => {
            vec![FileOp::Write]
        }
        "unlink" | "unlinkat" | "rmdir" | "rename" | "renameat" | "renameat2" => vec![FileOp::Delete],
        _ => vec![FileOp::Read],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_policy::{Effect, Rule, Vars};

    fn observed(operation: &'static str, path: &Path, flags: u32) -> Observation {
        Observation { operation, path: path.into(), flags }
    }

    #[test]
    fn only_what_exists_and_is_not_granted_is_a_denial() {
        // Not in /tmp, of which a sandbox has its own.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let dir_path = ringfence_sandbox::Resolved::find(dir.path()).unwrap().path().to_owned();
        let file = dir_path.join("a");
        std::fs::write(&file, "x").unwrap();
        let vars = Vars::new(CanonicalPath::root());
        let rules = |text: &str| RuleSet::new(vec![Rule::parse(Effect::Allow, text, &vars, "test").unwrap()]);
        let none = RuleSet::new(Vec::new());
        let denied = out_of_reach(&observed("openat", &file, 0), &none, None);
        assert_eq!(denied.len(), 1);
        assert_eq!(denied[0].grant, Some(format!("file:read={}", file.display())));
        assert!(out_of_reach(&observed("openat", &dir_path.join("missing"), 0), &none, None).is_empty());
        let granted = rules(&format!("file:read={}/**", dir_path.display()));
        assert!(out_of_reach(&observed("openat", &file, 0), &granted, None).is_empty());
        let write = out_of_reach(&observed("openat", &dir_path.join("new"), 0o101), &granted, None);
        assert_eq!((write.len(), write[0].operation.as_str()), (1, "file:write"));
        assert_eq!(out_of_reach(&observed("unlink", &file, 0), &granted, None)[0].operation, "file:delete");
        assert!(out_of_reach(&observed("openat", Path::new("/usr/nothing"), 0), &none, None).is_empty());
    }

    #[test]
    fn a_relative_name_is_looked_for_where_the_caller_was() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let left = ringfence_sandbox::Resolved::find(dir.path()).unwrap().path().to_owned();
        let name = left.file_name().unwrap().to_owned();
        std::fs::write(left.join(&name), "x").unwrap();
        let none = RuleSet::new(Vec::new());
        let inside = observed("openat", &Path::new("/tmp").join(&name), 0);
        let denied = out_of_reach(&inside, &none, Some(&left));
        assert_eq!(denied.len(), 1);
        assert_eq!(denied[0].grant, Some(format!("file:read={}", left.join(&name).display())));
        assert!(out_of_reach(&inside, &none, None).is_empty(), "its own /tmp was meant");
        let missing = observed("openat", Path::new("/tmp/missing"), 0);
        assert!(out_of_reach(&missing, &none, Some(&left)).is_empty());
    }
}
