//! What people do with a mouse, and what a page shows by itself.

use serde_json::json;

use crate::scene::Scene;

#[test]
fn a_link_signs_in_once_and_a_plugin_is_switched() {
    let Some(scene) = Scene::new() else { return };
    scene.furnish();
    let chromium = &scene.chromium;
    scene.open("/dashboard");
    assert_eq!(chromium.path(), "/dashboard/login");
    let link = scene.link();
    chromium.open(&link);
    chromium.shows("Sign out");
    assert_eq!(chromium.path(), "/dashboard", "the code does not stay in the address");
    assert_eq!(
        chromium.eval("document.cookie + localStorage.length + sessionStorage.length"),
        "00",
        "no script reads the key"
    );
    scene.open("/dashboard/plugins/keeper");
    chromium.click("form[action$='/deactivate'] button");
    chromium.shows("keeper is stopped");
    chromium.click("form[action$='/activate'] button");
    chromium.shows("keeper is active");
    chromium.click(".who button");
    chromium.until("location.pathname === '/dashboard/login'");
    chromium.open(&link);
    chromium.shows("has been used");
    scene.open("/dashboard/plugins/keeper");
    assert!(chromium.path().starts_with("/dashboard/login"), "{}", chromium.path());
    assert_eq!(chromium.ran(), json!([]));
}

