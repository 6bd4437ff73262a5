//! A fresh place for one run: what is granted, what is secret, a home, and who owns it all.

use crate::rig::{Rig, rig};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The ordinary user that root tests run as.
pub(crate) const NOBODY: u32 = 65534;

/// Who starts the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// uid 0.
    Root,
    /// uid and gid 65534, set by the harness, which is root.
    Nobody,
    /// The ordinary user who runs the tests.
    Me,
}

impl Who {
    /// The uid that the product is started with.
    #[must_use]
    pub fn uid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Nobody => NOBODY,
            Self::Me => crate::host_uid(),
        }
    }
}

/// Everyone a case runs as: root and 65534 when the tests run as root, else only the user who runs them.
#[must_use]
pub fn users() -> Vec<Who> {
    if crate::lacks("root") { vec![Who::Me] } else { vec![Who::Root, Who::Nobody] }
}

/// How limits are held, forced through `RINGFENCE_LIMITS_BACKEND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// cgroup version 1.
    V1,
    /// cgroup version 2.
    V2,
    /// Resource limits and a sampler, where no cgroup can be written.
    Sampler,
}

impl Backend {
    /// The word for the environment.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::V1 => "cgroup-v1",
            Self::V2 => "cgroup-v2",
            Self::Sampler => "sampler",
        }
    }
}

/// The back-ends that `who` can use here; the others are named as skipped (and fail if promised).
///
/// As root, a delegated version 1 directory is made for 65534, so that an ordinary user's cgroups are tested too.
#[must_use]
pub fn backends(who: Who) -> Vec<Backend> {
    let mut found = vec![Backend::Sampler];
    if !crate::lacks("cgroup-v1") {
        if who == Who::Root || delegated(who.uid()) {
            found.push(Backend::V1);
        } else {
            crate::missing("cgroup-v1-delegated", "no directory of an ordinary user's can be made");
        }
    }
    if !crate::lacks("cgroup-v2") {
        if who == Who::Root {
            found.push(Backend::V2);
        } else {
            // The service manager delegates it, and here is none; the library's tests force it where it is.
            crate::missing("cgroup-v2-delegated", "no directory of an ordinary user's can be made");
        }
    }
    found
}

/// Where the product looks for the cgroups (version 1) of an ordinary user.
pub(crate) fn delegated_dirs(uid: u32) -> [PathBuf; 3] {
    ["memory", "pids", "cpu"]
        .map(|controller| PathBuf::from(format!("/sys/fs/cgroup/{controller}/ringfence-{uid}")))
}

fn delegated(uid: u32) -> bool {
    delegated_dirs(uid).iter().all(|dir| {
        if crate::host_uid() == 0 && dir.parent().is_some_and(Path::is_dir) {
            // It may be there from an earlier run, or made by a test beside this one.
            std::fs::create_dir(dir).ok();
            let mine = |path: &Path| chown(path, Some(uid), Some(uid)).is_ok();
            return mine(dir) && mine(&dir.join("cgroup.procs")) && mine(&dir.join("tasks"));
        }
        dir.metadata().is_ok_and(|meta| meta.uid() == uid)
    })
}

/// The mount of cgroup version 2 when it offers the memory and pids controllers.
pub(crate) fn v2_mount() -> Option<PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].iter().map(PathBuf::from).find(|dir| {
        std::fs::read_to_string(dir.join("cgroup.controllers"))
            .is_ok_and(|line| line.contains("memory") && line.contains("pids"))
    })
}

/// Holds back other tests that need the machine for themselves.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a tree holds: a path, and everything about it that an attack could change.
pub type Snapshot = BTreeMap<PathBuf, String>;

/// Takes the snapshot of a tree; access times are left out.
#[must_use]
pub fn hold_still(root: &Path) -> Snapshot {
    let mut all = Snapshot::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let Ok(meta) = path.symlink_metadata() else { continue };
        let mut hash = DefaultHasher::new();
        if meta.is_file() {
            std::fs::read(&path).unwrap_or_default().hash(&mut hash);
        } else if meta.is_symlink() {
            std::fs::read_link(&path).unwrap_or_default().hash(&mut hash);
        } else if meta.is_dir() {
            todo.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        let line = format!(
            "mode={:o} uid={} gid={} size={} nlink={} mtime={}.{} hash={:x}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            if meta.is_dir() { 0 } else { meta.len() },
            meta.nlink(),
            meta.mtime(),
            meta.mtime_nsec(),
            hash.finish()
        );
        all.insert(path, line);
    }
    all
}

/// The paths that differ between two snapshots.
pub(crate) fn changes(before: &Snapshot, after: &Snapshot) -> Vec<PathBuf> {
    let differ = |path: &&PathBuf| before.get(*path) != after.get(*path);
    let mut all: Vec<PathBuf> = before.keys().chain(after.keys()).filter(differ).cloned().collect();
    all.dedup();
    all
}

/// A fresh world. Layout: `data/grant` (what cases grant), `data/grant-secret` (its prefix sibling), `data/secret`
/// (never granted unless a case says so), `home` (HOME, with the product's state in `home/state`), `tmp`, `out`.
/// Dropped, it kills by pid whatever still carries its marker, and removes its files.
#[derive(Debug)]
pub struct World {
    dir: tempfile::TempDir,
    /// Who runs the product here.
    pub who: Who,
    /// A random word that is only in secret places: if it shows up in output, something leaked.
    pub canary: String,
    /// A word that every process of this world carries.
    pub marker: String,
}

