//! The form of a configuration.

use ringfence_api::Role;
use serde_json::{Value, json};

use crate::browser::{Browser, page, value_of};
use crate::client::{get, post, put};
use crate::rig::Rig;

const HEAD: &str = r#"config_schema:
  type: object
  additionalProperties: true
  required: [url]
  properties:
    url: {type: string, title: "Where <it> is", description: "An address.", minLength: 3}
    retries: {type: integer, minimum: 1, maximum: 9, default: 3}
    ratio: {type: number}
    loud: {type: boolean, default: false}
    target: {type: string, enum: [de, "fr\"<x>"], default: de}
    tags: {type: array, items: {type: string}}
    days: {type: array, uniqueItems: true, items: {enum: [mon, tue]}}
    token: {type: string, writeOnly: true}
    proxy: {type: object, properties: {host: {type: string}, key: {type: string, writeOnly: true}}}
    odd: {oneOf: [{type: string}, {type: integer}]}
"#;

fn installed(rig: &Rig) {
    let package = rig.package("p", "1.0.0", HEAD, &["hi"], "def hi(a):\n    return 1\n");
    rig.send(&post("/plugins", &json!({"path": package, "grant_requested": true}))).ok();
}

fn stored(rig: &Rig) -> Value {
    rig.send(&get("/plugins/p/config")).ok()
}

const FILLED: [(&str, &str); 10] = [
    ("value:/url", "http://x"),
    ("value:/retries", "5"),
    ("value:/ratio", "0.5"),
    ("value:/loud", "true"),
    ("value:/target", "1"),
    ("value:/tags", "one\r\ntwo"),
    ("value:/days", "1"),
    ("value:/token", "hunter2"),
    ("value:/proxy/host", "h"),
    ("value:/odd", "7"),
];

#[test]
fn each_setting_has_a_field_of_its_kind_and_what_is_sent_is_stored() {
    let rig = Rig::new();
    installed(&rig);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let form = admin.open("/dashboard/plugins/p/config");
    for part in [
        "Where &lt;it&gt; is",
        "An address.",
        "Must be <bdi>1 to 9</bdi>.",
        "Left empty: <code><bdi>3</bdi></code>",
        "type=\"password\"",
        "<fieldset>",
        "One a line.",
        "fr&quot;&lt;x&gt;",
        "type=\"checkbox\"",
    ] {
        assert!(form.contains(part), "{part}: {form}");
    }
    let after = admin.act("/dashboard/plugins/p/config", &FILLED);
    assert!(after.contains("is saved"), "{after}");
    let expected = json!({
        "url": "http://x", "retries": 5, "ratio": 0.5, "loud": true, "target": "fr\"<x>", "tags": ["one", "two"],
        "days": ["tue"], "token": "***", "proxy": {"host": "h"}, "odd": 7
    });
    assert_eq!(stored(&rig), expected);
    // It is shown again as it was typed, but for what is secret.
    let again = admin.open("/dashboard/plugins/p/config");
    assert!(again.contains("value=\"http://x\"") && again.contains(">one\ntwo</textarea>"), "{again}");
    assert!(!again.contains("hunter2") && again.contains("Leave it empty to keep it"), "{again}");
    assert!(again.contains("value=\"1\" selected") && again.contains("value=\"1\" checked"), "{again}");
}

#[test]
fn a_mistake_stands_beside_its_field_and_nothing_typed_is_lost() {
    let rig = Rig::new();
    installed(&rig);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let mut fields = FILLED;
    fields[0].1 = "<b";
    fields[1].1 = "eleven\"";
    fields[2].1 = "x";
    fields[9].1 = "{";
    let answer = admin.post("/dashboard/plugins/p/config", &fields);
    let body = page(&answer);
    assert_eq!(answer.status, 422, "{body}");
    for part in [
        "this is no whole number",
        "this is no number",
        "this is no JSON",
        "value=\"eleven&quot;\"",
        "value=\"&lt;b\"",
        ">one\ntwo</textarea>".replace('\n', "\r\n").as_str(),
    ] {
        assert!(body.contains(part), "{part}: {body}");
    }
    assert!(!body.contains("hunter2"), "a secret is not shown");
    // What the schema says, too: beside the field, which is marked.
    fields[1].1 = "11";
    fields[2].1 = "1";
    fields[9].1 = "1";
    let body = page(&admin.post("/dashboard/plugins/p/config", &fields));
    assert_eq!(body.matches("class=\"wrong\"").count(), 2, "{body}");
    assert!(
        body.contains("name=\"value:/retries\" value=\"11\"") && body.contains("aria-invalid=\"true\""),
        "{body}"
    );
    assert!(body.contains("2 settings are"), "{body}");
    assert!(stored(&rig).get("url").is_none(), "nothing was stored");
}

#[test]
fn a_secret_is_kept_replaced_and_removed_and_never_shown() {
    let rig = Rig::new();
    installed(&rig);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let send = |admin: &mut Browser, more: &[(&str, &str)]| {
        let mut fields = vec![("value:/url", "http://x")];
        fields.extend_from_slice(more);
        admin.act("/dashboard/plugins/p/config", &fields)
    };
    send(&mut admin, &[("value:/token", "one"), ("value:/proxy/key", "two")]);
    assert_eq!(stored(&rig)["proxy"], json!({"key": "***"}));
    let shown = send(&mut admin, &[("value:/token", ""), ("value:/proxy/key", "")]);
    assert!(!shown.contains("value=\"one\"") && !shown.contains("two"), "{shown}");
    assert_eq!((&stored(&rig)["token"], &stored(&rig)["proxy"]["key"]), (&json!("***"), &json!("***")));
    send(&mut admin, &[("value:/token", ""), ("forget:/token", "yes")]);
    assert_eq!(stored(&rig).get("token"), None);
    assert_eq!(stored(&rig)["proxy"]["key"], "***", "the other stays");
    let as_json = admin.open("/dashboard/plugins/p/config?as=json");
    assert!(as_json.contains("***") && !as_json.contains("two"), "{as_json}");
}

