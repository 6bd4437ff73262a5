//! A plugin's life over HTTP, from install to uninstall.

use serde_json::json;

use crate::client::{delete, get, post, put, request};
use crate::rig::Rig;

const CODE: &str = "import os\ndef which(a):\n    return os.environ.get('LANG', 'none')\n";
const ASKS: &str = "permissions: ['env:read=LANG']\n\
    config_schema: {type: object, properties: {target: {type: string, enum: [de, fr], default: de}, key: {type: string, writeOnly: true}}}\n";

#[test]
fn a_plugin_is_installed_consented_to_called_revoked_and_removed() {
    let rig = Rig::new();
    let secret = rig.path("secret");
    std::fs::write(&secret, "treasure").unwrap();
    let grant = format!("file:read={}", secret.display());
    let code = format!("def which(a):\n    return open({secret:?}).read()\n");
    let package = rig.package("p", "1.0.0", &format!("permissions: ['{grant}']\n"), &["which"], &code);
    let installed = rig.send(&post("/plugins", &json!({"path": package})));
    assert_eq!(installed.status, 201);
    assert_eq!(installed.ok()["plugin"]["state"], "installed", "{}", installed.json());
    // Nothing of it runs before somebody consents.
    let early = rig.send(&request("POST", "/plugins/p/activate"));
    assert_eq!(early.refusal(), (403, "consent_required".to_owned()));
    let shown = rig.send(&get("/plugins/p")).ok();
    assert!(shown["asks"].to_string().contains(&grant), "{shown}");

    let granted = rig.send(&put("/plugins/p/grants", &json!({"permissions": [grant]}))).ok();
    assert_eq!(granted[0]["permission"], grant.as_str());
    assert_eq!(rig.send(&request("POST", "/plugins/p/activate")).ok()["state"], "active");
    let call = post("/plugins/p/call", &json!({"tool": "which"}));
    assert_eq!(rig.send(&call).ok(), json!({"result": "treasure"}));
    assert_eq!(rig.send(&get("/plugins/p")).ok()["running"], true);

    let less = rig.send(&put("/plugins/p/grants", &json!({"permissions": []}))).ok();
    assert_eq!(less, json!([]));
    let refused = rig.send(&call);
    assert!(matches!(refused.status, 403 | 502), "{}", refused.json());
    assert!(refused.json()["error"]["hint"].to_string().contains(&grant), "{}", refused.json());

    assert_eq!(rig.send(&request("POST", "/plugins/p/deactivate")).ok()["state"], "inactive");
    assert_eq!(rig.send(&call).refusal(), (409, "not_active".to_owned()));
    assert_eq!(rig.send(&delete("/plugins/p")).status, 204);
    assert_eq!(rig.send(&get("/plugins/p")).refusal(), (404, "not_found".to_owned()));
}

#[test]
fn whoever_grants_is_told_what_writing_there_reaches_and_a_listing_is_of_the_same_version() {
    let rig = Rig::new();
    let package = rig.package("p", "1.0.0", "", &["which"], "def which(a):\n    return 1\n");
    rig.send(&post("/plugins", &json!({"path": package}))).ok();
    let place = rig.path("repository");
    std::fs::create_dir_all(place.join(".git")).unwrap();
    let [write, read] = ["write", "read"].map(|act| format!("file:{act}={}/**", place.display()));
    let granted = rig.send(&put("/plugins/p/grants", &json!({"permissions": [write]})));
    assert!(
        granted.ok()[0]["warnings"].to_string().contains("git runs the hooks in it"),
        "{}",
        granted.json()
    );
    let listed = rig.send(&get("/plugins/p/grants"));
    assert!(listed.ok()[0].get("warnings").is_none(), "{}", listed.json());
    assert_eq!(granted.header("etag"), listed.header("etag"), "what is said is no part of the version");
    // Only what is new is warned of, and what is only read is harmless.
    let more = rig.send(&put("/plugins/p/grants", &json!({"permissions": [write, read]})));
    assert_eq!(more.ok().as_array().unwrap().len(), 2);
    assert!(!more.json().to_string().contains("warnings"), "{}", more.json());
}

