//! One plugin at a glance, and its switch.

use ringfence_api::Role;

use crate::browser::{Browser, page};
use crate::client::get;
use crate::rig::Rig;

fn state(rig: &Rig) -> String {
    rig.send(&get("/plugins/p")).ok()["state"].as_str().unwrap().to_owned()
}

#[test]
fn everybody_sees_a_plugin_and_operators_switch_it() {
    let rig = Rig::new();
    rig.active("p", "description: Says hi.\nauthor: Ada\n", &["hi"], "def hi(a):\n    return 1\n");
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    let shown = viewer.open("/dashboard/plugins/p");
    for part in ["Says hi.", "Ada", "active", "500 MB", "python"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("Deactivate"), "what a viewer may not do is not offered");
    let refused = viewer.post("/dashboard/plugins/p/deactivate", &[]);
    assert_eq!(refused.status, 403);
    assert!(page(&refused).contains("operator"), "{}", page(&refused));
    assert_eq!(state(&rig), "active");

    let mut operator = Browser::with_role(&rig, Role::Operator);
    assert!(operator.open("/dashboard/plugins/p").contains("Deactivate"));
    assert!(operator.act("/dashboard/plugins/p/deactivate", &[]).contains("p is stopped"));
    assert_eq!(state(&rig), "inactive");
    let again = operator.act("/dashboard/plugins/p/activate", &[]);
    assert!(again.contains("p is active") && again.contains("role=\"status\""), "{again}");
    assert_eq!(state(&rig), "active");
    assert!(!operator.open("/dashboard/plugins/p").contains("p is active."), "a notice is shown once");
    // What a page asks for by itself leaves a notice to the person.
    assert_eq!(operator.post("/dashboard/plugins/p/activate", &[]).status, 303);
    let refresh = operator.request("GET", "/dashboard/plugins/p").header("X-Ringfence-Refresh", "yes");
    assert!(!page(&refresh.send(rig.address)).contains("p is active."));
    assert!(operator.open("/dashboard/plugins/p").contains("p is active."));
    // Who did it is on the record.
    let trail = rig.send(&get("/audit?plugin=p&newest_first=true")).ok().to_string();
    assert!(trail.contains("dashboard, token "), "{trail}");
}

#[test]
fn what_is_not_there_is_not_found() {
    let rig = Rig::new();
    let mut browser = Browser::with_role(&rig, Role::Admin);
    for path in [
        "/dashboard/plugins/nobody",
        "/dashboard/plugins/No%20Name",
        "/dashboard/plugins/%00",
        "/dashboard/nothing",
    ] {
        let answer = browser.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(page(&answer).contains("Not found"));
    }
    assert_eq!(browser.post("/dashboard/plugins/nobody/activate", &[]).status, 404);
}

#[test]
fn a_failure_is_told_with_what_to_do_next() {
    let rig = Rig::new();
    let package = rig.package("p", "1.0.0", "permissions: ['env:read=LANG']\n", &["hi"], "");
    rig.send(&crate::client::post("/plugins", &serde_json::json!({"path": package}))).ok();
    let mut operator = Browser::with_role(&rig, Role::Operator);
    let answer = operator.post("/dashboard/plugins/p/activate", &[]);
    assert!(answer.status >= 400, "{}", answer.status);
    assert!(page(&answer).contains("Waits for consent") && page(&answer).contains("consent_required"));
}
