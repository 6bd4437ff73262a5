//! Gives up what the sandbox was built with: ids, capabilities, new privileges, and files beyond the rules.

use super::Failure;
use crate::sys::calls::{self, Errno, NO_FD, O_PATH};
use crate::sys::privileges;
use crate::wire::{Request, Step, flag, layer};

/// Becomes the plugin's user, without capabilities and without a way to get any. PID 1 does this before it starts
/// the program, so both are equally poor.
pub(crate) fn give_up_privileges(request: &Request<'_>) -> Result<(), Failure> {
    become_user(request).map_err(Failure::of(Step::Ids))?;
    if request.builds(layer::CAPABILITIES) {
        drop_all().map_err(Failure::of(Step::Capabilities))?;
    }
    if request.builds(layer::NO_NEW_PRIVILEGES) {
        privileges::set_no_new_privileges().map_err(Failure::of(Step::NoNewPrivileges))?;
    }
    Ok(())
}

/// All three ids, so that none that the launcher once had can be taken back.
fn become_user(request: &Request<'_>) -> Result<(), Errno> {
    let (uid, gid) = if request.builds(layer::USER) {
        (request.inside_uid, request.inside_gid)
    } else if request.has(flag::SWITCH_IDS) {
        (request.outside_uid, request.outside_gid)
    } else {
        return Ok(());
    };
    privileges::set_group_ids(gid, gid, gid)?;
    privileges::set_user_ids(uid, uid, uid)
}

/// Locking the bits and emptying the bounding set need `CAP_SETPCAP`, so the sets go last. Without a user namespace
/// an ordinary user has no capability to begin with, and only the sets can be cleared.
fn drop_all() -> Result<(), Errno> {
    match privileges::lock_secure_bits() {
        Ok(()) => privileges::drop_bounding_set()?,
        Err(calls::EPERM) => {}
        Err(error) => return Err(error),
    }
    privileges::drop_capabilities()
}

/// Landlock: the rules name paths as they are inside, after the root was entered.
pub(crate) fn restrict_files(request: &Request<'_>) -> Result<(), Failure> {
    if !request.builds(layer::LANDLOCK) {
        return Ok(());
    }
    let rules = privileges::landlock_create(
        request.landlock_files,
        request.landlock_network,
        request.landlock_scopes,
        request.landlock_size as usize,
    )
    .map_err(Failure::of(Step::Landlock))?;
    let mut from = request.landlock_rules.reader.clone();
    for index in 0..request.landlock_rules.count as usize {
        let access = from.u64();
        let path = from.text();
        let allow = || {
            let target = calls::open_at(NO_FD, path, O_PATH, 0)?;
            let allowed = privileges::landlock_allow(rules, target, access);
            calls::close(target);
            allowed
        };
        allow().map_err(Failure::at(Step::Landlock, index))?;
    }
    privileges::landlock_restrict(rules, request.landlock_flags).map_err(Failure::of(Step::Landlock))?;
    calls::close(rules);
    Ok(())
}