#[test]
fn an_upgrade_that_asks_for_more_waits_and_a_rollback_goes_back() {
    let rig = Rig::new();
    rig.active("p", "", &["which"], "def which(a):\n    return 1\n");
    let second = rig.package(
        "p",
        "2.0.0",
        "permissions: ['env:read=LANG']\n",
        &["which"],
        "def which(a):\n    return 2\n",
    );
    let before = rig.send(&get("/plugins/p/grants")).header("etag").unwrap().to_owned();
    let waits = rig.send(&post("/plugins/p/upgrade", &json!({"path": second}))).ok();
    assert_eq!((&waits["done"], &waits["wider"]), (&json!(false), &json!(["env:read=LANG"])));
    let call = post("/plugins/p/call", &json!({"tool": "which"}));
    assert_eq!(rig.send(&call).ok()["result"], 1);
    // Consent to what waits carries it out, and nobody consents to what they have not seen.
    let consent = put("/plugins/p/grants", &json!({"permissions": ["env:read=LANG"]}));
    assert_eq!(rig.send(&consent).refusal(), (412, "conflict".to_owned()));
    assert_eq!(
        rig.send(&consent.clone().header("If-Match", &before)).refusal(),
        (412, "conflict".to_owned())
    );
    assert_eq!(rig.send(&call).ok()["result"], 1);
    let now = rig.send(&get("/plugins/p/grants")).header("etag").unwrap().to_owned();
    rig.send(&consent.header("If-Match", &now)).ok();
    assert_eq!(rig.send(&call).ok()["result"], 2);
    assert_eq!(rig.send(&request("POST", "/plugins/p/rollback")).ok()["done"], true);
    assert_eq!(rig.send(&call).ok()["result"], 1);
}

#[test]
fn two_administrators_do_not_overwrite_each_other() {
    let rig = Rig::new();
    let package = rig.package("p", "1.0.0", ASKS, &["which"], CODE);
    rig.send(&post("/plugins", &json!({"path": package, "grant": []}))).ok();
    let read = rig.send(&get("/plugins/p/config"));
    assert_eq!(read.ok(), json!({"target": "de"}));
    let version = read.header("etag").unwrap().to_owned();
    let change = |target: &str| put("/plugins/p/config", &json!({"target": target, "key": "s3cret"}));
    let first = rig.send(&change("fr").header("If-Match", &version));
    assert_eq!(first.ok(), json!({"target": "fr", "key": "***"}));
    let second = rig.send(&change("de").header("If-Match", &version));
    assert_eq!(second.refusal(), (412, "conflict".to_owned()));
    assert_eq!(rig.send(&get("/plugins/p/config")).ok()["target"], "fr");
    let new = first.header("etag").unwrap();
    assert_eq!(rig.send(&change("de").header("If-Match", new)).ok()["target"], "de");
    // A change of a secret alone is a change, too.
    let read = rig.send(&get("/plugins/p/config")).header("etag").unwrap().to_owned();
    rig.send(&put("/plugins/p/config", &json!({"target": "de", "key": "an0ther"}))).ok();
    let late = put("/plugins/p/config", &json!({"target": "de", "key": "third"})).header("If-Match", &read);
    assert_eq!(rig.send(&late).refusal(), (412, "conflict".to_owned()));
    let broken = rig.send(&put("/plugins/p/config", &json!({"target": "it"})));
    assert_eq!(broken.refusal(), (422, "schema_violation".to_owned()));

    let grants = rig.send(&get("/plugins/p/grants"));
    let version = grants.header("etag").unwrap().to_owned();
    let grant =
        put("/plugins/p/grants", &json!({"permissions": ["env:read=LANG"]})).header("If-Match", &version);
    assert_eq!(rig.send(&grant).status, 200);
    assert_eq!(rig.send(&grant).refusal(), (412, "conflict".to_owned()));
}

