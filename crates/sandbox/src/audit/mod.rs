//! What Landlock refused, as the kernel itself records it: read from the audit subsystem's multicast, without auditd.
//!
//! Nothing is switched on here: where the kernel's audit is off, it stays off, and that is what is said
//! ([`Unavailable::Off`]). Nothing waits: the socket is read when somebody looks, and what does not fit into it is lost and
//! counted. Start reading at `Channel`.

mod channel;
mod ledger;
mod record;

use std::fmt;

pub(crate) use channel::Channel;
pub use channel::availability;
pub use ledger::{DENIALS_MAX, KernelDenial, Ledger};
pub use record::{ACCESS, DOMAIN, Record, TEXT_MAX_BYTES};

/// The ABI of Landlock that records denials.
pub(crate) const LOGGING_ABI: i32 = 7;

/// What is known of whether the kernel writes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// It does.
    On,
    /// It could not be asked: that needs `CAP_AUDIT_CONTROL`. Records that it writes are read.
    Unknown,
}

/// Why the kernel's records of Landlock's denials cannot be read here.
///
/// ```
/// use ringfence_sandbox::audit::Unavailable;
/// assert!(Unavailable::Off.to_string().contains("switched off"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unavailable {
    /// This Landlock records nothing.
    OldLandlock {
        /// Its ABI.
        abi: i32,
    },
    /// The kernel was built without audit, or booted with `audit=0`.
    NoAudit,
    /// The kernel's audit is switched off.
    Off,
    /// Reading needs `CAP_AUDIT_READ` over the whole machine.
    NotPermitted,
    /// The kernel tells only processes in the first namespace of this kind: `user`, `pid` or `network`.
    Namespace(&'static str),
    /// Something else failed.
    Failed {
        /// At what.
        step: &'static str,
        /// What the kernel said.
        cause: String,
    },
}

impl Unavailable {
    /// What could be done about it; nothing where that is a matter of the kernel.
    #[must_use]
    pub fn mend(&self) -> Option<&'static str> {
        match self {
            Self::Off => Some("sudo auditctl -e 1, or audit=1 on the kernel's command line"),
            Self::NotPermitted => {
                Some("run as root of the machine, or with CAP_AUDIT_READ and CAP_AUDIT_CONTROL")
            }
            Self::Namespace(_) => Some("run outside a container"),
            Self::OldLandlock { .. } => Some("Linux 6.15 or newer"),
            Self::NoAudit => Some("a kernel with CONFIG_AUDIT, not booted with audit=0"),
            Self::Failed { .. } => None,
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OldLandlock { abi } => {
                write!(to, "Landlock of this kernel (ABI {abi}) records nothing; ABI {LOGGING_ABI} does")
            }
            Self::NoAudit => to.write_str("this kernel has no audit"),
            Self::Off => to.write_str("the kernel's audit is switched off"),
            Self::NotPermitted => to.write_str("CAP_AUDIT_READ is missing"),
            Self::Namespace(kind) => {
                write!(to, "this is not the first {kind} namespace, and the kernel tells no other")
            }
            Self::Failed { step, cause } => write!(to, "cannot {step}: {cause}"),
        }
    }
}
