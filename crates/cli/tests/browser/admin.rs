//! What an administrator does with a mouse, from an installation to an end: each act of the dashboard that is no look.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use crate::scene::Scene;

const GREETS: &str = "def greet(a):\n    return 'hello'\n";

impl Scene {
    /// What is granted to a plugin.
    fn grants(&self, name: &str) -> Vec<String> {
        let all = self.over_socket("GET", &format!("/plugins/{name}/grants"), &Value::Null);
        let all = all.as_array().unwrap_or_else(|| panic!("{all}")).iter();
        all.map(|grant| grant["permission"].as_str().unwrap().to_owned()).collect()
    }

    fn shown(&self, name: &str) -> Value {
        self.over_socket("GET", &format!("/plugins/{name}"), &Value::Null)
    }
}

#[test]
fn a_package_is_installed_by_its_path_and_part_of_what_it_asks_for_is_allowed() {
    let Some(scene) = Scene::new() else { return };
    let asks = json!({
        "permissions": [
            {"permission": "env:read", "scope": ["LANG"], "reason": "to greet in your language"},
            {"permission": "env:read", "scope": ["TZ"], "reason": "to know the hour"},
            {"permission": "file:read", "scope": ["/usr/share/**"], "optional": true}
        ],
        "tools": [{"name": "greet"}]
    });
    let package = scene.package("greeter", &asks, GREETS);
    let chromium = &scene.chromium;
    scene.sign_in();
    chromium.click("nav a[href='/dashboard/install']");
    chromium.shows("From the daemon’s machine");
    // First with a mistake: what was typed stays.
    chromium.click("#path");
    chromium.press("packages/greeter");
    chromium.click("form:has(#path) button");
    chromium.shows("must be absolute");
    assert_eq!(chromium.eval("document.getElementById('path').value"), "packages/greeter");
    chromium.eval("document.getElementById('path').value = ''");
    chromium.click("#path");
    chromium.press(package.to_str().unwrap());
    chromium.click("form:has(#path) button");
    chromium.shows("greeter is installed. It has not run yet");
    chromium.shows("to know the hour");
    // Ticking all allows nothing; one is unticked again.
    chromium.click("button[name=tick]");
    chromium.until("document.querySelectorAll('input[name=grant]:checked').length === 3");
    chromium.click("input[type=checkbox][value='env:read=TZ']");
    chromium.click("input[type=checkbox][value='file:read=/usr/share/**']");
    chromium.click("form[action$='/grants'] button.main");
    chromium.shows("may do what you have chosen (1)");
    assert_eq!(scene.grants("greeter"), ["env:read=LANG"]);
    chromium.click("form[action$='/activate'] button");
    chromium.shows("greeter is active");
    // One more later, another one taken back, with the same boxes.
    chromium.click(".tabs a[href$='/grants']");
    chromium.shows("What it asks for");
    assert_eq!(chromium.eval("document.querySelectorAll('input[name=grant]:checked').length"), 1);
    chromium.click("input[type=checkbox][value='env:read=TZ']");
    chromium.click("input[type=checkbox][value='env:read=LANG']");
    chromium.click("form[action$='/grants'] button.main");
    chromium.shows("from now on");
    assert_eq!(scene.grants("greeter"), ["env:read=TZ"]);
    assert_eq!(chromium.ran(), json!([]));
}

#[test]
fn what_was_refused_is_allowed_after_a_question_and_taken_back_at_once() {
    let Some(scene) = Scene::new() else { return };
    scene.nosy();
    scene.world.run(&["call", "nosy", "look"]);
    let chromium = &scene.chromium;
    scene.sign_in();
    // The first page leads there.
    chromium.shows("nosy was refused one act in the last day");
    chromium.click(".needs a[href='/dashboard/plugins/nosy/denials']");
    chromium.shows("ringfence dev PATH");
    let wanted = "file:read=/usr/share/secret";
    chromium.click(&format!("button[aria-label='Allow {wanted} …']"));
    chromium.shows("Let nosy do more?");
    chromium.shows("read the file /usr/share/secret");
    assert_eq!(scene.grants("nosy"), [""; 0], "asking gives nothing");
    chromium.click("form[action$='/grants/add'] button.main");
    chromium.shows(&format!("may use {wanted} from now on"));
    assert_eq!(scene.grants("nosy"), [wanted]);
    chromium.click(&format!("button[aria-label='Revoke {wanted}']"));
    chromium.shows(&format!("has lost {wanted}, at once"));
    assert_eq!(scene.grants("nosy"), [""; 0]);
    assert_eq!(chromium.ran(), json!([]));
}