#[test]
fn packages_come_from_the_directories_that_were_named_and_from_nowhere_else() {
    let rig = Rig::new();
    let package = rig.package("p", "1.0.0", "", &["which"], CODE);
    let outside = rig.path("outside");
    std::fs::create_dir(&outside).unwrap();
    for file in ["plugin.yaml", "main.py"] {
        std::fs::copy(package.join(file), outside.join(file)).unwrap();
    }
    std::os::unix::fs::symlink(&outside, rig.path("packages").join("link")).unwrap();
    let packages = rig.path("packages");
    let packages = packages.to_str().unwrap();
    for path in [
        outside.to_str().unwrap().to_owned(),
        format!("{packages}/link"),
        format!("{packages}/../outside"),
        format!("{packages}x/p"),
        "p-1.0.0".to_owned(),
        String::new(),
        format!("{packages}/p-1.0.0\0"),
    ] {
        let answer = rig.send(&post("/plugins", &json!({"path": path})));
        assert!(matches!(answer.status, 400 | 403), "{path}: {}", answer.status);
    }
    assert_eq!(rig.send(&get("/plugins")).ok(), json!([]));
    let missing = rig.send(&post("/plugins", &json!({"path": format!("{packages}/nothing")})));
    assert_eq!(missing.refusal(), (404, "path_not_found".to_owned()));
    assert_eq!(rig.send(&post("/plugins", &json!({"path": package}))).status, 201);
}

