//! Landlock's rights over files, and which of them a grant has.

use crate::plan::Access;

pub(super) const EXECUTE: u64 = 1;
pub(super) const WRITE_FILE: u64 = 1 << 1;
pub(super) const READ_FILE: u64 = 1 << 2;
pub(super) const READ_DIR: u64 = 1 << 3;
pub(super) const REMOVE: u64 = 1 << 4 | 1 << 5;
pub(super) const MAKE: u64 = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12;
pub(super) const REFER: u64 = 1 << 13;
pub(super) const TRUNCATE: u64 = 1 << 14;
pub(super) const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
/// Rights that a rule on a regular file may name.
pub(super) const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15;

/// What Landlock allows below a grant.
pub(super) fn of(access: Access, directory: bool) -> u64 {
    let mut rights = 0;
    if access.read {
        rights |= READ_FILE | READ_DIR;
        if !access.changes() || access.execute {
            rights |= EXECUTE;
        }
    }
    if access.write {
        rights |= WRITE_FILE | TRUNCATE | MAKE;
    }
    if access.delete {
        rights |= REMOVE;
    }
    if access.write && access.delete {
        rights |= REFER;
    }
    if directory { rights } else { rights & OF_FILES }
}
