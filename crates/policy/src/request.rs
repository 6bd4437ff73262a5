//! What somebody wants to do, in a form that can be decided.

use std::fmt;
use std::net::IpAddr;

use ringfence_api::{Permission, PermissionName};

use crate::canonical_path::CanonicalPath;
use crate::host::Host;
use crate::host_pattern::HostPattern;
use crate::name_pattern::Name;

/// What is to be done with a file.
///
/// ```
/// use ringfence_policy::FileOp;
///
/// assert_eq!(FileOp::Delete.permission().to_string(), "file:delete");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileOp {
    /// Open, list, stat.
    Read,
    /// Create, write, truncate, make a directory, change the mode.
    Write,
    /// Unlink, remove a directory, rename away or over.
    Delete,
}

impl FileOp {
    /// The permission that it needs.
    #[must_use]
    pub const fn permission(self) -> PermissionName {
        match self {
            Self::Read => PermissionName::FileRead,
            Self::Write => PermissionName::FileWrite,
            Self::Delete => PermissionName::FileDelete,
        }
    }
}

/// What is to be done with a host.
///
/// ```
/// use ringfence_policy::NetworkOp;
///
/// assert_eq!(NetworkOp::Listen.permission().to_string(), "network:listen");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetworkOp {
    /// Connect to it.
    Request,
    /// Accept connections at this address of our own.
    Listen,
}

impl NetworkOp {
    /// The permission that it needs.
    #[must_use]
    pub const fn permission(self) -> PermissionName {
        match self {
            Self::Request => PermissionName::NetworkRequest,
            Self::Listen => PermissionName::NetworkListen,
        }
    }
}

/// One thing that somebody wants to do.
///
/// ```
/// use ringfence_policy::{CanonicalPath, FileOp, Request};
///
/// let request = Request::File { op: FileOp::Read, path: CanonicalPath::new("/srv/a.txt")? };
/// assert_eq!(request.narrowest_grant(), "file:read=/srv/a.txt");
/// assert_eq!(request.to_string(), "file:read of /srv/a.txt");
/// # Ok::<(), ringfence_policy::CanonicalPathError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// Do something with a file.
    File {
        /// What.
        op: FileOp,
        /// With which, links followed.
        path: CanonicalPath,
    },
    /// Do something with a host, before its name is resolved.
    Network {
        /// What.
        op: NetworkOp,
        /// The host as it was asked for.
        host: Host,
        /// The port; 0 only for a listener that takes any free one.
        port: u16,
    },
    /// Dial an address that the name of a host resolved to.
    ///
    /// Both must be allowed: the name by a rule, and the address not denied and, if it is on the floor,
    /// named by a rule of its own. Ask this for each address and each redirect, and dial that address.
    Resolved {
        /// What.
        op: NetworkOp,
        /// The host as it was asked for.
        host: Host,
        /// The address that it resolved to.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// Execute a program.
    Execute {
        /// Its file, links followed.
        path: CanonicalPath,
    },
    /// Use something that has a name. Always denied when the permission is not one over names.
    Named {
        /// The permission that it needs, such as `env:read`.
        permission: PermissionName,
        /// The name, such as `LANG`.
        name: Name,
    },
    /// Use something that has a name and is protected, such as a sensitive field of a profile: a rule opens it only by that
    /// name, never by a wildcard and never bare. Always denied when the permission is not one over names.
    Protected {
        /// The permission that it needs, such as `profile:read`.
        permission: PermissionName,
        /// The name, such as `email`.
        name: Name,
    },
}

impl Request {
    /// The permission that it needs.
    #[must_use]
    pub fn permission(&self) -> PermissionName {
        match self {
            Self::File { op, .. } => op.permission(),
            Self::Network { op, .. } | Self::Resolved { op, .. } => op.permission(),
            Self::Execute { .. } => PermissionName::SubprocessExecute,
            Self::Named { permission, .. } | Self::Protected { permission, .. } => permission.clone(),
        }
    }

    /// The text of the narrowest grant that allows it, such as `file:read=/srv/a.txt`.
    ///
    /// For [`Request::Resolved`] it is the grant of the address; that of the name comes from
    /// [`Request::Network`].
    #[must_use]
    pub fn narrowest_grant(&self) -> String {
        let name = self.permission();
        match self {
            Self::File { path, .. } | Self::Execute { path } => format!("{name}={path}"),
            Self::Network { host, port, .. } => format!("{name}={}", HostPattern::exact(host, *port)),
            Self::Resolved { address, port, .. } => {
                format!("{name}={}", HostPattern::exact(&Host::from(*address), *port))
            }
            Self::Named { name: object, .. } | Self::Protected { name: object, .. } => {
                format!("{name}={object}")
            }
        }
    }

    /// The narrowest grant as a permission; `None` when its text form is longer than a permission can be.
    #[must_use]
    pub fn narrowest_permission(&self) -> Option<Permission> {
        self.narrowest_grant().parse().ok()
    }

    /// What it is about: the path, host or name.
    #[must_use]
    pub fn object(&self) -> String {
        match self {
            Self::File { path, .. } | Self::Execute { path } => path.to_string(),
            Self::Network { host, port, .. } => format!("{host}:{port}"),
            Self::Resolved { host, address, port, .. } => {
                format!("{host}:{port} at {}", Host::from(*address))
            }
            Self::Named { name, .. } | Self::Protected { name, .. } => name.to_string(),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.permission(), self.object())
    }
}
