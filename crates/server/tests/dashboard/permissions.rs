//! Consent, revoking, and what was refused.

use ringfence_api::Role;
use serde_json::json;

use crate::browser::{Browser, page, value_of};
use crate::client::{get, post, put};
use crate::rig::Rig;

const HEAD: &str = "author: Ada\npermissions:\n\
    - {permission: 'env:read', scope: ['LANG'], reason: 'to greet in your language'}\n\
    - {permission: 'file:read', scope: ['/usr/share/**'], optional: true}\n\
    hooks:\n  - {event: onRequest, kind: guard, timeout_ms: 200}\n";
const CODE: &str = "def hi(a):\n    return 1\n\ndef onRequest(ctx):\n    return None\n";

fn waiting(rig: &Rig) {
    let package = rig.package("p", "1.0.0", HEAD, &["hi"], CODE);
    rig.send(&post("/plugins", &json!({"path": package}))).ok();
}

fn grants(rig: &Rig) -> Vec<String> {
    let grants = rig.send(&get("/plugins/p/grants")).ok();
    grants.as_array().unwrap().iter().map(|grant| grant["permission"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_person_reads_what_is_asked_for_and_allows_part_of_it() {
    let rig = Rig::new();
    waiting(&rig);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let overview = admin.open("/dashboard/plugins/p");
    assert!(overview.contains("Look at what it asks for") && overview.contains("waits for consent"));
    let asked = admin.open("/dashboard/plugins/p/grants");
    for part in [
        "Before it may run",
        "Ada</bdi> (not signed)",
        "wants to:",
        "read the environment variable LANG",
        "to greet in your language",
        "read files below /usr/share",
        "optional",
        "may block what passes, within 200 ms, and blocks when it fails",
        "It can not",
        "reach the network",
        "It starts",
        "main.py",
        "Allow selected",
        "Refuse, and uninstall …",
        "Decide later",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    // Nothing is ticked for anybody, and to tick all is not the button.
    assert!(!asked.contains(" checked"), "{asked}");
    let all = page(&admin.post("/dashboard/plugins/p/grants", &[("tick", "all"), ("more", "env:read=TZ")]));
    assert_eq!(all.matches(" checked").count(), 3, "{all}");
    assert!(all.contains("env:read=TZ</textarea>"), "what was typed is kept: {all}");
    assert_eq!(grants(&rig), [""; 0], "ticking allows nothing");
    let version = value_of(&asked, "version").unwrap();
    let after =
        admin.act("/dashboard/plugins/p/grants", &[("version", &version), ("grant", "env:read=LANG")]);
    assert!(after.contains("does not run until you activate it"), "{after}");
    assert_eq!(grants(&rig), ["env:read=LANG"]);
    assert!(admin.act("/dashboard/plugins/p/activate", &[]).contains("p is active"));
    let now = admin.open("/dashboard/plugins/p/grants");
    assert!(now.contains("Allowed now") && now.contains("Revoke"), "{now}");
}

#[test]
fn who_may_only_look_can_not_consent_and_is_offered_no_button() {
    let rig = Rig::new();
    waiting(&rig);
    for role in [Role::Viewer, Role::Operator] {
        let mut browser = Browser::with_role(&rig, role);
        let asked = browser.open("/dashboard/plugins/p/grants");
        assert!(
            asked.contains("wants to:") && !asked.contains("Allow selected") && !asked.contains("checkbox")
        );
        for (path, fields) in [
            ("/dashboard/plugins/p/grants", ("grant", "env:read=LANG")),
            ("/dashboard/plugins/p/grants/add", ("grant", "env:read=LANG")),
            ("/dashboard/plugins/p/grants/revoke", ("grant", "env:read=LANG")),
            ("/dashboard/plugins/p/grants/ask", ("permission", "env:read")),
        ] {
            assert_eq!(browser.post(path, &[fields]).status, 403, "{role} {path}");
        }
    }
    assert_eq!(grants(&rig), [""; 0]);
    let state = rig.send(&get("/plugins/p")).ok()["state"].clone();
    assert_eq!(state, "installed");
    let mut admin = Browser::with_role(&rig, Role::Admin);
    admin.act("/dashboard/plugins/p/grants", &[("grant", "env:read=LANG")]);
    assert_eq!(grants(&rig), ["env:read=LANG"], "the twin");
}

#[test]
fn a_form_that_is_too_old_is_refused_with_what_there_is_now() {
    let rig = Rig::new();
    waiting(&rig);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let version = value_of(&admin.open("/dashboard/plugins/p/grants"), "version").unwrap();
    rig.send(&put("/plugins/p/grants", &json!({"permissions": ["file:read=/usr/share/**"]}))).ok();
    let stale = [("version", version.as_str()), ("grant", "env:read=LANG"), ("more", "env:read=TZ")];
    for path in [
        "/dashboard/plugins/p/grants",
        "/dashboard/plugins/p/grants/add",
        "/dashboard/plugins/p/grants/revoke",
    ] {
        assert_eq!(admin.post(path, &stale).status, 412, "{path}");
    }
    assert_eq!(grants(&rig), ["file:read=/usr/share/**"]);
    let again = page(&admin.post("/dashboard/plugins/p/grants", &stale));
    assert!(again.contains("has been changed since you read it") && again.contains("Allowed now"));
    let ticked = again.find("value=\"env:read=LANG\" checked").is_some();
    assert!(ticked && again.contains(">env:read=TZ</textarea>"), "what was chosen is kept: {again}");
    let version = value_of(&again, "version").unwrap();
    admin.act("/dashboard/plugins/p/grants", &[("version", &version), ("grant", "env:read=LANG")]);
    assert_eq!(grants(&rig), ["env:read=LANG"], "the twin");
}

#[test]
fn what_cannot_be_granted_is_said_and_nothing_that_was_typed_is_lost() {
    let rig = Rig::new();
    waiting(&rig);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    for wrong in ["fly:high", "file:write=/**", "<b>"] {
        let answer =
            admin.post("/dashboard/plugins/p/grants", &[("grant", "env:read=LANG"), ("more", wrong)]);
        assert!((400..500).contains(&answer.status), "{wrong}: {}", answer.status);
        let body = page(&answer);
        assert!(
            body.contains("role=\"alert\"") && body.contains("value=\"env:read=LANG\" checked"),
            "{wrong}: {body}"
        );
        let typed = wrong.replace('<', "&lt;").replace('>', "&gt;");
        assert!(body.contains(&format!(">{typed}</textarea>")), "{wrong}: {body}");
    }
    assert_eq!(grants(&rig), [""; 0]);
}

#[test]
fn one_permission_is_taken_back_at_once_and_the_others_stay() {
    let rig = Rig::new();
    waiting(&rig);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    admin.act(
        "/dashboard/plugins/p/grants",
        &[("grant", "env:read=LANG"), ("grant", "file:read=/usr/share/**"), ("more", "env:read=TZ\r\n\r\n")],
    );
    assert_eq!(grants(&rig).len(), 3);
    let version = value_of(&admin.open("/dashboard/plugins/p/grants"), "version").unwrap();
    let after =
        admin.act("/dashboard/plugins/p/grants/revoke", &[("version", &version), ("grant", "env:read=LANG")]);
    assert!(after.contains("has lost env:read=LANG"), "{after}");
    let mut left = grants(&rig);
    left.sort();
    assert_eq!(left, ["env:read=TZ", "file:read=/usr/share/**"]);
    assert_eq!(admin.post("/dashboard/plugins/p/grants/revoke", &[("grant", "no permission")]).status, 400);
}

#[test]
fn a_denial_shows_the_grant_that_would_allow_it_and_asks_before_it_is_given() {
    let rig = Rig::new();
    let code = "def hi(a):\n    try:\n        open('/usr/share/dict-of-nobody')\n    except OSError:\n        pass\n    return 1\n";
    let head = "permissions: ['env:read=LANG']\n";
    rig.active("p", head, &["hi"], code);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    // It tried, and the file was not there for it: nobody knows, which the page says, with what would tell.
    rig.send(&post("/plugins/p/call", &json!({"tool": "hi"}))).ok();
    let unknown = admin.open("/dashboard/plugins/p/denials");
    assert!(unknown.contains("No denial is known") && unknown.contains("ringfence dev PATH"), "{unknown}");
    // What the host refuses is always known.
    let asks = "from ringfence import host\n\ndef hi(a):\n    try:\n        host.read_file('/usr/share/secret.txt')\n    except Exception:\n        pass\n    return 1\n";
    rig.active("q", head, &["hi"], asks);
    let called = rig.send(&post("/plugins/q/call", &json!({"tool": "hi"})));
    let denials = rig.send(&get("/plugins/q/denials")).ok();
    assert_eq!(denials[0]["grant"], "file:read=/usr/share/secret.txt", "{called:?} {denials}");
    let shown = admin.open("/dashboard/plugins/q/denials");
    assert!(shown.contains("file:read=/usr/share/secret.txt") && shown.contains("Allow …"), "{shown}");
    assert!(shown.contains("ringfence dev PATH"), "there may be more: {shown}");
    let viewer = Browser::with_role(&rig, Role::Viewer).open("/dashboard/plugins/q/denials");
    assert!(viewer.contains("file:read=/usr/share/secret.txt") && !viewer.contains("Allow …"), "{viewer}");
    let wanted = ("permission", "file:read=/usr/share/secret.txt");
    let question = page(&admin.post("/dashboard/plugins/q/grants/ask", &[wanted]));
    assert!(
        question.contains("read the file /usr/share/secret.txt") && question.contains("is not there now"),
        "{question}"
    );
    let before = rig.send(&get("/plugins/q/grants")).ok();
    assert_eq!(before.as_array().unwrap().len(), 1, "asking gives nothing");
    let none = ("permission", "no permission");
    assert_eq!(admin.post("/dashboard/plugins/q/grants/ask", &[none]).status, 400);
    let version = value_of(&question, "version").unwrap();
    let grant = ("grant", "file:read=/usr/share/**");
    let after = admin.act("/dashboard/plugins/q/grants/add", &[("version", &version), grant]);
    assert!(after.contains("may use file:read=/usr/share/**"), "{after}");
    assert_eq!(rig.send(&get("/plugins/q/grants")).ok().as_array().unwrap().len(), 2);
}