impl World {
    /// Makes a world whose files belong to `who`.
    ///
    /// # Panics
    /// When the files cannot be made.
    #[must_use]
    pub fn new(who: Who) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let dir = tempfile::Builder::new().prefix("w").tempdir_in(rig().worlds()).expect("a world");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut hash = DefaultHasher::new();
        (dir.path(), std::time::SystemTime::now()).hash(&mut hash);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let marker = format!("rfmark{}x{count}x", std::process::id());
        let world = Self { dir, who, canary: format!("canary{:016x}", hash.finish()), marker };
        for name in
            ["data", "data/grant", "data/grant/sub", "data/secret", "data/secret/dir", "data/grant-secret"]
        {
            world.mkdir(name);
        }
        for name in ["home", "home/.ssh", "home/state", "home/work", "tmp", "out"] {
            world.mkdir(name);
        }
        world.put("data/grant/file.txt", &"inside ".repeat(600));
        world.put("data/grant/sub/inner.txt", "inner");
        world.put("data/secret/canary.txt", &format!("{} ", world.canary).repeat(200));
        world.put("data/grant-secret/canary.txt", &world.canary);
        world.put("home/.ssh/id_ed25519", &world.canary);
        world.put("home/.bashrc", &world.canary);
        world.put("home/state/token", &world.canary);
        world.put("home/work/plain.txt", "plain");
        world
    }

    /// The shared set-up.
    #[must_use]
    pub fn rig(&self) -> &'static Rig {
        rig()
    }

    /// A path of this world.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a directory that belongs to this world's user.
    pub fn mkdir(&self, name: &str) {
        std::fs::create_dir(self.path(name)).unwrap();
        self.own(&self.path(name));
    }

    /// Writes a file that belongs to this world's user.
    pub fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        self.own(&self.path(name));
    }

    /// Copies the probe to `name` and makes it a program.
    pub fn put_probe(&self, name: &str) {
        self.put_program(&rig().probe(), name);
    }

    /// Copies a program to `name`; it belongs to this world's user.
    pub fn put_program(&self, from: &Path, name: &str) {
        crate::rig::copy_program(from, &self.path(name));
        self.own(&self.path(name));
    }

    /// Makes a script that this world's user may run.
    pub fn put_script(&self, name: &str, text: &str) {
        let draft = self.path("out").join("draft");
        std::fs::write(&draft, self.fill(text)).unwrap();
        self.put_program(&draft, name);
        std::fs::remove_file(draft).unwrap();
    }

    /// Makes a symbolic link; `target` may hold placeholders.
    pub fn symlink(&self, target: &str, name: &str) {
        std::os::unix::fs::symlink(self.fill(target), self.path(name)).unwrap();
        self.own(&self.path(name));
    }

    /// Gives the path to this world's user.
    pub fn own(&self, path: &Path) {
        if self.who == Who::Nobody {
            lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// Reads a file of this world as text; empty when it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        std::fs::read(self.path(name))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Puts this world's values in place of `{grant}`, `{secret}`, `{data}`, `{home}`, `{world}`, `{probe}`, `{bin}`,
    /// `{canary}`, `{marker}` and `{uid}`.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        let shown = |path: PathBuf| path.to_string_lossy().into_owned();
        text.replace("{grant}", &shown(self.path("data/grant")))
            .replace("{secret}", &shown(self.path("data/secret")))
            .replace("{data}", &shown(self.path("data")))
            .replace("{home}", &shown(self.path("home")))
            .replace("{world}", &shown(self.dir.path().to_owned()))
            .replace("{probe}", &shown(rig().probe()))
            .replace("{bin}", &shown(rig().bin()))
            .replace("{canary}", &self.canary)
            .replace("{marker}", &self.marker)
            .replace("{uid}", &self.who.uid().to_string())
    }

    /// The snapshot of everything that a denied act must leave alone.
    #[must_use]
    pub fn still(&self) -> Snapshot {
        let mut all = hold_still(&self.path("data"));
        for name in ["home/.ssh", "home/.bashrc", "home/state/token", "home/work"] {
            all.extend(hold_still(&self.path(name)));
        }
        all
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (pid, _) in crate::alive_with_marker(&self.marker) {
            let _gone = crate::kill(pid, 9);
        }
    }
}

/// A host service that must not hear a byte from inside: counts what arrives.
#[derive(Debug)]
pub struct Listener {
    /// The port, where there is one.
    pub port: u16,
    heard: Arc<AtomicUsize>,
}

impl Listener {
    /// Listens on a loopback TCP port of the host.
    #[must_use]
    pub fn tcp() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                hear(stream, &count);
            }
        });
        Self { port, heard }
    }

    /// Listens on a loopback UDP port of the host.
    #[must_use]
    pub fn udp() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                count.fetch_add(length, Ordering::SeqCst);
            }
        });
        Self { port, heard }
    }

    /// Listens on a unix socket at `path`, which everyone may connect to.
    #[must_use]
    pub fn unix(path: &Path) -> Self {
        let socket = UnixListener::bind(path).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                hear(stream, &count);
            }
        });
        Self { port: 0, heard }
    }

    /// How many bytes arrived, after a moment for those on the way; a bare connect counts as one.
    #[must_use]
    pub fn heard(&self) -> usize {
        for _ in 0..20 {
            if self.heard.load(Ordering::SeqCst) > 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.heard.load(Ordering::SeqCst)
    }
}

fn hear(mut stream: impl Read + Send + 'static, count: &Arc<AtomicUsize>) {
    count.fetch_add(1, Ordering::SeqCst);
    let count = Arc::clone(count);
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            count.fetch_add(length, Ordering::SeqCst);
        }
    });
}
