//! Which line of a program asked for a file, where its interpreter can say: Python and Node.js.
//!
//! A script of ours, which the interpreter loads first, asks the kernel for a name that is nowhere before each act on a path. In
//! that name it writes the line and the path, and the watcher reads it as it reads every other name. So there is no descriptor and
//! no message that a program could hold up, and what a program says is only ever shown: whatever it claims, no act is judged by it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ringfence_sandbox::{NOTES, Object, Plan, Processes};

use crate::exec::translate::lexical;

/// What a name that says something begins with. `/.ringfence` is a file in every sandbox, so nothing can be below it.
const SAID: &[u8] = b"/.ringfence/at/";
const PYTHON: (&str, &str) = ("python/sitecustomize.py", include_str!("python.py"));
const NODE: (&str, &str) = ("node.cjs", include_str!("node.cjs"));
/// How many paths are remembered, and the longest line that is shown.
const SITES_MAX: usize = 8192;
const LOCATION_MAX_BYTES: usize = 512;

/// Has interpreters say it: the one that is the program, or any where the program may start others.
pub(crate) fn ask(plan: &mut Plan) {
    let starts = plan.may_start() == Processes::Allowed;
    let is = |plan: &Plan, name: &[u8]| {
        let mut names = plan.program_files().filter_map(|file| file.path().file_name());
        names.any(|file| file.as_bytes().starts_with(name))
    };
    if starts || is(plan, b"python") {
        plan.note(PYTHON.0, PYTHON.1);
        put_first(plan, "PYTHONPATH", &format!("{NOTES}/python"), ":");
    }
    if starts || is(plan, b"node") {
        plan.note(NODE.0, NODE.1);
        put_first(plan, "NODE_OPTIONS", &format!("--require={NOTES}/{}", NODE.0), " ");
    }
}

/// Puts `first` before what the variable holds.
fn put_first(plan: &mut Plan, name: &str, first: &str, between: &str) {
    let mut value = OsString::from(first);
    if let Some(held) = plan.value_of(name) {
        value.push(between);
        value.push(held);
    }
    plan.variable(name, value);
}

/// What the program has said so far.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    of: HashMap<PathBuf, String>,
}

impl Sites {
    /// Whether the path is no act of the program but of the scripts that watch it; what it says is kept.
    pub(crate) fn take(&mut self, object: &Object) -> bool {
        let Object::Path(path) = object else { return false };
        if let Some(said) = path.as_bytes().strip_prefix(SAID) {
            if let Some((path, location)) = parse(said)
                && self.of.len() < SITES_MAX
            {
                self.of.entry(path).or_insert(location);
            }
            return true;
        }
        // What it comes to: by way of `..` from there anything can be named.
        lexical(Path::new(path)).starts_with(NOTES)
    }

    /// The line that asked for this path first.
    pub(crate) fn of(&self, object: &Object) -> Option<&String> {
        let Object::Path(path) = object else { return None };
        self.of.get(&lexical(Path::new(path)))
    }
}

/// `LINE/LENGTH/FILE` with a file of so many bytes, and the path behind it.
fn parse(said: &[u8]) -> Option<(PathBuf, String)> {
    let (line, rest) = number(said)?;
    let (length, rest) = number(rest)?;
    let (file, path) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    if file.is_empty() || file.len() > LOCATION_MAX_BYTES || !path.starts_with(b"/") {
        return None;
    }
    let location = format!("{}:{line}", String::from_utf8_lossy(file));
    Some((lexical(Path::new(OsStr::from_bytes(path))), location))
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| *byte == b'/')?;
    let (digits, rest) = (text.get(..end)?, text.get(end + 1..)?);
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(path: &str) -> Object {
        Object::Path(path.into())
    }

    #[test]
    fn what_is_said_of_a_path_is_told_with_it() {
        let mut sites = Sites::default();
        assert!(sites.take(&object("/.ringfence/at/12/11//srv/app.py/srv/./a b:1")));
        assert_eq!(sites.of(&object("/srv/a b:1")).map(String::as_str), Some("/srv/app.py:12"));
        assert!(sites.take(&object("/.ringfence/at/13/11//srv/app.py/srv/a b:1")));
        assert_eq!(sites.of(&object("/srv/a b:1")).unwrap(), "/srv/app.py:12", "the first one stays");
        assert_eq!(sites.of(&object("/srv/a")), None);
        assert!(sites.take(&object("/etc/ringfence/python/sitecustomize.py")));
        assert!(!sites.take(&object("/etc/passwd")));
        assert!(!sites.take(&object("/etc/ringfence/../../srv/secret")));
        assert!(!sites.take(&object("/.ringfence")));
    }

    #[test]
    fn what_is_no_such_sentence_says_nothing() {
        for wrong in [
            "", "/", "1", "1/", "x/1/a/b", "1/x/a/b", "1/99/a/b", "1/0//b", "1/1/ab", "-1/1/a/b", "+1/1/a/b",
            "1/1/a",
        ] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong:?}");
        }
        let long = format!("1/513/{}/b", "a".repeat(513));
        assert_eq!(parse(long.as_bytes()), None);
        let mut sites = Sites::default();
        for index in 0..SITES_MAX + 10 {
            assert!(sites.take(&object(&format!("/.ringfence/at/1/1/a/{index}"))));
        }
        assert_eq!(sites.of.len(), SITES_MAX);
    }
}
