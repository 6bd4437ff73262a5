//! What the kernel recorded of Landlock's denials, in the words of the report. A record is a fact; where a judgement said the
//! same, the record only names the layer of it.

use std::path::Path;

use ringfence_api::{Denial, PermissionName, UNKNOWN_OBJECT};
use ringfence_policy::{CanonicalPath, FileOp, Host, HostPattern, PathPattern};
use ringfence_sandbox::audit::KernelDenial;
use ringfence_sandbox::{Layer, Object, is_always_shown};

use super::grant_for;
use super::judge::{Act, KERNELS_OWN, Need, Place, is_private};
use crate::exec::translate::Translated;

/// What was refused, by the right that was missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    File(FileOp),
    Execute,
    Listen,
    Connect,
    /// No permission has it.
    Other,
}

/// Adds what the kernel recorded to what was judged.
pub(super) fn add(recorded: &[KernelDenial], translated: &Translated, judged: &mut Vec<Denial>) {
    for denial in recorded {
        let mut told = Vec::new();
        for blocker in &denial.blockers {
            let refused = refused(blocker);
            // One move lacks several rights that one grant has.
            if refused == Refused::Other || !told.contains(&refused) {
                told.push(refused);
                add_one(denial, blocker, refused, translated, judged);
            }
        }
    }
}

fn refused(blocker: &str) -> Refused {
    match blocker {
        "fs.execute" => Refused::Execute,
        "fs.read_file" | "fs.read_dir" => Refused::File(FileOp::Read),
        "fs.remove_file" | "fs.remove_dir" => Refused::File(FileOp::Delete),
        "net.bind_tcp" => Refused::Listen,
        "net.connect_tcp" => Refused::Connect,
        name if name.starts_with("fs.") => Refused::File(FileOp::Write),
        _ => Refused::Other,
    }
}

fn add_one(
    recorded: &KernelDenial,
    blocker: &str,
    refused: Refused,
    translated: &Translated,
    judged: &mut Vec<Denial>,
) {
    let operation = match refused {
        Refused::File(op) => op.permission().to_string(),
        Refused::Execute => PermissionName::SubprocessExecute.to_string(),
        Refused::Listen => "bind".to_owned(),
        Refused::Connect => "connect".to_owned(),
        Refused::Other => blocker.to_owned(),
    };
    let object = name(&recorded.object);
    let mut known = false;
    for denial in
        judged.iter_mut().filter(|denial| denial.operation == operation && is_of(denial, recorded, &object))
    {
        Layer::Landlock.name().clone_into(&mut denial.layer);
        known = true;
    }
    if known {
        return;
    }
    let (grant, warning) = grant(recorded, refused, translated);
    let count = recorded.count;
    judged.push(Denial { object, grant, warning, count, ..Denial::new(Layer::Landlock.name(), operation) });
}

/// Whether a denial is the one that was recorded about `object`. The kernel names the directory where a right over a
/// directory was missing; a judgement names the entry, and the directory in its grant.
fn is_of(denial: &Denial, recorded: &KernelDenial, object: &str) -> bool {
    match &recorded.object {
        Object::Path(path) => {
            let of_directory = |grant: &String| grant.ends_with(&format!("={object}/**"));
            denial.object == object
                || Path::new(&denial.object).parent() == Some(Path::new(path))
                    && denial.grant.as_ref().is_none_or(of_directory)
        }
        Object::Address(address) => port(&denial.object) == Some(address.port()),
        _ => denial.object == object,
    }
}

