//! The request that the library sends to the launcher, and the events that come back: numbers and a reader.
//!
//! Both ends are built from the same source and travel in one file, so there is no versioning beyond a magic
//! number. This module uses `core` only. The writer is [`crate::encode`].
//!
//! Layout: little-endian numbers; text is a `u32` length that includes a final NUL, then the bytes, so that the
//! launcher can hand it to the kernel where it lies.

use core::ffi::CStr;

/// First word of a request; changes whenever the layout does.
pub(crate) const MAGIC: u32 = 0x5246_0005;
/// The largest request, in bytes. A `SOCK_SEQPACKET` message must fit the socket's send buffer; 208 KiB is what
/// Linux allows without privilege (`net.core.wmem_max`), less the kernel's own bookkeeping.
pub(crate) const REQUEST_MAX: usize = 160 * 1024;
/// How many mounts one sandbox can have.
pub(crate) const SOURCES_MAX: usize = 512;
/// How many strings argv or the environment can have.
pub(crate) const STRINGS_MAX: usize = 2048;

/// The layers of a sandbox, as bits. The order is the order in which `doctor` and reports list them.
pub(crate) mod layer {
    pub(crate) const USER: u32 = 1;
    pub(crate) const MOUNT: u32 = 1 << 1;
    pub(crate) const PID: u32 = 1 << 2;
    pub(crate) const IPC: u32 = 1 << 3;
    pub(crate) const UTS: u32 = 1 << 4;
    pub(crate) const NETWORK: u32 = 1 << 5;
    pub(crate) const CGROUP: u32 = 1 << 6;
    pub(crate) const LANDLOCK: u32 = 1 << 7;
    pub(crate) const SECCOMP: u32 = 1 << 8;
    pub(crate) const NO_NEW_PRIVILEGES: u32 = 1 << 9;
    pub(crate) const CAPABILITIES: u32 = 1 << 10;
    pub(crate) const DESCRIPTORS: u32 = 1 << 11;
    pub(crate) const SESSION: u32 = 1 << 12;
    pub(crate) const LIMITS: u32 = 1 << 13;
}

/// Switches of a request.
pub(crate) mod flag {
    /// Make a network namespace; else the launcher's own, which is empty, is shared.
    pub(crate) const FRESH_NETWORK: u32 = 1;
    /// The program may start processes: PID 1 need not pin the one exec.
    pub(crate) const PROCESSES: u32 = 1 << 1;
    /// The main filter reports, so a listener is asked for.
    pub(crate) const LISTEN: u32 = 1 << 2;
    /// Pass on the path of every observed call.
    pub(crate) const OBSERVE: u32 = 1 << 3;
    /// The first cgroup descriptor is a v2 directory to be born in; else all are v1 `tasks` files.
    pub(crate) const CGROUP_V2: u32 = 1 << 4;
    /// The launcher is root and takes the outside ids before it clones.
    pub(crate) const SWITCH_IDS: u32 = 1 << 5;
}

/// Which denials go to the kernel's audit records (landlock_restrict_self(2), ABI 7), if its audit is on.
pub(crate) mod landlock {
    /// Not those of PID 1 and of the program's process before its exec: the self-check tries what is forbidden.
    pub(crate) const LOG_SAME_EXEC_OFF: u32 = 1;
    /// Those of the program and of what it starts: only where somebody reads them, or each run would fill the host's log.
    pub(crate) const LOG_NEW_EXEC_ON: u32 = 1 << 1;
}

/// How a source is prepared.
pub(crate) mod source {
    /// Id-mapped, so that the tree's owner is the plugin's user.
    pub(crate) const ID_MAPPED: u32 = 1 << 1;
    /// Must be a character device with the number given in place of (device, inode).
    pub(crate) const DEVICE: u32 = 1 << 2;
    /// A part of the system, not a grant: it is not compared with anything, and left out if it is missing.
    pub(crate) const SYSTEM: u32 = 1 << 3;
}

