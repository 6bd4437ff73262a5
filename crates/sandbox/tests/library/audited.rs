//! The kernel's records of Landlock's denials: what any bytes make of them, and a live run, for which audit is switched on.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ringfence_sandbox::audit::{self, Recording, Unavailable};
use ringfence_sandbox::{Access, Object};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use crate::rig::{self, both, found, plan, root_only, run};

#[path = "../../../../fuzz/src/audits.rs"]
#[expect(unreachable_pub, reason = "a fuzz target shares it")]
mod audits;
#[path = "../../../../fuzz/src/seeded.rs"]
#[expect(
    unreachable_pub,
    clippy::indexing_slicing,
    reason = "several tests share it; a bad index fails the test"
)]
mod seeded;

#[test]
fn records_hold_for_any_bytes() {
    let words = [
        "\naaudit(1.0:1): domain=1 ",
        "\nbaudit(1.0:1): domain=1 ",
        "\naaudit(1.0:2): domain=2 ",
        "\nbaudit(1.0:2): domain=2 ",
        "blockers=fs.read_file ",
        "blockers=fs.make_reg,fs.refer ",
        "status=allocated ",
        "status=deallocated ",
        "pid=300 ",
        "pid=7 ",
        "denials=3 ",
        "denials=18446744073709551615 ",
        "path=\"/a\" ",
        "path=2F61 ",
        "path=2F6 ",
        "dest=81 ",
        "daddr=::1 ",
        "src=83 ",
        "\"",
        "=",
        ")",
    ];
    seeded::run(0x1423, 20_000, |_| Vec::new(), &words, 60, audits::audit_records);
}

/// The machine's audit, held as it is for as long as one test looks at it.
static AUDIT: Mutex<()> = Mutex::new(());

/// Audit is on for as long as this lives, and afterwards as it was.
struct Listening {
    switched: bool,
    _alone: MutexGuard<'static, ()>,
}

impl Listening {
    /// `None` where the kernel's records cannot be had by switching audit on.
    fn begin() -> Option<Self> {
        let alone = AUDIT.lock().unwrap_or_else(PoisonError::into_inner);
        let switched = audit::availability() == Err(Unavailable::Off);
        if switched {
            switch(1);
        }
        let listening = Self { switched, _alone: alone };
        (audit::availability() == Ok(Recording::On)).then_some(listening)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.switched {
            switch(0);
        }
    }
}

/// `AUDIT_SET` with `AUDIT_STATUS_ENABLED` (linux/audit.h), as `auditctl -e` sends it. What comes of it is asked for afterwards.
fn switch(enabled: u32) {
    const AUDIT_SET: u16 = 1001;
    const NLM_F_REQUEST: u16 = 1;
    // The mask, the value, and nine fields that it leaves alone.
    let status = [1, enabled, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut message = Vec::new();
    message.extend(60u32.to_le_bytes());
    message.extend(AUDIT_SET.to_le_bytes());
    message.extend(NLM_F_REQUEST.to_le_bytes());
    message.extend([0; 8]);
    message.extend(status.iter().flat_map(|field: &u32| field.to_le_bytes()));
    let (family, kind, flags) = (AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, kind, flags, Some(netlink::AUDIT)).unwrap();
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).unwrap();
}

/// A run that is refused one act by Landlock: to remove a file that it may change.
fn refused(place: &tempfile::TempDir, access: Access) -> rig::Run {
    let file = place.path().join("kept");
    std::fs::write(&file, "kept").unwrap();
    let mut plan = plan(&["unlink", file.to_str().unwrap()]);
    plan.mount(found(place.path()), access);
    run(plan.observe(true))
}

#[test]
fn a_denial_is_told_by_the_kernel_as_it_was_and_only_to_whom_it_belongs() {
    root_only(|| {
        let Some(_listening) = Listening::begin() else { return rig::skip("kernel-audit") };
        let (place, other) = (rig::directory(0o777), rig::directory(0o777));
        let save = Access { read: true, write: true, ..Access::default() };
        // Two at the same time: each is told its own.
        let (seen, beside) = std::thread::scope(|scope| {
            let beside = scope.spawn(|| refused(&other, save));
            (refused(&place, save), beside.join().unwrap())
        });
        for (seen, place) in [(&seen, &place), (&beside, &other)] {
            let recorded = seen.recorded.clone().unwrap().unwrap();
            let [denial] = recorded.as_slice() else { panic!("{seen:?}") };
            assert_eq!((denial.blockers.as_slice(), denial.count), (&["fs.remove_file".to_owned()][..], 1));
            assert_eq!(denial.object, Object::Path(place.path().into()));
            assert_eq!(seen.lost, 0, "the self-check's own denial is no lost one");
        }
        let granted = refused(&place, Access::READ_WRITE);
        assert_eq!((granted.is_ok(), granted.recorded), (true, Some(Ok(Vec::new()))));
        let unasked = run(&plan(&["read", "/etc/hostname"]));
        assert_eq!(unasked.recorded, None);
    });
}

#[test]
fn where_the_kernel_cannot_be_heard_the_run_goes_on_and_says_why() {
    both(|| {
        let _still = AUDIT.lock().unwrap_or_else(PoisonError::into_inner);
        let place = rig::directory(0o777);
        let seen = refused(&place, Access { read: true, write: true, ..Access::default() });
        assert!(seen.errno().is_some(), "refused all the same: {seen:?}");
        match (audit::availability(), seen.recorded.unwrap()) {
            (Ok(_), Ok(_)) => assert!(rig::is_root()),
            (Err(why), Err(told)) => {
                assert!(!told.to_string().is_empty());
                assert_eq!(why, told);
            }
            other => panic!("{other:?}"),
        }
    });
}
