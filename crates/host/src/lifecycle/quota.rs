//! How much a plugin's private data directory holds: before it starts, while it works, and after it has ended.
//!
//! Direct writes go past the host, so they can only be looked at. Before each start: a directory over its quota stays as it is
//! until somebody makes room, so no number of short calls gets further than one of them did. Every [`LOOK_EVERY`] while the
//! plugin uses the processor, and less often where a look takes long: what is written between two looks may overshoot the
//! quota; one that is over it is stopped. After each end, so that the excess of a short call is a violation like any other.
//!
//! Nothing is remembered from one look to the next: another process may run the same plugin, and a grant of another may reach
//! the directory. A look ends where the quota does, so the number of files bounds what it costs.
//!
//! The tree is the plugin's to write, so it is walked by descriptor and no link is followed; a directory that its owner may not
//! list is given that right, since nothing is hidden from its quota.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringfence_api::{ErrorCode, PluginName};
use tokio::sync::Semaphore;

use crate::service::PROCESSES_MAX;
use ringfence_sandbox::tree::{Dir, EntryKind};

use crate::Error;

/// How often a directory is looked at while its plugin works (ARCHITECTURE.md, "A plugin's start and its calls").
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A look may take this share of the time between two, in percent: a directory that takes long is looked at less often.
const SHARE_PERCENT: u32 = 10;
/// Directories below each other; a deeper tree counts as over the quota, since nobody needs it and each level costs a
/// descriptor.
const DEPTH_MAX: usize = 128;
/// Looks in a row that may fail, for want of descriptors for example, before the plugin is stopped.
const FAILED_LOOKS_MAX: u32 = 8;
/// How long the look after an end may take: whoever waits for the end waits for it too. A slower one is left to the next start.
const LAST_LOOK_LIMIT: Duration = Duration::from_secs(2);
/// The rights without which a directory cannot be looked into.
const READ_RIGHTS: u32 = 0o500;

/// What a directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Bytes on the disk, holes not counted; an empty file counts nothing.
    pub(crate) bytes: u64,
    /// Files, directories and everything else.
    pub(crate) files: u64,
    /// Whether directories nest deeper than anybody needs.
    pub(crate) too_deep: bool,
}

/// What it may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

impl Allowed {
    /// Why this is too much, if it is.
    pub(crate) fn judge(self, held: Held) -> Option<String> {
        let held_and_most = if held.bytes > self.bytes {
            format!("holds {} bytes; {}", held.bytes, self.bytes)
        } else if held.files > self.files {
            format!("holds {} files; {}", held.files, self.files)
        } else if held.too_deep {
            format!("nests more than {DEPTH_MAX} directories in one another; that")
        } else {
            return None;
        };
        Some(format!("its data directory {held_and_most} is the most"))
    }

    /// The setting that allows more of what is too much, if there is one.
    fn setting(self, held: Held) -> Option<&'static str> {
        match held {
            Held { bytes, .. } if bytes > self.bytes => Some("data_size"),
            Held { files, .. } if files > self.files => Some("data_keys"),
            _ => None,
        }
    }
}

/// Whether a plugin may start with what its data directory holds.
///
/// # Errors
/// `quota` when that is too much, with what makes room; `io` when it cannot be looked at.
pub(crate) fn admit(name: &PluginName, directory: &Path, allowed: Allowed) -> Result<(), Error> {
    let held = match measure(directory, allowed) {
        Ok(held) => held,
        // What is missing is told by whoever needs it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file("look at", directory, error)),
    };
    let Some(why) = allowed.judge(held) else { return Ok(()) };
    let raise =
        allowed.setting(held).map(|setting| format!(" or raise {setting} in [plugins] of config.toml,"));
    let hint = format!(
        "make room: remove files from '{}',{} then `ringfence activate {name}`; `ringfence uninstall {name}` removes them all",
        directory.display(),
        raise.unwrap_or_default()
    );
    Err(Error::new(ErrorCode::Quota, format!("{name} is not started: {why}")).with_hint(hint))
}

/// Counts what is in a directory; stops as soon as it is over what is allowed.
///
/// # Errors
/// When it, or a directory below, cannot be opened. What disappears meanwhile is not counted.
pub(crate) fn measure(directory: &Path, allowed: Allowed) -> io::Result<Held> {
    let mut held = Held::default();
    let parent = Dir::open_no_follow(directory.parent().unwrap_or(Path::new("/")))?;
    let name = directory.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    add(&parent.open_dir_with(name, READ_RIGHTS)?, allowed, &mut held, DEPTH_MAX)?;
    Ok(held)
}

/// What ends a walk that has seen enough.
fn enough() -> io::Error {
    io::ErrorKind::QuotaExceeded.into()
}

/// Counts the entries of one directory before it goes below, so that the names that wait are never more than what was counted.
fn add(dir: &Dir, allowed: Allowed, held: &mut Held, depth: usize) -> io::Result<()> {
    let mut below: Vec<OsString> = Vec::new();
    let listed = dir.each_name(|name| {
        held.files += 1;
        // What is gone again by now takes no room; what cannot be looked at is at least a file.
        if let Ok(status) = dir.status(name) {
            held.bytes = held.bytes.saturating_add(status.allocated);
            if status.kind == EntryKind::Directory {
                below.push(name.to_owned());
            }
        }
        if allowed.judge(*held).is_some() { Err(enough()) } else { Ok(()) }
    });
    match listed {
        Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => return Ok(()),
        listed => listed?,
    }
    for name in below {
        let Some(depth) = depth.checked_sub(1) else {
            held.too_deep = true;
            return Ok(());
        };
        match dir.open_dir_with(&name, READ_RIGHTS) {
            Ok(inner) => add(&inner, allowed, held, depth)?,
            // It was removed, or something else has its name.
            Err(_) if dir.status(&name).map_or(true, |seen| seen.kind != EntryKind::Directory) => {}
            Err(error) => return Err(error),
        }
        if allowed.judge(*held).is_some() {
            return Ok(());
        }
    }
    Ok(())
}