/// One step of building the root, as first byte of its record.
pub(crate) mod build {
    /// mode, parent, name
    pub(crate) const DIRECTORY: u32 = 1;
    /// target, parent, name
    pub(crate) const SYMLINK: u32 = 2;
    /// mode, parent, name, content
    pub(crate) const FILE: u32 = 3;
    /// source number, path
    pub(crate) const ATTACH: u32 = 4;
    /// size option, attributes, path
    pub(crate) const SCRATCH: u32 = 5;
    /// path
    pub(crate) const PROC: u32 = 6;
    /// path of an existing directory or file of the root to lay over, path, device and inode of what is covered (0 where
    /// that cannot be known: in a throw-away copy)
    pub(crate) const COVER: u32 = 7;
    /// directory of the copies, attributes, path, and the name of the one file to lay there (empty: all of the directory)
    pub(crate) const COPY: u32 = 8;
}

/// The first word of an event.
pub(crate) mod event {
    /// From the launcher, with the pidfd of PID 1.
    pub(crate) const BORN: u32 = 1;
    /// step, errno, index
    pub(crate) const FAILED: u32 = 2;
    /// mask of proven layers, pid of the program inside
    pub(crate) const STARTED: u32 = 3;
    /// mask of layers that are demanded and not proven
    pub(crate) const UNPROVEN: u32 = 4;
    /// system call number, count, key, then text, the first time: what it was about. Sent before the program is answered
    pub(crate) const DENIED: u32 = 5;
    /// system call number, flags, a role ([`super::role`]), then text; numbered from 0 in the order in which they come
    pub(crate) const OBSERVED: u32 = 6;
    /// wait status, user µs, system µs, peak KiB
    pub(crate) const ENDED: u32 = 7;
    /// how many denials or observations did not fit
    pub(crate) const LOST: u32 = 8;
    /// pairs: the number of an observation, and how often it was made in all
    pub(crate) const COUNTED: u32 = 9;
    /// system call number, how often a known denial came again, its key: some time ago
    pub(crate) const REPEATED: u32 = 10;
}

/// What an observed text is to its call.
pub(crate) mod role {
    /// The path that the call works on.
    pub(crate) const PATH: u32 = 0;
    /// The second path: where a rename or a link leads to.
    pub(crate) const TARGET: u32 = 1;
    /// A socket address, as the program wrote it.
    pub(crate) const ADDRESS: u32 = 2;
    /// No text: that the call was made is all that there is to tell.
    pub(crate) const NOTHING: u32 = 3;
}

/// What the filter answers to the system call number that exists nowhere: the proof that it is ours.
pub(crate) mod canary {
    pub(crate) const NUMBER: u32 = 1023;
    /// `ERFKILL`: no system call of a plugin ever answers it.
    pub(crate) const ERRNO: i32 = 132;
}

/// One byte from the host to PID 1.
pub(crate) mod command {
    /// SIGTERM to everything inside.
    pub(crate) const TERMINATE: u8 = b'T';
    /// SIGSTOP to everything inside.
    pub(crate) const STOP: u8 = b'S';
    /// SIGCONT to everything inside.
    pub(crate) const CONTINUE: u8 = b'C';
}

/// The steps of a launch, in order; a failure names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Step {
    Request = 1,
    IdMap,
    Source,
    Clone,
    Maps,
    CgroupAttach,
    HostName,
    RootMount,
    Build,
    Proc,
    Pivot,
    NamespaceLimit,
    Ids,
    Capabilities,
    NoNewPrivileges,
    Landlock,
    InitFilter,
    Session,
    Limits,
    WorkingDirectory,
    Descriptors,
    Program,
    Seccomp,
    Execute,
    Lifeline,
}