#[test]
fn who_may_only_look_changes_nothing() {
    let rig = Rig::new();
    installed(&rig);
    for role in [Role::Viewer, Role::Operator] {
        let mut browser = Browser::with_role(&rig, role);
        let shown = browser.open("/dashboard/plugins/p/config");
        assert!(shown.contains("<fieldset class=\"bare\" disabled>") && !shown.contains(">Save<"), "{shown}");
        assert_eq!(browser.post("/dashboard/plugins/p/config", &FILLED).status, 403);
    }
    assert!(stored(&rig).get("url").is_none());
    Browser::with_role(&rig, Role::Admin).act("/dashboard/plugins/p/config", &FILLED);
    assert_eq!(stored(&rig)["url"], "http://x", "the twin");
}

#[test]
fn somebody_who_was_faster_is_not_overwritten_and_the_form_says_what_is_there_now() {
    let rig = Rig::new();
    installed(&rig);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let version = value_of(&admin.open("/dashboard/plugins/p/config"), "version").unwrap();
    rig.send(&put("/plugins/p/config", &json!({"url": "http://faster", "retries": 5}))).ok();
    let mut fields = vec![("version", version.as_str())];
    fields.extend_from_slice(&FILLED);
    let answer = admin.post("/dashboard/plugins/p/config", &fields);
    let body = page(&answer);
    assert_eq!(answer.status, 412, "{body}");
    assert!(body.contains("Stored now: <code><bdi>&quot;http://faster&quot;</bdi></code>"), "{body}");
    assert!(body.contains("value=\"http://x\""), "what was typed is kept: {body}");
    assert_eq!(body.matches("Stored now").count(), 8, "only where it differs: {body}");
    assert_eq!(stored(&rig)["url"], "http://faster");
    let version = value_of(&body, "version").unwrap();
    fields[0].1 = &version;
    admin.act("/dashboard/plugins/p/config", &fields);
    assert_eq!(stored(&rig)["url"], "http://x", "the twin: now it is meant");
}

#[test]
fn what_no_field_stands_for_is_kept_and_all_of_it_can_be_written_as_json() {
    let rig = Rig::new();
    installed(&rig);
    rig.send(&put("/plugins/p/config", &json!({"url": "http://x", "more": {"a": [1]}}))).ok();
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let form = admin.open("/dashboard/plugins/p/config");
    assert!(form.contains("Other settings, as JSON") && form.contains("&quot;more&quot;"), "{form}");
    admin.act("/dashboard/plugins/p/config", &[("value:/url", "http://y"), ("others", "{\"more\": 2}")]);
    assert_eq!((&stored(&rig)["url"], &stored(&rig)["more"]), (&json!("http://y"), &json!(2)));
    let wrong = admin.post("/dashboard/plugins/p/config", &[("whole", "{<b")]);
    assert_eq!(wrong.status, 400);
    assert!(page(&wrong).contains(">{&lt;b</textarea>"), "{}", page(&wrong));
    let wrong = admin.post("/dashboard/plugins/p/config", &[("whole", "{\"retries\": 99}")]);
    assert_eq!(wrong.status, 422);
    assert!(page(&wrong).contains("retries"), "{}", page(&wrong));
    admin.act("/dashboard/plugins/p/config", &[("whole", "{\"url\": \"http://z\"}")]);
    assert_eq!(stored(&rig)["url"], "http://z");
}

#[test]
fn a_plugin_without_settings_says_so() {
    let rig = Rig::new();
    rig.active("q", "", &["hi"], "def hi(a):\n    return 1\n");
    let mut admin = Browser::with_role(&rig, Role::Admin);
    assert!(admin.open("/dashboard/plugins/q/config").contains("nothing to configure"));
    assert!(admin.open("/dashboard/plugins/q/config?as=json").contains("The whole configuration"));
}

#[test]
fn what_was_typed_as_json_comes_back_as_the_same_json_and_shows_itself() {
    let rig = Rig::new();
    let head = "config_schema: {type: object, properties: {a: {type: integer}}}\n";
    rig.active("p", head, &["hi"], "def hi(a):\n    return 1\n");
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let typed = "{\r\n  \"a\": \"x\u{202e}y\"\r\n}";
    let answer = admin.post("/dashboard/plugins/p/config", &[("whole", typed)]);
    let body = page(&answer);
    assert_eq!(answer.status, 422, "{body}");
    assert!(!body.contains('\u{202e}') && body.contains("x\\u202ey"), "{body}");
    assert!(body.contains("{\n  &quot;a&quot;: &quot;x"), "its lines are lines: {body}");
    let answer = admin.post("/dashboard/plugins/p/config", &[("value:/a", "1\u{202e}2")]);
    let body = page(&answer);
    assert!(answer.status == 422 && !body.contains('\u{202e}') && body.contains("1\\u{202e}2"), "{body}");
}