#[test]
fn a_version_that_asks_for_more_is_refused_comes_again_as_a_file_is_taken_and_goes_back() {
    let Some(scene) = Scene::new() else { return };
    let manifest = json!({"tools": [{"name": "greet"}]});
    scene.active("greeter", &manifest, GREETS);
    let asks = json!({
        "permissions": [{"permission": "env:read", "scope": ["LANG"], "reason": "to greet in your language"}],
        "tools": [{"name": "greet"}]
    });
    let newer = scene.version("greeter", "1.1.0", &asks, GREETS);
    let chromium = &scene.chromium;
    scene.sign_in();
    chromium.shows("Nothing needs you");
    scene.open("/dashboard/plugins/greeter/upgrade");
    chromium.shows("Upgrade to");
    chromium.click("form[action$='/greeter/upgrade'] button.main");
    chromium.shows("Version 1.1.0 waits for your consent");
    assert_eq!(scene.shown("greeter")["version"], "1.0.0");
    chromium.click("a.button.quiet");
    chromium.shows("waits: it asks for more");
    chromium.click("a.brand");
    chromium.shows("asks for more and waits");
    chromium.click(".needs a[href$='/greeter/grants']");
    chromium.click("button[formaction$='/upgrade/abandon']");
    chromium.shows("The version that waited is refused");
    assert_eq!(scene.shown("greeter")["pending"], Value::Null);
    // The same version once more, from the computer of whoever looks at it.
    chromium.click(".tabs a[href$='/upgrade']");
    chromium.shows("From your computer");
    chromium.choose("#package", &scene.packed(&newer));
    chromium.click("form[action$='/upgrade/upload'] button");
    chromium.shows("Version 1.1.0 waits for your consent");
    chromium.click("input[type=checkbox][value='env:read=LANG']");
    chromium.click("form[action$='/grants'] button.main");
    chromium.shows("greeter is version 1.1.0 now, with what you have allowed");
    let after = scene.shown("greeter");
    assert_eq!((&after["version"], &after["running"]), (&json!("1.1.0"), &json!(true)));
    chromium.click(".tabs a[href$='/upgrade']");
    chromium.shows("Go back to 1.0.0");
    chromium.click("form[action$='/rollback'] button");
    chromium.shows("greeter is version 1.0.0 now, and was 1.1.0");
    assert_eq!(scene.grants("greeter"), [""; 0], "with the permissions that it had");
    assert_eq!(chromium.ran(), json!([]));
}

#[test]
fn a_plugin_is_uninstalled_by_whoever_types_its_name() {
    let Some(scene) = Scene::new() else { return };
    scene.active("greeter", &json!({"tools": [{"name": "greet"}]}), GREETS);
    let chromium = &scene.chromium;
    scene.sign_in();
    scene.open("/dashboard/plugins/greeter");
    chromium.click("a.button.danger");
    chromium.shows("Uninstall greeter?");
    chromium.click("#name-again");
    chromium.press("greet");
    chromium.click("form[action$='/uninstall'] button.danger");
    chromium.shows("nothing was removed");
    assert_eq!(scene.shown("greeter")["state"], "active");
    scene.open("/dashboard/plugins/greeter/uninstall");
    chromium.click("#name-again");
    chromium.press("greeter");
    chromium.click("form[action$='/uninstall'] button.danger");
    chromium.shows("greeter is uninstalled");
    chromium.shows("No plugin is installed yet");
    assert_eq!(scene.over_socket("GET", "/plugins", &Value::Null), json!([]));
    assert_eq!(chromium.ran(), json!([]));
}

#[test]
fn the_plugin_directories_are_looked_through_with_a_button() {
    let Some(scene) = Scene::new() else { return };
    let plugins = scene.world.path("home/plugins");
    std::fs::create_dir_all(plugins.join("bad")).unwrap();
    std::fs::write(plugins.join("bad/plugin.yaml"), "name: '<img src=x onerror=window.ran.push(1)>'\n")
        .unwrap();
    let found = scene.package("found", &json!({"tools": [{"name": "greet"}]}), GREETS);
    std::fs::rename(found, plugins.join("found")).unwrap();
    let chromium = &scene.chromium;
    scene.sign_in();
    scene.open("/dashboard/install");
    chromium.click("form[action='/dashboard/install/scan'] button");
    chromium.shows("Broken");
    let text = chromium.text();
    assert!(text.contains("ringfence install ") && text.contains("plugins/found"), "{text}");
    assert!(text.contains("plugins/bad"), "{text}");
    assert_eq!(chromium.ran(), json!([]));
}

#[test]
fn other_sessions_are_ended_and_this_one_goes_on() {
    let Some(scene) = Scene::new() else { return };
    scene.sign_in();
    let chromium = &scene.chromium;
    // Somebody with the same rights at another browser: it gets a key, and the page.
    let link = scene.link();
    let path = link.strip_prefix(&scene.at("")).unwrap();
    let opened = crate::daemon::get_at(&scene.daemon.address(), path, None);
    let cookie = opened.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next().unwrap().to_owned())
    });
    let cookie = cookie.unwrap_or_else(|| panic!("{opened}"));
    let there = || with_cookie(&scene.daemon.address(), &cookie);
    assert!(there().starts_with("HTTP/1.1 200"), "{}", there());
    chromium.click(".who > a");
    chromium.shows("End my other sessions");
    assert_eq!(chromium.eval("document.querySelectorAll('main tbody tr').length"), 2);
    chromium.click("form[action='/dashboard/sessions/others'] button");
    chromium.until("document.querySelectorAll('main tbody tr').length === 1");
    chromium.shows("this one");
    assert!(there().starts_with("HTTP/1.1 303"), "{}", there());
    scene.open("/dashboard");
    chromium.shows("Sign out");
    assert_eq!(chromium.ran(), json!([]));
}

/// What somebody with this cookie is answered.
fn with_cookie(address: &str, cookie: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = format!(
        "GET /dashboard HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