/// Reads a request in place. Every method is total: past the end it sets [`Reader::broken`] and answers zero or
/// empty, so that a caller checks once, at the end.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    broken: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, broken: false }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        match self.rest.split_at_checked(count) {
            Some((head, tail)) => {
                self.rest = tail;
                head
            }
            None => {
                self.broken = true;
                self.rest = &[];
                &[]
            }
        }
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.bytes(4).first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.bytes(8).first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    pub(crate) fn blob(&mut self) -> &'a [u8] {
        let count = self.u32() as usize;
        self.bytes(count)
    }

    pub(crate) fn text(&mut self) -> &'a CStr {
        let bytes = self.blob();
        CStr::from_bytes_with_nul(bytes).unwrap_or_else(|_| {
            self.broken = true;
            c""
        })
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether anything was missing or malformed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether all was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// A request, parsed in place: everything the launcher needs to know, decided by the library.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) flags: u32,
    /// Layers to set up.
    pub(crate) layers: u32,
    /// Layers that must be proven before the program runs.
    pub(crate) required: u32,
    /// Layers to leave out although they are demanded: for tests of the self-check only.
    pub(crate) broken: u32,
    pub(crate) outside_uid: u32,
    pub(crate) outside_gid: u32,
    pub(crate) inside_uid: u32,
    pub(crate) inside_gid: u32,
    /// Namespace inodes of the host: user, mnt, pid, ipc, uts, net, cgroup.
    pub(crate) host_namespaces: [u64; 7],
    pub(crate) host_name: &'a CStr,
    pub(crate) working_directory: &'a CStr,
    pub(crate) cgroup_leaf: &'a CStr,
    /// How many lines of /proc/self/cgroup must name the leaf.
    pub(crate) cgroup_lines: u32,
    pub(crate) filter: &'a [u8],
    pub(crate) init_filter: &'a [u8],
    pub(crate) landlock_size: u32,
    /// Which denials the kernel records: see [`landlock`].
    pub(crate) landlock_flags: u32,
    pub(crate) landlock_files: u64,
    pub(crate) landlock_network: u64,
    pub(crate) landlock_scopes: u64,
    /// A directory or file that exists, that file modes allow to read, and that Landlock must refuse.
    pub(crate) landlock_probe: &'a CStr,
    pub(crate) program_path: &'a CStr,
    pub(crate) program_device: u64,
    pub(crate) program_inode: u64,
    pub(crate) program_fd: u32,
    /// Where the empty path of the one exec must lie.
    pub(crate) program_text: u64,
    /// Counted records: resource, soft, hard.
    pub(crate) limits: Records<'a>,
    /// Counted records: access, path.
    pub(crate) landlock_rules: Records<'a>,
    /// What the root has before anything is granted, as [`Recipe::parse`] reads it. Plans with equal bytes here can share it.
    pub(crate) recipe: &'a [u8],
    /// Counted records: see [`SourceRecord`].
    pub(crate) sources: Records<'a>,
    /// Counted records: see [`build`].
    pub(crate) steps: Records<'a>,
    pub(crate) arguments: Records<'a>,
    pub(crate) environment: Records<'a>,
}

/// A number of records and the bytes that hold them.
#[derive(Debug, Clone)]
pub(crate) struct Records<'a> {
    pub(crate) count: u32,
    pub(crate) reader: Reader<'a>,
}

/// What is the same for many sandboxes: directories, links and small files, and parts of the host's system mounted among
/// them. Nothing in it is granted, and nothing in it can be written.
#[derive(Debug, Clone)]
pub(crate) struct Recipe<'a> {
    pub(crate) sources: Records<'a>,
    /// See [`build`]; only `DIRECTORY`, `SYMLINK`, `FILE` and `ATTACH`.
    pub(crate) steps: Records<'a>,
}

impl<'a> Recipe<'a> {
    /// Parses a whole recipe; `None` when it is malformed or has bytes left over. No bytes are an empty recipe.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        if from.is_empty() {
            let nothing = Records { count: 0, reader: from };
            return Some(Self { sources: nothing.clone(), steps: nothing });
        }
        let recipe = Self { sources: records(&mut from), steps: records(&mut from) };
        let fits = recipe.sources.count as usize <= SOURCES_MAX;
        (!from.is_broken() && from.is_empty() && fits).then_some(recipe)
    }
}

/// Where a mount comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceRecord<'a> {
    pub(crate) flags: u32,
    pub(crate) owner_uid: u32,
    pub(crate) owner_gid: u32,
    pub(crate) attributes: u64,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) path: &'a CStr,
}