/// Looks until it is over, or until dropped. `cpu_ms` is what the plugin has used so far: one that uses nothing writes
/// nothing, and is not looked at unless one of its `programs` runs beside it.
///
/// Cancel safe.
pub(crate) async fn watch(
    directory: Arc<Path>,
    allowed: Allowed,
    cpu_ms: Arc<AtomicU64>,
    programs: Arc<Semaphore>,
) -> String {
    let mut seen_ms = u64::MAX;
    let mut pause = LOOK_EVERY;
    let mut failed = 0;
    loop {
        tokio::time::sleep(pause).await;
        let used_ms = cpu_ms.load(Ordering::Relaxed);
        if used_ms == seen_ms && programs.available_permits() >= PROCESSES_MAX {
            continue;
        }
        let place = Arc::clone(&directory);
        let begun = Instant::now();
        let looked = tokio::task::spawn_blocking(move || measure(&place, allowed)).await;
        pause = LOOK_EVERY.max(begun.elapsed() * (100 / SHARE_PERCENT));
        match looked {
            Ok(Ok(held)) => {
                (seen_ms, failed) = (used_ms, 0);
                if let Some(why) = allowed.judge(held) {
                    return why;
                }
            }
            Ok(Err(_)) if failed < FAILED_LOOKS_MAX => failed += 1,
            Ok(Err(error)) => return format!("its data directory cannot be looked at: {error}"),
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Looks once, after the plugin has ended; why it is too much, if it is and was found within [`LAST_LOOK_LIMIT`].
pub(crate) async fn last_look(directory: Arc<Path>, allowed: Allowed) -> Option<String> {
    let look = tokio::task::spawn_blocking(move || measure(&directory, allowed));
    let held = tokio::time::timeout(LAST_LOOK_LIMIT, look).await.ok()?.ok()?.ok()?;
    allowed.judge(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Allowed = Allowed { bytes: 1 << 30, files: 1000 };

    #[test]
    fn files_are_counted_below_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("big"), vec![1; 1 << 20]).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/file"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        let held = measure(dir.path(), PLENTY).unwrap();
        assert_eq!(held.files, 4);
        assert!(held.bytes >= 100_000 && held.bytes < 1 << 20, "{held:?}");
        let link = dir.path().join("link");
        assert!(measure(&link, PLENTY).is_err(), "not even at the top");
    }

    #[test]
    fn too_much_is_known_without_counting_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..50 {
            std::fs::write(dir.path().join(format!("{number}")), vec![1; 8192]).unwrap();
        }
        let few = Allowed { bytes: 1 << 30, files: 10 };
        let why = few.judge(measure(dir.path(), few).unwrap()).unwrap();
        assert_eq!(why, "its data directory holds 11 files; 10 is the most");
        let small = Allowed { bytes: 20_000, files: 1000 };
        assert!(small.judge(measure(dir.path(), small).unwrap()).unwrap().contains("20000 is the most"));
        assert_eq!(PLENTY.judge(measure(dir.path(), PLENTY).unwrap()), None);
    }

    #[test]
    fn a_tree_that_is_too_deep_is_over_the_quota_and_one_level_less_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let deepest = dir.path().join(vec!["d"; DEPTH_MAX].join("/"));
        std::fs::create_dir_all(&deepest).unwrap();
        assert_eq!(PLENTY.judge(measure(dir.path(), PLENTY).unwrap()), None);
        std::fs::create_dir(deepest.join("d")).unwrap();
        let why = PLENTY.judge(measure(dir.path(), PLENTY).unwrap()).unwrap();
        assert!(why.contains("more than 128 directories"), "{why}");
    }

    #[test]
    fn a_refused_start_says_what_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("keeper");
        let name: PluginName = "keeper".parse().unwrap();
        assert!(admit(&name, &data, PLENTY).is_ok(), "a missing directory is the start's to tell");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("file"), vec![1; 8192]).unwrap();
        assert!(admit(&name, &data, PLENTY).is_ok());
        for (allowed, setting) in
            [(Allowed { bytes: 1, files: 9 }, "data_size"), (Allowed { bytes: 9999, files: 0 }, "data_keys")]
        {
            let error = admit(&name, &data, allowed).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Quota);
            let hint = error.hint().unwrap();
            for part in
                [setting, data.to_str().unwrap(), "ringfence activate keeper", "ringfence uninstall keeper"]
            {
                assert!(hint.contains(part), "{part}: {hint}");
            }
        }
    }

    /// Prints what a look costs on this machine; it promises nothing.
    #[test]
    #[ignore = "a measurement"]
    fn figures() {
        let dir = tempfile::tempdir().unwrap();
        let wide = Allowed { bytes: u64::MAX, files: 100_000 };
        for count in [100, 10_000, 99_000] {
            for number in 0..count {
                let sub = dir.path().join(format!("{}", number / 1000));
                std::fs::create_dir_all(&sub).unwrap();
                std::fs::write(sub.join(format!("{number}")), "").unwrap();
            }
            let begun = Instant::now();
            let held = measure(dir.path(), wide).unwrap();
            println!("{} files: {:?}", held.files, begun.elapsed());
        }
    }

    #[test]
    fn a_hole_takes_no_room() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        assert!(measure(dir.path(), PLENTY).unwrap().bytes < 1 << 20);
    }
}
