//! What a pattern may refer to, and from which the floor follows.

use std::sync::Arc;

use crate::canonical_path::CanonicalPath;
use crate::floor::Floor;

/// The directories that `~`, `${data}` and relative patterns stand for, and what belongs to the floor.
///
/// The policy crate reads no environment and no files: whoever reads grants passes this in. Every rule
/// keeps the [`Floor`] that follows from it, so a decision without the floor cannot be made by accident.
///
/// ```
/// use ringfence_policy::{CanonicalPath, Vars};
///
/// let vars = Vars::new(CanonicalPath::new("/proj")?)
///     .with_home(CanonicalPath::new("/home/ada")?)
///     .with_data(CanonicalPath::new("/var/lib/ringfence/data/translator")?)
///     .with_state(CanonicalPath::new("/var/lib/ringfence")?);
/// assert!(vars.floor().holds(&CanonicalPath::new("/home/ada/.ssh/id_ed25519")?));
/// assert!(vars.floor().holds(&CanonicalPath::new("/var/lib/ringfence/audit.db")?));
/// # Ok::<(), ringfence_policy::CanonicalPathError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Vars {
    base_dir: CanonicalPath,
    home: Option<CanonicalPath>,
    data: Option<CanonicalPath>,
    floor: Arc<Floor>,
}

impl Vars {
    /// Variables with the directory that relative patterns are taken from (the working directory on the
    /// command line, the package in a manifest), no home and no data directory.
    #[must_use]
    pub fn new(base_dir: CanonicalPath) -> Self {
        Self { base_dir, home: None, data: None, floor: Arc::new(Floor::of_the_system()) }
    }

    /// The same with what `~` stands for. Its secrets join the floor.
    #[must_use]
    pub fn with_home(self, home: CanonicalPath) -> Self {
        let mut with = self.with_other_home(&home);
        with.home = Some(home);
        with
    }

    /// The same with the secrets of one more user on the floor, without changing `~`. For a service that
    /// runs as root, where `/home/**` would open everybody's keys.
    #[must_use]
    pub fn with_other_home(mut self, home: &CanonicalPath) -> Self {
        Arc::make_mut(&mut self.floor).add_home(home);
        self
    }

    /// The same with what `${data}` stands for: the plugin's private data directory.
    #[must_use]
    pub fn with_data(mut self, data: CanonicalPath) -> Self {
        self.data = Some(data);
        self
    }

    /// The same with one more path of Ringfence's own (home, sockets, keys, tokens) on the floor.
    #[must_use]
    pub fn with_state(mut self, path: CanonicalPath) -> Self {
        Arc::make_mut(&mut self.floor).add(path);
        self
    }

    /// What relative patterns are taken from.
    #[must_use]
    pub const fn base_dir(&self) -> &CanonicalPath {
        &self.base_dir
    }

    /// What `~` stands for.
    #[must_use]
    pub const fn home(&self) -> Option<&CanonicalPath> {
        self.home.as_ref()
    }

    /// What `${data}` stands for.
    #[must_use]
    pub const fn data(&self) -> Option<&CanonicalPath> {
        self.data.as_ref()
    }

    /// The paths that only a literal grant opens.
    #[must_use]
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    pub(crate) fn shared_floor(&self) -> Arc<Floor> {
        Arc::clone(&self.floor)
    }
}