impl<'a> SourceRecord<'a> {
    pub(crate) fn read(from: &mut Reader<'a>) -> Self {
        Self {
            flags: from.u32(),
            owner_uid: from.u32(),
            owner_gid: from.u32(),
            attributes: from.u64(),
            device: from.u64(),
            inode: from.u64(),
            path: from.text(),
        }
    }
}

fn records<'a>(from: &mut Reader<'a>) -> Records<'a> {
    let count = from.u32();
    Records { count, reader: Reader::new(from.blob()) }
}

impl<'a> Request<'a> {
    /// Parses a whole request; `None` when it is malformed, too long or has bytes left over.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        if from.u32() != MAGIC {
            return None;
        }
        let request = Self {
            flags: from.u32(),
            layers: from.u32(),
            required: from.u32(),
            broken: from.u32(),
            outside_uid: from.u32(),
            outside_gid: from.u32(),
            inside_uid: from.u32(),
            inside_gid: from.u32(),
            host_namespaces: core::array::from_fn(|_| from.u64()),
            host_name: from.text(),
            working_directory: from.text(),
            cgroup_leaf: from.text(),
            cgroup_lines: from.u32(),
            filter: from.blob(),
            init_filter: from.blob(),
            landlock_size: from.u32(),
            landlock_flags: from.u32(),
            landlock_files: from.u64(),
            landlock_network: from.u64(),
            landlock_scopes: from.u64(),
            landlock_probe: from.text(),
            program_path: from.text(),
            program_device: from.u64(),
            program_inode: from.u64(),
            program_fd: from.u32(),
            program_text: from.u64(),
            limits: records(&mut from),
            landlock_rules: records(&mut from),
            recipe: from.blob(),
            sources: records(&mut from),
            steps: records(&mut from),
            arguments: records(&mut from),
            environment: records(&mut from),
        };
        let fits = request.sources.count as usize <= SOURCES_MAX
            && (request.arguments.count as usize) < STRINGS_MAX
            && (request.environment.count as usize) < STRINGS_MAX;
        (!from.is_broken() && from.is_empty() && fits).then_some(request)
    }

    /// Whether `bit` is to be set up. A layer that a test breaks is demanded but not set up.
    pub(crate) fn builds(&self, bit: u32) -> bool {
        self.layers & bit != 0 && self.broken & bit == 0
    }

    pub(crate) fn has(&self, bit: u32) -> bool {
        self.flags & bit != 0
    }
}

/// How the name of a cgroup begins that waits for its next sandbox.
pub(crate) const FREE: &[u8] = b"free-";

/// A host's last message to its launcher, which then ends without removing cgroups: sandboxes may outlive it.
pub(crate) const GOODBYE: &[u8] = b"bye";

/// The set-up message, the first on a launcher's socket: flags, uid, gid, the recipe of the root to prepare first, mark
/// text, count, cgroup directory texts.
pub(crate) mod setup {
    /// Make the network namespace that sandboxes share.
    pub(crate) const HOLD_NETWORK: u32 = 1;
    /// A message of this one byte: no sandbox is left, and no cgroup to look for.
    pub(crate) const NOTHING_LEFT: u8 = b'q';
    /// The launcher has every capability of the host's user namespace.
    pub(crate) const ROOT: u32 = 1 << 1;
    /// Keep prepared roots, and live in one of them.
    pub(crate) const PREPARE: u32 = 1 << 2;
    /// One sandbox follows, at once: the host's mounts as they are now will do for it.
    pub(crate) const BRIEF: u32 = 1 << 3;
}

/// Takes one record off a getdents64(2) buffer: the name, and the rest.
pub(crate) fn next_directory_entry(bytes: &[u8]) -> Option<(&CStr, &[u8])> {
    // u64 inode, u64 offset, u16 length of the record, u8 type, then the NUL-terminated name.
    const NAME_AT: usize = 19;
    let length = bytes.get(16..18)?.first_chunk().map(|pair| u16::from_le_bytes(*pair))?;
    let (record, rest) = bytes.split_at_checked(usize::from(length))?;
    let name = CStr::from_bytes_until_nul(record.get(NAME_AT..)?).ok()?;
    Some((name, rest))
}