#[test]
fn what_was_begun_is_done_though_its_caller_has_left() {
    use std::io::Write as _;

    let rig = Rig::new();
    let slow = "import time\ntime.sleep(1)\ndef which(a):\n    return 1\n";
    let package = rig.package("p", "1.0.0", "", &["which"], slow);
    rig.send(&post("/plugins", &json!({"path": package, "grant": []}))).ok();
    let mut stream = std::net::TcpStream::connect(rig.address).unwrap();
    let request = request("POST", "/plugins/p/activate").token(&rig.admin);
    stream.write_all(&request.bytes(rig.address)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(stream);
    for _ in 0..100 {
        if rig.send(&get("/plugins/p")).ok()["state"] == "active" {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("it was not activated");
}

#[test]
fn what_was_begun_is_done_before_the_server_has_ended_though_its_caller_has_left() {
    use std::io::Write as _;

    let mut rig = Rig::new();
    let slow = "import time\ntime.sleep(1)\ndef which(a):\n    return 1\n";
    let package = rig.package("p", "1.0.0", "", &["which"], slow);
    rig.send(&post("/plugins", &json!({"path": package, "grant": []}))).ok();
    let mut stream = std::net::TcpStream::connect(rig.address).unwrap();
    let request = request("POST", "/plugins/p/activate").token(&rig.admin);
    stream.write_all(&request.bytes(rig.address)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(stream);
    rig.stop_server();
    let shown = rig.runtime.block_on(rig.host.show("p")).unwrap();
    assert_eq!(shown.state, ringfence_api::PluginState::Active);
}

#[test]
fn an_operator_does_not_release_a_quarantine_and_an_administrator_does() {
    let rig = Rig::new();
    rig.active("p", "", &["die"], "import os\ndef die(a):\n    os._exit(1)\n");
    let (_, operator) = rig.token(ringfence_api::Role::Operator, None, None);
    let die = post("/plugins/p/call", &json!({"tool": "die"}));
    // The pauses between the starts alone are a quarter of a minute.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while rig.send_as(&operator, &die).refusal().1 != "quarantined" {
        assert!(std::time::Instant::now() < until, "{}", rig.send(&get("/plugins/p")).json());
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    let activate = request("POST", "/plugins/p/activate");
    assert_eq!(rig.send_as(&operator, &activate).refusal(), (409, "quarantined".to_owned()));
    assert_eq!(rig.send(&activate).ok()["state"], "active");
}

#[test]
fn an_act_stands_in_the_audit_trail_under_the_request_and_its_token() {
    let rig = Rig::new();
    let package = rig.package("p", "1.0.0", ASKS, &["which"], CODE);
    let body = json!({"path": package, "grant_requested": true});
    let answer = rig.send(&post("/plugins", &body).header("X-Correlation-Id", "deploy-7"));
    assert_eq!((answer.status, answer.header("x-correlation-id")), (201, Some("deploy-7")));
    let records = rig.send(&get("/audit?correlation_id=deploy-7")).ok();
    let events: Vec<&str> = records["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["event"].as_str().unwrap())
        .collect();
    assert!(events.contains(&"install") && events.contains(&"consent"), "{records}");
    assert!(records.to_string().contains("token "), "{records}");
    assert_eq!(rig.send(&get("/audit/verify")).ok()["first_bad"], json!(null));
    let hostile = rig.send(&get("/plugins").header("X-Correlation-Id", "a b\u{7f}"));
    assert_ne!(hostile.header("x-correlation-id"), Some("a b\u{7f}"));
}

#[test]
fn a_version_that_waits_is_dropped_and_the_installed_one_runs_on() {
    let rig = Rig::new();
    rig.active("p", "", &["which"], CODE);
    let waiting = |version: &str| {
        let package = rig.package("p", version, "permissions: ['env:read=LANG']\n", &["which"], CODE);
        let upgraded = rig.send(&post("/plugins/p/upgrade", &json!({"path": package}))).ok();
        assert_eq!(upgraded["done"], false, "{upgraded}");
        rig.send(&get("/plugins/p/grants")).header("etag").unwrap().to_owned()
    };
    let drop = delete("/plugins/p/upgrade");
    assert_eq!(rig.send(&drop).refusal(), (404, "not_found".to_owned()), "nothing waits");
    let stored = || std::fs::read_dir(rig.path("home").join("store")).unwrap().count();
    let before = stored();
    let looked_at = waiting("1.1.0");
    assert_eq!(stored(), before + 1);
    waiting("1.2.0");
    let late = drop.clone().header("If-Match", &looked_at);
    assert_eq!(rig.send(&late).refusal(), (412, "conflict".to_owned()), "another one waits by now");
    assert_eq!(rig.send(&get("/plugins/p")).ok()["pending"]["version"], "1.2.0");
    let (_, operator) = rig.token(ringfence_api::Role::Operator, None, None);
    assert_eq!(rig.send_as(&operator, &drop).refusal(), (403, "forbidden".to_owned()));
    let dropped = rig.send(&drop.clone().header("X-Correlation-Id", "drop-1"));
    assert_eq!(dropped.ok()["version"], "1.0.0");
    let shown = rig.send(&get("/plugins/p")).ok();
    assert_eq!((&shown["pending"], &shown["running"]), (&json!(null), &json!(true)));
    assert_eq!(stored(), before, "nothing of it is kept");
    let records = rig.send(&get("/audit?correlation_id=drop-1")).ok();
    let record = &records["records"][0];
    assert_eq!(
        (&record["event"], &record["body"]["step"]),
        (&json!("upgrade"), &json!("abandoned")),
        "{records}"
    );
    assert!(record["body"]["by"].as_str().unwrap().starts_with("token "), "{records}");
    assert_eq!(rig.send(&drop).refusal(), (404, "not_found".to_owned()));
    // What it asked for is granted by nobody; the same version may come again, and is taken when somebody consents.
    assert_eq!(rig.send(&get("/plugins/p/grants")).ok(), json!([]));
    let version = waiting("1.2.0");
    let consent = put("/plugins/p/grants", &json!({"permissions": []})).header("If-Match", &version);
    rig.send(&consent).ok();
    assert_eq!(rig.send(&get("/plugins/p")).ok()["version"], "1.2.0", "the twin");
}