#[test]
fn a_token_is_made_shown_once_used_and_revoked() {
    let Some(scene) = Scene::new() else { return };
    scene.sign_in();
    let chromium = &scene.chromium;
    chromium.click("nav a[href='/dashboard/tokens']");
    chromium.shows("A new token");
    chromium.eval("document.getElementById('role').value = 'operator'");
    chromium.click("form[action='/dashboard/tokens'] button");
    chromium.shows("the only time that it is shown");
    let token = chromium.eval("document.getElementById('token').innerText").as_str().unwrap().to_owned();
    let id = token.split('_').nth(1).unwrap().to_owned();
    chromium.click("a.button[href='/dashboard/tokens']");
    chromium.shows(&id);
    assert!(!chromium.text().contains(&token));
    let answer = crate::daemon::get(&scene.daemon.address(), "/plugins", Some(&token));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let form = format!("form[action='/dashboard/tokens/{id}/revoke'] button");
    assert_eq!(
        chromium.eval(&format!("document.querySelector(\"{form}\").checkVisibility()")),
        false,
        "it asks first"
    );
    chromium.click(&format!("summary[aria-label='Revoke {id}']"));
    chromium.click(&form);
    chromium.shows("opens nothing any more");
    let answer = crate::daemon::get(&scene.daemon.address(), "/plugins", Some(&token));
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[test]
fn the_output_of_a_run_arrives_without_a_reload_and_the_run_is_cancelled() {
    let Some(scene) = Scene::new() else { return };
    scene.sign_in();
    let chromium = &scene.chromium;
    let gate = scene.world.path("data/gate");
    // What it is waiting for is a file that it may read: nothing here depends on how long anything takes.
    let script = format!(
        "echo first; while [ ! -e {0} ]; do sleep 0.1; done; echo second >&2; exec sleep 600",
        gate.display()
    );
    let body = json!({
        "command": ["/bin/sh", "-c", script], "grant": ["subprocess:execute"], "read": [scene.world.path("data")]
    });
    let id = scene.over_socket("POST", "/exec", &body)["id"].as_u64().unwrap();
    scene.open("/dashboard/runs");
    chromium.shows("running");
    chromium.click(&format!("a[href='/dashboard/runs/{id}']"));
    chromium.shows("first");
    chromium.eval("window.same = true");
    assert!(!chromium.text().contains("second\n"), "{}", chromium.text());
    std::fs::write(gate, "").unwrap();
    chromium.until("document.querySelector('pre.output').innerText.includes('second')");
    assert_eq!(chromium.eval("window.same"), true, "the page is the same one");
    chromium.click("form[action$='/cancel'] button");
    chromium.shows("is being ended");
    chromium.shows("cancelled");
    chromium.shows("What was enforced");
    assert_eq!(chromium.eval("document.querySelector(\"form[action$='/cancel']\")"), serde_json::Value::Null);
    assert_eq!(chromium.ran(), json!([]));
}

#[test]
fn pages_follow_what_happens_by_themselves() {
    let Some(scene) = Scene::new() else { return };
    scene.furnish();
    scene.nosy();
    scene.sign_in();
    let chromium = &scene.chromium;
    let follow = |path: &str, act: &dyn Fn(), then: &str| {
        scene.open(path);
        chromium.eval("window.same = true");
        act();
        chromium.until(then);
        assert_eq!(chromium.eval("window.same"), true, "{path}: the page is the same one");
    };
    follow(
        "/dashboard/plugins/keeper/logs",
        &|| {
            // Written after the page was opened, wherever the log stands.
            scene.world.run(&["deactivate", "keeper"]);
            scene.world.run(&["activate", "keeper"]);
            scene.world.run(&["call", "keeper", "add"]);
        },
        "document.querySelectorAll('#log tbody tr').length > 3 && document.getElementById('log').innerText.split('added a note').length > 3",
    );
    follow(
        "/dashboard",
        &|| {
            scene.world.run(&["deactivate", "quiet"]);
        },
        "document.getElementById('plugins').innerText.includes('inactive')",
    );
    follow(
        "/dashboard/activity?outcome=failed",
        &|| {
            scene.world.run(&["call", "keeper", "fail"]);
        },
        "document.querySelectorAll('#activity tbody tr').length === 2",
    );
    follow(
        "/dashboard",
        &|| {
            scene.world.run(&["call", "nosy", "look"]);
        },
        "document.getElementById('attention').innerText.includes('nosy was refused')",
    );
    let fresh = "/usr/share/fresh";
    follow(
        "/dashboard/plugins/nosy/denials",
        &|| {
            scene.world.run(&["call", "nosy", "look", &json!({"path": fresh}).to_string()]);
        },
        &format!("document.getElementById('denials').innerText.includes('{fresh}')"),
    );
    // A sample a second; what it has used stands as figures, too.
    let table = "document.querySelector('#resources')";
    follow(
        "/dashboard/plugins/keeper/resources",
        &|| {
            chromium.eval(&format!("window.first = {table}.innerText"));
            // Enough to be seen in figures that are rounded.
            scene.world.run(&["call", "keeper", "grow"]);
        },
        &format!("{table}.innerText !== window.first"),
    );
    follow(
        "/dashboard/hooks",
        &|| {
            scene.over_socket("POST", "/hooks/onRequest", &json!({"body": {}}));
        },
        "document.querySelector('td[data-label=Asked]').innerText.trim() === '1'",
    );
    assert_eq!(chromium.ran(), json!([]));
}

#[test]
fn the_trail_is_verified_with_one_button() {
    let Some(scene) = Scene::new() else { return };
    scene.furnish();
    scene.sign_in();
    let chromium = &scene.chromium;
    chromium.click("nav a[href='/dashboard/audit']");
    chromium.shows("Verify the trail");
    chromium.click("form[action='/dashboard/audit/verify'] button");
    chromium.shows("records are as they were written");
    chromium.eval("document.getElementById('event').value = 'install'");
    chromium.click("form.search button");
    chromium.until("location.search.includes('event=install')");
    assert_eq!(chromium.eval("document.querySelectorAll('#audit tbody tr').length"), 3);
    let database = scene.world.path("home/state.db");
    let code = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute('DROP TRIGGER audit_is_not_changed')\n\
        c.execute(\"UPDATE audit SET event = 'stop' WHERE seq = 3\")\nc.commit()\n";
    let done = std::process::Command::new("python3").args(["-c", code]).arg(database).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    chromium.click("form[action='/dashboard/audit/verify'] button");
    chromium.shows("Record 3 is the first that is not as it was written");
    assert_eq!(chromium.eval("document.querySelector('#audit tbody td').innerText"), "3");
}

#[test]
fn a_package_is_uploaded_consented_to_configured_and_started_and_the_session_is_ended() {
    let Some(scene) = Scene::new() else { return };
    let manifest = json!({
        "description": "Greets.",
        "permissions": [{"permission": "env:read", "scope": ["LANG"], "reason": "to greet in your language"}],
        "tools": [{"name": "greet", "description": "Says hello."}],
        "config_schema": {"type": "object", "required": ["word"], "properties": {
            "word": {"type": "string", "title": "Word", "minLength": 2}
        }}
    });
    let package = scene.package("greeter", &manifest, "def greet(a):\n    return 'hello'\n");
    let file = scene.packed(&package);
    let chromium = &scene.chromium;
    scene.sign_in();
    // By way of what a page with nothing on it offers.
    chromium.click(".empty a.button");
    chromium.shows("From your computer");
    chromium.choose("#package", &file);
    chromium.click("form[action='/dashboard/install/upload'] button");
    chromium.shows("greeter is installed. It has not run yet");
    chromium.shows("to greet in your language");
    chromium.click("button[name=tick]");
    chromium.until("document.querySelector('input[name=grant]').checked");
    chromium.click("form[action$='/grants'] button.main");
    chromium.shows("It does not run until you activate it");
    chromium.click(".tabs a[href$='/config']");
    chromium.shows("Word");
    chromium.eval("document.querySelector(\"form[action$='/config'] input[autocomplete=off]\").value = 'h'");
    chromium.click("form[action$='/config'] button.main");
    chromium.until("document.querySelector('.wrong') !== null");
    chromium.eval("document.querySelector('input[aria-invalid]').value = 'hello'");
    chromium.click("form[action$='/config'] button.main");
    chromium.until("document.querySelector('.notice.done') !== null");
    chromium.click("form[action$='/activate'] button");
    chromium.shows("greeter is active");
    // The same package again is no news, and another file is none.
    scene.open("/dashboard/install");
    chromium.choose("#package", &chromium.lend(&package.join("main.py")));
    chromium.click("form[action='/dashboard/install/upload'] button");
    chromium.until("document.querySelector('.notice.failed') !== null");
    chromium.click(".who > a");
    chromium.shows("this one");
    assert_eq!(chromium.eval("document.querySelectorAll('main tbody tr').length"), 1);
    chromium.click("main form[action$='/end'] button");
    chromium.until("location.pathname === '/dashboard/login'");
    assert_eq!(chromium.ran(), json!([]));
}
