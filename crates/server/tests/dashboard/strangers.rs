//! WEB-01: what a plugin supplies is text in every page, whatever it is.

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
