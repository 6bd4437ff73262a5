//! The layers of a sandbox, and sets of them.

use std::fmt;

use crate::wire::layer as bit;

/// One thing that holds a sandbox. Each is set up, proven and reported apart.
///
/// ```
/// use ringfence_sandbox::Layer;
/// assert_eq!(Layer::NoNewPrivileges.to_string(), "no_new_privileges");
/// assert_eq!(Layer::ALL.len(), 14);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Layer {
    /// A user namespace: the program's user has no power outside.
    User,
    /// A mount namespace with a root of its own: what is not granted does not exist.
    Mount,
    /// A pid namespace: no other process can be seen or signalled, and all die together.
    Pid,
    /// An ipc namespace: System V objects and message queues of its own.
    Ipc,
    /// A uts namespace: a host name of its own.
    Uts,
    /// An empty network namespace.
    Network,
    /// A cgroup namespace: the place in the host's hierarchy does not show.
    Cgroup,
    /// Landlock: a second wall around files, and the only one between writing and deleting.
    Landlock,
    /// The system call filter.
    Seccomp,
    /// No program file can give privileges.
    NoNewPrivileges,
    /// No capability, and none to be had.
    Capabilities,
    /// No descriptor but standard input, output and error.
    Descriptors,
    /// A session of its own, without a terminal.
    Session,
    /// Limits on memory, tasks, CPU, files.
    Limits,
}

impl Layer {
    /// Every layer, in the order of reports.
    pub const ALL: [Self; 14] = [
        Self::User,
        Self::Mount,
        Self::Pid,
        Self::Ipc,
        Self::Uts,
        Self::Network,
        Self::Cgroup,
        Self::Landlock,
        Self::Seccomp,
        Self::NoNewPrivileges,
        Self::Capabilities,
        Self::Descriptors,
        Self::Session,
        Self::Limits,
    ];

    /// The name in reports, in the audit and in `doctor`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mount",
            Self::Pid => "pid",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Network => "network",
            Self::Cgroup => "cgroup",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::NoNewPrivileges => "no_new_privileges",
            Self::Capabilities => "capabilities",
            Self::Descriptors => "descriptors",
            Self::Session => "session",
            Self::Limits => "limits",
        }
    }

    pub(crate) fn bit(self) -> u32 {
        match self {
            Self::User => bit::USER,
            Self::Mount => bit::MOUNT,
            Self::Pid => bit::PID,
            Self::Ipc => bit::IPC,
            Self::Uts => bit::UTS,
            Self::Network => bit::NETWORK,
            Self::Cgroup => bit::CGROUP,
            Self::Landlock => bit::LANDLOCK,
            Self::Seccomp => bit::SECCOMP,
            Self::NoNewPrivileges => bit::NO_NEW_PRIVILEGES,
            Self::Capabilities => bit::CAPABILITIES,
            Self::Descriptors => bit::DESCRIPTORS,
            Self::Session => bit::SESSION,
            Self::Limits => bit::LIMITS,
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}

/// A set of layers.
///
/// ```
/// use ringfence_sandbox::{Layer, Layers};
/// let rest = Layers::ALL.without(Layers::of(&[Layer::Landlock]));
/// assert!(!rest.contains(Layer::Landlock) && rest.contains(Layer::Seccomp));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layers(u32);

impl Layers {
    /// Every layer.
    pub const ALL: Self = Self(0x3fff);
    /// No layer.
    pub const NONE: Self = Self(0);

    /// The set of these.
    #[must_use]
    pub fn of(layers: &[Layer]) -> Self {
        Self(layers.iter().fold(0, |bits, layer| bits | layer.bit()))
    }

    /// Whether the layer is in the set.
    #[must_use]
    pub fn contains(self, layer: Layer) -> bool {
        self.0 & layer.bit() != 0
    }

    /// This set less the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The layers, in the order of reports.
    pub fn iter(self) -> impl Iterator<Item = Layer> {
        Layer::ALL.into_iter().filter(move |layer| self.contains(*layer))
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for layer in self.iter() {
            write!(to, "{}{layer}", if first { "" } else { ", " })?;
            first = false;
        }
        if first { to.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_all() {
        assert_eq!(Layers::of(&Layer::ALL), Layers::ALL);
        assert_eq!(Layers::ALL.iter().count(), Layer::ALL.len());
        assert_eq!(Layers::of(&[Layer::Pid, Layer::User]).to_string(), "user, pid");
        assert_eq!(Layers::NONE.to_string(), "none");
        assert!(Layers::ALL.without(Layers::ALL).is_empty());
        let names: std::collections::BTreeSet<_> = Layer::ALL.map(Layer::name).into();
        assert_eq!(names.len(), Layer::ALL.len(), "no two have one name");
        let bits = Layer::ALL.map(Layer::bit);
        assert!(bits.windows(2).all(|pair| pair[0] < pair[1]), "the order of reports is that of the bits");
    }
}
