//! The dashboard without a mouse.

use serde_json::json;

use crate::driver::{ENTER, TAB};
use crate::scene::Scene;

/// Presses Tab until the focus is on what the selector means, which must come within as many steps as a patient person takes.
#[track_caller]
fn tab_to(scene: &Scene, selector: &str) {
    let chromium = &scene.chromium;
    let reached = format!("document.activeElement.matches({})", json!(selector));
    for _ in 0..60 {
        if chromium.eval(&reached) == true {
            let ring = chromium.eval("getComputedStyle(document.activeElement).outlineStyle");
            assert_ne!(ring, "none", "{selector}: where the focus is must be seen");
            return;
        }
        chromium.press(TAB);
    }
    panic!("{selector} is not reached: {}", chromium.path());
}

#[test]
fn everything_is_reached_and_done_with_the_keyboard_alone() {
    let Some(scene) = Scene::new() else { return };
    scene.furnish();
    let chromium = &scene.chromium;
    let made = scene.over_socket("POST", "/tokens", &json!({"role": "admin"}));
    scene.open("/dashboard");
    tab_to(&scene, "input[name=token]");
    chromium.press(made["token"].as_str().unwrap());
    chromium.press(ENTER);
    chromium.shows("Sign out");
    // The first stop leads past the navigation.
    chromium.press(TAB);
    assert_eq!(chromium.eval("document.activeElement.className"), "skip");
    chromium.press(ENTER);
    chromium.until("document.activeElement.id === 'main'");
    tab_to(&scene, "a[href='/dashboard/plugins/keeper']");
    chromium.press(ENTER);
    chromium.until("location.pathname === '/dashboard/plugins/keeper'");
    tab_to(&scene, "form[action$='/deactivate'] button");
    chromium.press(ENTER);
    chromium.shows("keeper is stopped");
    tab_to(&scene, "a[href='/dashboard/plugins/keeper/logs']");
    chromium.press(ENTER);
    chromium.until("location.pathname.endsWith('/logs')");
    tab_to(&scene, "#q");
    chromium.press("note");
    chromium.press(ENTER);
    chromium.until("location.search === '?q=note'");
    tab_to(&scene, "nav a[href='/dashboard/audit']");
    chromium.press(ENTER);
    chromium.shows("Verify the trail");
    tab_to(&scene, "form[action='/dashboard/audit/verify'] button");
    chromium.press(ENTER);
    chromium.shows("records are as they were written");
    tab_to(&scene, "nav a[href='/dashboard/tokens']");
    chromium.press(ENTER);
    chromium.shows("A new token");
    tab_to(&scene, "details.confirm summary");
    chromium.press(ENTER);
    tab_to(&scene, "details[open] button.danger");
    chromium.press(ENTER);
    chromium.until("document.readyState === 'complete' && (document.body.innerText.includes('opens nothing any more') || location.pathname.includes('login'))");
    assert_eq!(chromium.ran(), json!([]));
}
