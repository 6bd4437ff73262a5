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

#[test]
fn a_file_is_uploaded_consented_to_configured_and_started_with_the_keyboard_alone() {
    let Some(scene) = Scene::new() else { return };
    let manifest = json!({
        "permissions": [
            {"permission": "env:read", "scope": ["LANG"], "reason": "to greet in your language"},
            {"permission": "env:read", "scope": ["TZ"]}
        ],
        "tools": [{"name": "greet"}],
        "config_schema": {"type": "object", "required": ["word"], "properties": {
            "word": {"type": "string", "title": "Word", "minLength": 2},
            "loud": {"type": "boolean", "title": "Loud"}
        }}
    });
    let file = scene.packed(&scene.package("greeter", &manifest, "def greet(a):\n    return 'hello'\n"));
    let chromium = &scene.chromium;
    scene.sign_in();
    tab_to(&scene, "nav a[href='/dashboard/install']");
    chromium.press(ENTER);
    chromium.shows("From your computer");
    tab_to(&scene, "#package");
    // The window in which a file is chosen is the system's, not the page's: its answer is given here.
    chromium.choose("#package", &file);
    tab_to(&scene, "form[action='/dashboard/install/upload'] button");
    chromium.press(ENTER);
    chromium.shows("greeter is installed. It has not run yet");
    tab_to(&scene, "input[value='env:read=LANG']");
    chromium.press(" ");
    assert_eq!(chromium.eval("document.activeElement.checked"), true);
    // A permission that it does not ask for, typed below what opens.
    tab_to(&scene, "#more-permissions summary");
    chromium.press(ENTER);
    tab_to(&scene, "textarea#more");
    chromium.press("env:read=USER");
    tab_to(&scene, "form[action$='/grants'] button.main");
    chromium.press(ENTER);
    chromium.shows("may do what you have chosen (2)");
    let grants = scene.over_socket("GET", "/plugins/greeter/grants", &serde_json::Value::Null);
    let text = grants.to_string();
    assert!(
        text.contains("env:read=LANG") && text.contains("env:read=USER") && !text.contains("=TZ"),
        "{text}"
    );
    tab_to(&scene, ".tabs a[href$='/config']");
    chromium.press(ENTER);
    chromium.shows("Loud");
    let word = "input[name='value:/word']";
    tab_to(&scene, word);
    chromium.press("h");
    tab_to(&scene, "form[action$='/config'] button.main");
    chromium.press(ENTER);
    // With what is wrong, and from there on.
    chromium.until("document.querySelector('.wrong') !== null");
    tab_to(&scene, word);
    // What is there is marked when the focus comes, and what is typed takes its place.
    chromium.press("hello");
    tab_to(&scene, "form[action$='/config'] button.main");
    chromium.press(ENTER);
    chromium.until("document.querySelector('.notice.done') !== null");
    let config = scene.over_socket("GET", "/plugins/greeter/config", &serde_json::Value::Null);
    assert_eq!(config["word"], "hello");
    tab_to(&scene, "form[action$='/activate'] button");
    chromium.press(ENTER);
    chromium.shows("greeter is active");
    assert_eq!(chromium.ran(), json!([]));
}
