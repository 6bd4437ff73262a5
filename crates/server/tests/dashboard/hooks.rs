//! Hooks in their order.

use ringfence_api::Role;
use serde_json::json;

use crate::browser::{Browser, page};
use crate::client::post;
use crate::rig::Rig;

const GUARD: &str = "def onRequest(ctx):\n    return None\n\ndef hi(a):\n    return 1\n";

#[test]
fn handlers_stand_in_the_order_in_which_they_are_asked_with_how_they_do() {
    let rig = Rig::new();
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    assert!(viewer.open("/dashboard/hooks").contains("No active plugin takes part"));
    rig.active("late", "hooks: [{event: onRequest, kind: guard, priority: 90}]\n", &["hi"], GUARD);
    rig.active("early", "hooks: [{event: onRequest, kind: guard, priority: 10}]\n", &["hi"], GUARD);
    let shown = viewer.open("/dashboard/hooks");
    let at =
        |name: &str| shown.find(&format!("plugins/{name}\"")).unwrap_or_else(|| panic!("{name}: {shown}"));
    assert!(at("early") < at("late"));
    for part in ["onRequest", "may block it", "the event is blocked", "closed", "Priority 10"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let passed = rig.send(&post("/hooks/onRequest", &json!({"body": {}}))).ok();
    assert_eq!(passed["outcome"], "continue", "{passed}");
    let asked = viewer.open("/dashboard/hooks");
    assert!(
        asked.contains(" ms") && asked.matches("<td class=\"number\" data-label=\"Asked\">1").count() >= 1,
        "{asked}"
    );
}

#[test]
fn who_takes_part_is_about_the_whole_host() {
    let rig = Rig::new();
    rig.active("alpha", "", &["hi"], "def hi(a):\n    return 1\n");
    let (_, token) = rig.token(Role::Admin, Some("alpha"), None);
    let mut own = Browser::signed_in(&rig, &token);
    let refused = own.get("/dashboard/hooks");
    assert_eq!(refused.status, 403, "{}", page(&refused));
    assert!(!own.open("/dashboard").contains("href=\"/dashboard/hooks\""), "nor is it offered");
    assert_eq!(Browser::with_role(&rig, Role::Viewer).get("/dashboard/hooks").status, 200, "the twin");
}
