//! Runs of commands: the list, one, its output while it goes on, and its end.

use std::time::Duration;

use ringfence_api::Role;
use serde_json::{Value, json};

use crate::browser::{Browser, page};
use crate::client::post;
use crate::doors::is_protected;
use crate::rig::Rig;

fn run(rig: &Rig, body: &Value) -> u64 {
    rig.send(&post("/exec", body)).ok()["id"].as_u64().unwrap()
}

fn within(mut so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("it has not become so");
}

#[test]
fn a_run_is_shown_with_its_output_report_and_denials() {
    let rig = Rig::new();
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    assert!(viewer.open("/dashboard/runs").contains("No command has run yet"));
    let secret = rig.path("secret");
    std::fs::write(&secret, "treasure").unwrap();
    let script = format!(
        "printf '<script>alert(1)</script> \\033[31m \\342\\200\\256 end\\n'; cat {}; exit 3",
        secret.display()
    );
    let id = run(
        &rig,
        &json!({"command": ["/bin/sh", "-c", script], "grant": ["subprocess:execute"], "wait": true}),
    );
    let list = viewer.open("/dashboard/runs");
    assert!(list.contains(&format!("/dashboard/runs/{id}\"")) && list.contains("exit status 3"), "{list}");
    let shown = viewer.open(&format!("/dashboard/runs/{id}"));
    assert!(shown.contains("&lt;script&gt;alert(1)&lt;/script&gt; \\u{1b}[31m \\u{202e} end"), "{shown}");
    for part in ["exit status 3", "subprocess:execute", "Most memory", "What was enforced", "Denials"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // The file was not there for it, which is no denial: what is not known is said, and what would tell.
    assert!(
        shown.contains("No denial is known") && shown.contains("ringfence exec --explain … -- "),
        "{shown}"
    );
    let explained = run(&rig, &json!({"command": ["/bin/cat", secret], "explain": true, "wait": true}));
    let told = viewer.open(&format!("/dashboard/runs/{explained}"));
    assert!(told.contains(&format!("--grant <bdi>file:read={}</bdi>", secret.display())), "{told}");
    assert!(!told.contains("exec --explain"), "{told}");
    let clean = run(&rig, &json!({"command": ["/bin/true"], "explain": true, "wait": true}));
    assert!(viewer.open(&format!("/dashboard/runs/{clean}")).contains("Nothing was refused: every path"));
    assert!(
        !shown.contains("Cancel the run") && !shown.contains("treasure") && !shown.contains("<script>alert")
    );
    is_protected(&viewer.get(&format!("/dashboard/runs/{id}")), "a run");
    for nobody in ["999", "0", "-1", "x", "%00", "1%2f"] {
        assert_eq!(viewer.get(&format!("/dashboard/runs/{nobody}")).status, 404, "{nobody}");
    }
}

#[test]
fn a_run_that_goes_on_is_followed_and_cancelled_by_whoever_may() {
    let rig = Rig::new();
    let script = "echo first; sleep 60";
    let id = run(&rig, &json!({"command": ["/bin/sh", "-c", script], "grant": ["subprocess:execute"]}));
    let path = format!("/dashboard/runs/{id}");
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    within(|| viewer.open(&path).contains("<bdi>first"));
    let going = viewer.open(&path);
    assert!(
        going.contains(&format!("data-stream=\"{path}/stream\"")) && going.contains("running"),
        "{going}"
    );
    assert!(!going.contains("Cancel the run"), "what a viewer may not do is not offered");
    let mut operator = Browser::with_role(&rig, Role::Operator);
    for other in [&mut viewer, &mut operator] {
        let refused = other.post(&format!("{path}/cancel"), &[]);
        assert_eq!(refused.status, 403, "{}", page(&refused));
    }
    assert_eq!(admin.post_bare(&format!("{path}/cancel"), &[]).status, 403, "a form of nobody's");
    assert!(viewer.open(&path).contains("running"));
    assert!(admin.open(&path).contains("Cancel the run"));
    assert!(admin.act(&format!("{path}/cancel"), &[]).contains("is being ended"));
    within(|| viewer.open(&path).contains("cancelled"));
    let ended = admin.get(&path);
    assert!(!page(&ended).contains("Cancel the run"));
    // It may be known as one that goes on for a moment after its report is there.
    within(|| admin.post(&format!("{path}/cancel"), &[]).status == 409);
    // The stream of the session gives what the API's does.
    let stream = viewer.get(&format!("{path}/stream"));
    let text = page(&stream);
    assert!(
        text.contains("event: output") && text.contains("first") && text.contains("event: end"),
        "{text}"
    );
}

#[test]
fn runs_are_about_the_whole_host() {
    let rig = Rig::new();
    rig.active("p", "", &["hi"], "def hi(a):\n    return 1\n");
    let id = run(&rig, &json!({"command": ["/bin/true"], "wait": true}));
    let (_, token) = rig.token(Role::Admin, Some("p"), None);
    let mut own = Browser::signed_in(&rig, &token);
    for path in [
        "/dashboard/runs".to_owned(),
        format!("/dashboard/runs/{id}"),
        format!("/dashboard/runs/{id}/stream"),
    ] {
        assert_eq!(own.get(&path).status, 403, "{path}");
    }
    assert_eq!(own.post(&format!("/dashboard/runs/{id}/cancel"), &[]).status, 403);
    assert_eq!(
        Browser::with_role(&rig, Role::Viewer).get(&format!("/dashboard/runs/{id}")).status,
        200,
        "the twin"
    );
}
