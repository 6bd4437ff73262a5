//! What a plugin uses.

use std::time::{Duration, Instant};

use ringfence_api::Role;

use crate::browser::Browser;
use crate::client::get;
use crate::rig::Rig;

#[test]
fn what_was_measured_is_drawn_and_said() {
    let rig = Rig::new();
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    let package = rig.package("idle", "1.0.0", "", &["hi"], "def hi(a):\n    return 1\n");
    rig.send(&crate::client::post(
        "/plugins",
        &serde_json::json!({"path": package, "grant_requested": true}),
    ))
    .ok();
    assert!(
        viewer.open("/dashboard/plugins/idle/resources").contains("Nothing was measured in the last hour")
    );
    rig.active("p", "", &["hi"], "def hi(a):\n    return 1\n");
    let end = Instant::now() + Duration::from_secs(30);
    while rig.send(&get("/plugins/p/resources")).ok().as_array().unwrap().is_empty() {
        assert!(Instant::now() < end, "nothing was measured");
        std::thread::sleep(Duration::from_millis(100));
    }
    let shown = viewer.open("/dashboard/plugins/p/resources");
    assert_eq!(shown.matches("<svg class=\"chart\" role=\"img\"").count(), 2, "{shown}");
    for part in [
        "Memory, last hour",
        "limit 500 MB",
        "80 %",
        "The same as figures",
        "<caption",
        "Processes and threads, most",
        "path class=\"line\"",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
