//! How much a plugin's private data directory holds, looked at while the plugin works.
//!
//! Direct writes go past the host, so they can only be looked at: every [`LOOK_EVERY`] while the plugin uses the processor,
//! and less often where a look takes long. What is written between two looks may overshoot the quota; one that is over it is
//! stopped. The tree is the plugin's to write, so it is walked by descriptor and no link is followed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringfence_sandbox::tree::{Dir, EntryKind};

/// How often a directory is looked at while its plugin works (DESIGN 6).
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A look may take this share of the time between two, in percent: a directory that takes long is looked at less often.
const SHARE_PERCENT: u32 = 10;
/// Directories below each other; a deeper tree counts as over the quota, since nobody needs it and each level costs a
/// descriptor.
const DEPTH_MAX: usize = 128;

/// What a directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Bytes on the disk, holes not counted; an empty file counts nothing.
    pub(crate) bytes: u64,
    /// Files, directories and everything else.
    pub(crate) files: u64,
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
        if held.bytes > self.bytes {
            return Some(format!(
                "its data directory holds {} bytes; {} is the most",
                held.bytes, self.bytes
            ));
        }
        (held.files > self.files)
            .then(|| format!("its data directory holds {} files; {} is the most", held.files, self.files))
    }
}

/// Counts what is in a directory; stops as soon as it is over what is allowed.
///
/// # Errors
/// When the directory itself cannot be opened. What disappears meanwhile, or cannot be opened below, is not counted.
pub(crate) fn measure(directory: &Path, allowed: Allowed) -> io::Result<Held> {
    let mut held = Held::default();
    add(&Dir::open_no_follow(directory)?, allowed, &mut held, DEPTH_MAX);
    Ok(held)
}

fn add(dir: &Dir, allowed: Allowed, held: &mut Held, depth: usize) {
    let room = usize::try_from(allowed.files.saturating_sub(held.files)).unwrap_or(usize::MAX);
    let names = match dir.names(room.saturating_add(1)) {
        Ok(names) if depth > 0 => names,
        // More names than there is room for, or deeper than anybody needs: that is enough to know.
        _ => return held.files = allowed.files.saturating_add(1),
    };
    for name in names {
        let Ok(status) = dir.status(&name) else { continue };
        held.files += 1;
        held.bytes = held.bytes.saturating_add(status.allocated);
        if allowed.judge(*held).is_some() {
            return;
        }
        if status.kind == EntryKind::Directory
            && let Ok(below) = dir.open_dir(&name)
        {
            add(&below, allowed, held, depth - 1);
        }
    }
}

/// Looks until it is over, or until dropped. `cpu_ms` is what the plugin has used so far: one that uses nothing writes
/// nothing, and is not looked at.
///
/// Cancel safe.
pub(crate) async fn watch(directory: Arc<Path>, allowed: Allowed, cpu_ms: Arc<AtomicU64>) -> String {
    let mut seen_ms = u64::MAX;
    let mut pause = LOOK_EVERY;
    loop {
        tokio::time::sleep(pause).await;
        let used_ms = cpu_ms.load(Ordering::Relaxed);
        if used_ms == seen_ms {
            continue;
        }
        seen_ms = used_ms;
        let place = Arc::clone(&directory);
        let begun = Instant::now();
        let looked = tokio::task::spawn_blocking(move || measure(&place, allowed)).await;
        pause = LOOK_EVERY.max(begun.elapsed() * (100 / SHARE_PERCENT));
        match looked {
            Ok(Ok(held)) => {
                if let Some(why) = allowed.judge(held) {
                    return why;
                }
            }
            Ok(Err(error)) => return format!("its data directory cannot be looked at: {error}"),
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        }
    }
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
    fn a_hole_takes_no_room() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        assert!(measure(dir.path(), PLENTY).unwrap().bytes < 1 << 20);
    }
}