fn port(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

/// As people write it: an abstract socket's name begins with `@`.
fn name(object: &Object) -> String {
    match object {
        Object::Unknown => UNKNOWN_OBJECT.to_owned(),
        Object::Path(path) => {
            let text = path.to_string_lossy();
            text.strip_prefix('\0').map_or_else(|| text.to_string(), |name| format!("@{name}"))
        }
        object => object.to_string(),
    }
}

/// The narrowest grant that would allow it; none for what each sandbox has of its own.
fn grant(
    recorded: &KernelDenial,
    refused: Refused,
    translated: &Translated,
) -> (Option<String>, Option<String>) {
    let none = (None, None);
    let path = match &recorded.object {
        Object::Address(address) => {
            let name = match refused {
                Refused::Listen => PermissionName::NetworkListen,
                _ => PermissionName::NetworkRequest,
            };
            let pattern = HostPattern::exact(&Host::from(address.ip()), address.port());
            return (Some(format!("{name}={pattern}")), None);
        }
        Object::Path(path) => Path::new(path),
        _ => return none,
    };
    let own =
        is_always_shown(path) || is_private(path) || KERNELS_OWN.iter().any(|own| path.starts_with(own));
    let Ok(canonical) = CanonicalPath::new(path) else { return none };
    if own {
        return none;
    }
    // The kernel's own name, which has no link in it; whoever puts one there since must not be followed.
    let is_directory = path.symlink_metadata().is_ok_and(|seen| seen.is_dir());
    let place =
        if is_directory { Place::Directory(canonical.clone()) } else { Place::File(canonical.clone()) };
    match refused {
        Refused::File(op) => {
            let act = Act { need: Need::File(op), place, named: None, looks: false };
            grant_for(&act, op, &translated.rules, &translated.vars)
        }
        Refused::Execute => {
            let directory = if is_directory { Some(path) } else { path.parent() };
            let directory = directory.and_then(|directory| CanonicalPath::new(directory).ok());
            let of = |directory: CanonicalPath| {
                format!("{}={}", PermissionName::SubprocessExecute, PathPattern::subtree(&directory))
            };
            (directory.map(of), None)
        }
        Refused::Listen | Refused::Connect | Refused::Other => none,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Exec;
    use crate::exec::translate::translate;

    fn recorded(blockers: &[&str], object: Object) -> KernelDenial {
        let blockers = blockers.iter().map(|name| (*name).to_owned()).collect();
        KernelDenial { blockers, object, count: 3 }
    }

    fn added(
        recorded: &[KernelDenial],
        mut judged: Vec<Denial>,
    ) -> Vec<(String, String, String, Option<String>, u64)> {
        let translated = translate(&Exec::new(["true"])).unwrap();
        add(recorded, &translated, &mut judged);
        judged.into_iter().map(|one| (one.layer, one.operation, one.object, one.grant, one.count)).collect()
    }

    fn row(
        operation: &str,
        object: &str,
        grant: Option<&str>,
        count: u64,
    ) -> (String, String, String, Option<String>, u64) {
        ("landlock".to_owned(), operation.to_owned(), object.to_owned(), grant.map(str::to_owned), count)
    }

    #[test]
    fn each_right_has_its_permission() {
        let home = tempfile::tempdir_in("/var").unwrap();
        let directory = home.path().display().to_string();
        let file = format!("{directory}/file");
        std::fs::write(&file, "").unwrap();
        let path = |path: &str| Object::Path(path.into());
        let all = [
            recorded(&["fs.read_file"], path(&file)),
            recorded(&["fs.truncate"], path(&file)),
            recorded(&["fs.make_reg", "fs.refer"], path(&directory)),
            recorded(&["fs.remove_dir", "fs.refer"], path(&directory)),
            recorded(&["fs.execute"], path(&file)),
            recorded(&["net.connect_tcp"], Object::Address(([192, 0, 2, 1], 443).into())),
            recorded(&["scope.signal"], Object::Unknown),
            recorded(&["scope.abstract_unix_socket"], path("\0bus")),
            recorded(&["fs.read_file"], path("/proc/kcore")),
            recorded(&["fs.new_in_some_year"], path(&file)),
        ];
        let grant = |permission: &str, of: &str| format!("{permission}={of}");
        let below = format!("{directory}/**");
        assert_eq!(
            added(&all, Vec::new()),
            [
                row("file:read", &file, Some(&grant("file:read", &file)), 3),
                row("file:write", &file, Some(&grant("file:write", &file)), 3),
                row("file:write", &directory, Some(&grant("file:write", &below)), 3),
                row("file:delete", &directory, Some(&grant("file:delete", &below)), 3),
                row("subprocess:execute", &file, Some(&grant("subprocess:execute", &below)), 3),
                row("connect", "192.0.2.1:443", Some("network:request=192.0.2.1:443"), 3),
                row("scope.signal", "unknown", None, 3),
                row("scope.abstract_unix_socket", "@bus", None, 3),
                row("file:read", "/proc/kcore", None, 3),
            ]
        );
    }

    #[test]
    fn what_was_judged_already_only_learns_its_layer() {
        let judged = |operation: &str, object: &str, grant: &str| Denial {
            object: object.to_owned(),
            grant: Some(grant.to_owned()),
            ..Denial::new("mount", operation)
        };
        let known = vec![
            judged("file:delete", "/srv/a/b", "file:delete=/srv/a/**"),
            judged("bind", "127.0.0.1:83", "network:listen=127.0.0.1:83"),
            judged("file:read", "/srv/c", "file:read=/srv/c"),
        ];
        let all = [
            recorded(&["fs.remove_file"], Object::Path("/srv/a".into())),
            recorded(&["net.bind_tcp"], Object::Address(([0, 0, 0, 0], 83).into())),
        ];
        let found = added(&all, known);
        let layers: Vec<_> =
            found.iter().map(|(layer, .., grant, count)| (layer.as_str(), grant.is_some(), *count)).collect();
        assert_eq!(layers, [("landlock", true, 1), ("landlock", true, 1), ("mount", true, 1)]);
    }
}
