//! The audit trail: narrowed, paged, checked.

use ringfence_api::Role;

use crate::activity::link;
use crate::browser::{Browser, page};
use crate::rig::Rig;

#[test]
fn the_trail_is_narrowed_and_paged() {
    let rig = Rig::new();
    rig.active("p", "", &["hi"], "def hi(a):\n    return 1\n");
    for _ in 0..60 {
        rig.token(Role::Viewer, Some("p"), None);
    }
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    let first = viewer.open("/dashboard/audit");
    assert!(first.contains("<bdi>token_create</bdi>") && !first.contains("<bdi>install</bdi>"), "{first}");
    let all = viewer.open(&link(&first, "before="));
    assert!(all.contains("<bdi>install</bdi>"), "{all}");
    let installs = viewer.open("/dashboard/audit?event=install");
    assert!(
        installs.contains("<bdi>install</bdi>") && !installs.contains("<bdi>token_create</bdi>"),
        "{installs}"
    );
    assert!(!installs.contains("further back"), "all of it was searched");
    let of_plugin = viewer.open("/dashboard/audit?plugin=p&event=consent");
    assert!(of_plugin.contains("<bdi>consent</bdi>") && !of_plugin.contains("<bdi>start</bdi>"));
    assert!(viewer.open("/dashboard/audit?plugin=q").contains("No record is like that"));
    assert!(viewer.open("/dashboard/audit?since=2100-01-01").contains("No record is like that"));
    assert!(viewer.open("/dashboard/audit?since=2000-01-01&event=install").contains("<bdi>install</bdi>"));
    assert!(viewer.open("/dashboard/audit?since=soon").contains("is no date"));
    let odd = viewer.open("/dashboard/audit?plugin=%22%3E%3Cscript%3E&request=%E2%80%AE%1b&before=x");
    assert!(!odd.contains("<script>") && !odd.contains('\u{202e}') && !odd.contains('\u{1b}'), "{odd}");
}

#[test]
fn a_trail_is_verified_and_the_first_bad_record_is_named() {
    let rig = Rig::new();
    rig.active("p", "", &["hi"], "def hi(a):\n    return 1\n");
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    let good = viewer.act("/dashboard/audit/verify", &[]);
    assert!(good.contains("records are as they were written"), "{good}");
    let bare = viewer.post_bare("/dashboard/audit/verify", &[]);
    assert_eq!(bare.status, 403, "a form that this session has not made: {}", page(&bare));
    tamper(&rig, 3);
    let bad = viewer.act("/dashboard/audit/verify", &[]);
    assert!(bad.contains("Record 3 is the first that is not as it was written"), "{bad}");
    assert!(
        bad.contains("role=\"alert\"")
            && bad.contains("data-label=\"No.\">3<")
            && !bad.contains("data-label=\"No.\">4<"),
        "{bad}"
    );
}

/// Changes one record behind the host's back, as whoever can write the file can.
fn tamper(rig: &Rig, seq: i64) {
    let database = rig.path("home").join("state.db");
    let code = format!(
        "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute('DROP TRIGGER audit_is_not_changed')\n\
         c.execute('UPDATE audit SET event = ? WHERE seq = {seq}', ('stop',))\nc.commit()\n"
    );
    let done = std::process::Command::new("python3").args(["-c", &code]).arg(&database).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn the_trail_is_about_the_whole_host() {
    let rig = Rig::new();
    rig.active("p", "", &["hi"], "def hi(a):\n    return 1\n");
    let (_, token) = rig.token(Role::Admin, Some("p"), None);
    let mut own = Browser::signed_in(&rig, &token);
    assert_eq!(own.get("/dashboard/audit").status, 403);
    assert_eq!(own.post("/dashboard/audit/verify", &[]).status, 403);
    assert_eq!(Browser::with_role(&rig, Role::Viewer).get("/dashboard/audit").status, 200, "the twin");
}
