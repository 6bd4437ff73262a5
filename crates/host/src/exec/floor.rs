//! What paths mean on this machine: where `~` is, and whose secrets no wildcard opens.
//!
//! A grant outlives the environment in which it was given: the same plugin is started from a terminal and by a service that
//! has no `HOME`. So the home directory that the system knows for this user is on the floor, whatever `HOME` says.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ringfence_api::ErrorCode;
use ringfence_policy::{CanonicalPath, Vars};
use ringfence_sandbox::Resolved;

use crate::error::Error;
use crate::exec::request::Exec;
use crate::exec::translate::canonical;

/// Where the system keeps its users, passwd(5).
const PASSWD: &str = "/etc/passwd";
/// The first user id of people, `UID_MIN` in login.defs(5).
const FIRST_PERSON: u32 = 1000;
/// The user that stands for none.
const NOBODY: u32 = 65534;

/// What the paths of a request mean.
///
/// # Errors
/// `not_enforceable` when files are granted and nobody knows this user's home; `io` when the system's users cannot be read;
/// `usage` for a directory that is no absolute path.
pub(super) fn vars(exec: &Exec, directory: &Path) -> Result<Vars, Error> {
    let mut vars = Vars::new(canonical(directory)?);
    // The floor matters only to rules and to what is said of them; a run without any does not pay for building it.
    if !has_rules(exec) && !exec.explain {
        return Ok(vars);
    }
    let users = Users::of_this_machine()?;
    let named = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    if named.is_none() && users.own.is_none() && names_files(exec) {
        return Err(Error::new(
            ErrorCode::NotEnforceable,
            format!("the home directory of this user is unknown: HOME is not set, and {PASSWD} has no line for it; its keys could not be kept out"),
        )
        .with_hint("set HOME to an absolute path"));
    }
    let home = named.as_ref().or(users.own.as_ref());
    if let Some(real) = home.and_then(|home| Resolved::find(home).ok()) {
        vars = vars.with_home(canonical(real.path())?);
    }
    for home in named.iter().chain(&users.own).chain(&users.others) {
        let real = Resolved::find(home).ok().map(|found| found.path().to_owned());
        for home in [Some(home.clone()), real].into_iter().flatten() {
            if let Ok(home) = CanonicalPath::new(&home) {
                vars = vars.with_other_home(&home);
            }
        }
    }
    if let Some(home) = &exec.home {
        let state = home.path();
        let real = Resolved::find(state).map_or_else(|_| state.to_owned(), |found| found.path().to_owned());
        if let Ok(state) = CanonicalPath::new(&real) {
            vars = vars.with_state(state);
        }
    }
    if let Some(Some(data)) = &exec.plugin {
        vars = vars.with_data(canonical(data)?);
    }
    Ok(if names_files(exec) || exec.explain { with_links(vars) } else { vars })
}

fn has_rules(exec: &Exec) -> bool {
    [exec.grants.len(), exec.denials.len(), exec.read.len(), exec.read_write.len()]
        .iter()
        .any(|count| *count > 0)
}

fn names_files(exec: &Exec) -> bool {
    let about_files = |text: &String| text.trim_start().starts_with("file:");
    !exec.read.is_empty() || !exec.read_write.is_empty() || exec.grants.iter().any(about_files)
}

/// A protected path that is a link protects what it leads to as well: people keep `~/.ssh` or `~/.bashrc` elsewhere and
/// link to it.
pub(super) fn with_links(mut vars: Vars) -> Vars {
    let links: Vec<CanonicalPath> = vars
        .floor()
        .paths()
        .filter(|path| path.as_path().symlink_metadata().is_ok())
        .filter_map(|path| Resolved::find(path.as_path()).ok().filter(|found| found.path() != path.as_path()))
        .filter_map(|found| CanonicalPath::new(found.path()).ok())
        .collect();
    for real in links {
        vars = vars.with_state(real);
    }
    vars
}

/// The home directories that the system knows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Users {
    /// That of the user of this process.
    own: Option<PathBuf>,
    /// Those of other people, for root: whoever may read every home must not open the keys in them by a wildcard.
    others: Vec<PathBuf>,
}

impl Users {
    fn of_this_machine() -> Result<Self, Error> {
        match std::fs::read(PASSWD) {
            Ok(text) => Ok(Self::read(&text, ringfence_sandbox::user_id())),
            // A machine without users: a small container.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::file("read", Path::new(PASSWD), error)),
        }
    }

    fn read(text: &[u8], uid: u32) -> Self {
        let mut users = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            let [_, _, id, _, _, home, ..] = fields[..] else { continue };
            let Some(id) = std::str::from_utf8(id).ok().and_then(|id| id.parse::<u32>().ok()) else {
                continue;
            };
            let home = PathBuf::from(OsStr::from_bytes(home));
            if !home.is_absolute() {
                continue;
            }
            if id == uid {
                users.own.get_or_insert(home);
            } else if uid == 0 && is_a_persons(id, &home) {
                users.others.push(home);
            }
        }
        users
    }
}

/// Services have homes such as `/` and `/var/www`, which hold no keys and are granted as a whole.
fn is_a_persons(id: u32, home: &Path) -> bool {
    let usual = ["/home", "/root", "/Users"].iter().any(|parent| home.starts_with(parent));
    usual || (id >= FIRST_PERSON && id != NOBODY && home != Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/no\nada:x:1000:1000::/srv/ada:/bin/sh\n\
        ben:x:500:500::/home/ben:/bin/sh\nnobody:x:65534:65534::/nonexistent:/no\nodd\n:::\nrel:x:1001:1001::home:/bin/sh\n";

    #[test]
    fn root_protects_the_homes_of_people_wherever_they_are_and_not_those_of_services() {
        let users = Users::read(LINES, 0);
        assert_eq!(users.own, Some(PathBuf::from("/root")));
        assert_eq!(users.others, [PathBuf::from("/srv/ada"), PathBuf::from("/home/ben")]);
    }

    #[test]
    fn others_protect_their_own_home() {
        let own = |uid| Users::read(LINES, uid);
        assert_eq!(own(1000), Users { own: Some(PathBuf::from("/srv/ada")), others: Vec::new() });
        assert_eq!(own(33).own, Some(PathBuf::from("/var/www")));
        assert_eq!(own(4711), Users::default());
    }
}
