//! Who comes in: tokens, names, origins, media.

use std::time::Duration;

use ringfence::audit::AuditFilter;
use ringfence_api::Role;
use serde_json::{Value, json};

use crate::client::{get, post, request};
use crate::rig::Rig;

/// Every route with what a request needs to be told apart from a wrong one.
pub(crate) fn routes() -> Vec<(String, String)> {
    let document = ringfence_server::api::document();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path.strip_prefix("/api/v1").unwrap();
            all.push((
                method.to_uppercase(),
                path.replace("{name}", "nobody").replace("{id}", "1").replace("{event}", "onX"),
            ));
        }
    }
    assert!(all.len() > 30, "{all:?}");
    all
}

#[test]
fn api_01_without_a_token_that_holds_every_route_says_the_same() {
    let rig = Rig::new();
    let (id, revoked) = rig.token(Role::Admin, None, None);
    rig.runtime.block_on(rig.host.revoke_token(&id.parse().unwrap())).unwrap();
    let (_, expired) = rig.token(Role::Admin, None, Some(Duration::from_millis(1)));
    let (_, good) = rig.token(Role::Admin, None, None);
    std::thread::sleep(Duration::from_millis(20));
    let wrong = good.replace(&good[good.len() - 6..], "AAAAAA");
    let truncated = &good[..good.len() - 1];
    let mut said = Vec::new();
    for (method, path) in routes() {
        if path == "/health" {
            continue;
        }
        let bare = request(&method, &path);
        for token in
            [None, Some("nonsense"), Some(wrong.as_str()), Some(truncated), Some(&*expired), Some(&*revoked)]
        {
            let asked = token.map_or_else(|| bare.clone(), |token| bare.clone().token(token));
            let answer = asked.send(rig.address);
            assert_eq!(answer.status, 401, "{method} {path} {token:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            let mut document = answer.json();
            document["error"]["correlation_id"] = json!(null);
            said.push(document.to_string());
        }
        // The twin: with one that holds, it is something else. A stream would not end.
        if path != "/stream" {
            assert_ne!(rig.send_as(&good, &bare).status, 401, "{method} {path}");
        }
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    // And what does not exist is not told to strangers either.
    assert_eq!(get("/nothing").send(rig.address).status, 401);
    assert_eq!(rig.send(&get("/nothing")).refusal(), (404, "not_found".to_owned()));
}

/// How many refusals of a kind the audit trail has. The host is ended for it, which writes what is only counted.
fn refusals_of(rig: &mut Rig, reason: &str) -> u64 {
    rig.stop_server();
    rig.runtime.block_on(rig.host.clone().shutdown());
    let filter = AuditFilter { event: Some("access_denied".to_owned()), ..AuditFilter::default() };
    let page = rig.runtime.block_on(rig.host.audit(&filter, None, 1_000)).unwrap();
    let same = page.records.iter().filter(|record| record.body["reason"] == reason);
    same.filter_map(|record| record.body["count"].as_u64()).sum()
}

#[test]
fn api_01_a_flood_of_wrong_tokens_is_held_up_and_the_owner_is_not() {
    let mut rig = Rig::new();
    let wrong = get("/plugins").token("rf_nobody_nothing");
    let mut statuses = Vec::new();
    for _ in 0..1_500 {
        statuses.push(wrong.send(rig.address).status);
    }
    assert!(statuses.iter().take(900).all(|status| *status == 401));
    assert_eq!(statuses.last(), Some(&429));
    assert_eq!(rig.send(&get("/plugins")).status, 200);
    // All of them are on the record, most of them as counts: a host that ends writes those.
    let count = |status: u16| statuses.iter().filter(|known| **known == status).count() as u64;
    let (wrong, held_up) = (count(401), count(429));
    assert_eq!(refusals_of(&mut rig, "a wrong token"), wrong);
    assert_eq!(refusals_of(&mut rig, "too many requests without a valid token"), held_up);
}

#[test]
fn api_01_one_token_that_asks_too_often_is_held_up_and_another_is_not() {
    let mut rig = Rig::with(|options| options.requests_per_second = Some(5));
    let (_, busy) = rig.token(Role::Viewer, None, None);
    let statuses: Vec<u16> = (0..40).map(|_| rig.send_as(&busy, &get("/plugins")).status).collect();
    assert!(statuses.iter().take(10).all(|status| *status == 200), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(rig.send(&get("/plugins")).status, 200);
    let held_up = statuses.iter().filter(|status| **status == 429).count() as u64;
    assert_eq!(refusals_of(&mut rig, "too many requests of the token"), held_up);
    let lifted = Rig::with(|options| options.requests_per_second = None);
    assert!((0..40).all(|_| lifted.send(&get("/plugins")).status == 200), "the twin");
}

#[test]
fn api_03_a_token_is_taken_from_its_header_alone_and_is_never_shown_again() {
    let rig = Rig::new();
    let (id, token) = rig.token(Role::Viewer, None, None);
    assert_eq!(get(&format!("/plugins?token={token}")).send(rig.address).status, 401);
    assert_eq!(get(&format!("/plugins?access_token={token}")).send(rig.address).status, 401);
    assert_eq!(get("/plugins").header("Cookie", &format!("token={token}")).send(rig.address).status, 401);
    assert_eq!(
        get("/plugins").header("Authorization", &format!("Basic {token}")).send(rig.address).status,
        401
    );
    assert_eq!(rig.send_as(&token, &get("/plugins")).status, 200);
    let listed = rig.send(&get("/tokens"));
    assert!(listed.ok().as_array().unwrap().iter().any(|known| known["id"] == id.as_str()));
    assert!(!String::from_utf8_lossy(&listed.body).contains(&token));
    let audit = rig.send(&get("/audit"));
    assert!(!String::from_utf8_lossy(&audit.body).contains(&token));
}

#[test]
fn only_health_answers_strangers_and_says_one_word() {
    let rig = Rig::new();
    let answer = get("/health").send(rig.address);
    assert_eq!(answer.ok(), json!({"status": "ok"}));
    assert_eq!(request("POST", "/health").send(rig.address).status, 401);
    let known = rig.send(&get("/health")).ok();
    assert_eq!((&known["status"], &known["reasons"]), (&json!("ok"), &json!([])));
}

#[test]
fn health_tells_everybody_the_truth_and_the_reason_to_whoever_has_a_token() {
    let rig = Rig::new();
    let strangers = || get("/health").send(rig.address).ok();
    let reasons = || rig.send(&get("/health")).ok()["reasons"].to_string();
    let becomes = |word: &str| {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while strangers() != json!({"status": word}) {
            assert!(std::time::Instant::now() < end, "{}", reasons());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    becomes("ok");
    // A policy that cannot be used.
    std::fs::write(rig.host.home().policy_file(), "deny = [").unwrap();
    becomes("degraded");
    assert!(reasons().contains("policy"), "{}", reasons());
    std::fs::remove_file(rig.host.home().policy_file()).unwrap();
    let fine = "default = \"allow\"\n";
    std::fs::write(rig.host.home().policy_file(), fine).unwrap();
    becomes("ok");
    // Limits that the configuration takes away.
    let mut config = ringfence::Config::default();
    config.plugins.memory_bytes = None;
    rig.host.reconfigure(config);
    becomes("degraded");
    assert!(reasons().contains("no limit of memory"), "{}", reasons());
    rig.host.reconfigure(ringfence::Config::default());
    becomes("ok");
    // An audit trail whose end was cut off: the anchor beside it says so.
    let id = rig.token(Role::Viewer, None, None).0;
    rig.send(&crate::client::delete(&format!("/tokens/{id}"))).ok();
    let home = rig.path("home");
    std::fs::write(home.join("audit.anchor"), vec![0_u8; 64]).unwrap();
    let verdict = rig.send(&get("/audit/verify")).ok();
    assert_ne!(verdict["first_bad"], json!(null), "{verdict}");
    becomes("degraded");
    assert!(reasons().contains("audit trail was found damaged"), "{}", reasons());
}

#[test]
fn an_answer_opened_as_a_page_does_nothing() {
    let rig = Rig::new();
    for answer in [
        get("/health").send(rig.address),
        get("/plugins").send(rig.address),
        rig.send(&get("/plugins")),
        rig.send(&get("//nowhere")),
        rig.send(&request("PATCH", "/plugins")),
    ] {
        for (name, value) in [
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{} {name}", answer.status);
        }
        assert!(answer.header("x-correlation-id").is_some());
    }
}

#[test]
fn api_06_a_name_that_is_not_ours_is_refused_with_and_without_a_token() {
    let rig = Rig::new();
    let port = rig.address.port();
    let good = [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "LOCALHOST".to_owned(),
        format!("[::1]:{port}"),
    ];
    for host in good {
        assert_eq!(rig.send(&get("/plugins").header("Host", &host)).status, 200, "{host}");
    }
    let bad = [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        "169.254.169.254",
        "a b",
        "user@127.0.0.1@evil",
    ];
    for host in bad {
        let answer = rig.send(&get("/plugins").header("Host", host));
        assert!(matches!(answer.status, 400 | 403), "{host}: {}", answer.status);
        assert_ne!(get("/health").header("Host", host).send(rig.address).status, 200, "{host}");
    }
    let two = rig.send(&get("/plugins").header("Host", "localhost").header("Host", "evil.example"));
    assert!(matches!(two.status, 400 | 403), "{}", two.status);
    let named = Rig::with(|options| options.names = vec!["ringfence.example".to_owned()]);
    assert_eq!(named.send(&get("/plugins").header("Host", "ringfence.example")).status, 200);
}

#[test]
fn api_07_other_pages_are_refused_and_nothing_is_shared_with_them() {
    let rig = Rig::new();
    let own = format!("http://{}", rig.address);
    assert_eq!(rig.send(&get("/plugins").header("Origin", &own)).status, 200);
    for origin in ["null", "http://evil.example", "http://127.0.0.1:1", "http://localhost", "file://", ""] {
        let answer = rig.send(&get("/plugins").header("Origin", origin));
        assert_eq!(answer.refusal(), (403, "forbidden".to_owned()), "{origin}");
        assert!(answer.header("access-control-allow-origin").is_none());
    }
    let preflight = request("OPTIONS", "/plugins")
        .header("Origin", "http://evil.example")
        .header("Access-Control-Request-Method", "POST");
    let answer = rig.send(&preflight);
    assert_eq!(answer.status, 403);
    assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control")));
}

#[test]
fn api_05_what_a_form_can_send_changes_nothing() {
    let rig = Rig::new();
    let body = br#"{"role":"admin"}"#;
    for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""] {
        let answer = rig.send(&request("POST", "/tokens").body(media, body));
        assert_eq!(answer.refusal(), (415, "unsupported_media_type".to_owned()), "{media}");
    }
    assert_eq!(rig.send(&get("/tokens")).ok().as_array().unwrap().len(), 1);
    let twin = rig.send(&request("POST", "/tokens").body("application/json; charset=utf-8", body));
    assert_eq!(twin.status, 201);
    assert_eq!(rig.send(&get("/tokens")).ok().as_array().unwrap().len(), 2);
    let changed = rig.send(&get("/plugins/nobody/activate"));
    assert_eq!((changed.status, changed.header("allow")), (405, Some("POST")));
}

#[test]
fn api_08_an_address_for_everybody_needs_tls() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = ringfence::Home::at(directory.path().join("home"));
        let host = ringfence::Host::builder().home(home).build().await.unwrap();
        for address in [([0, 0, 0, 0], 0), ([127, 0, 0, 1], 0)] {
            let listen = vec![ringfence_server::Listen::Tcp { address: address.into(), tls: None }];
            let options = ringfence_server::ServerOptions { listen, ..Default::default() };
            let bound = ringfence_server::Server::bind(host.clone(), options).await;
            assert_eq!(bound.is_ok(), address.0 == [127, 0, 0, 1], "{bound:?}");
        }
        host.shutdown().await;
    });
}

#[test]
fn api_15_fields_that_nobody_asked_for_are_refused_and_failures_tell_no_paths() {
    let rig = Rig::new();
    for body in [
        json!({"role": "viewer", "id": "mine"}),
        json!({"role": "viewer", "token": "mine"}),
        json!({"role": "root"}),
        json!({"role": "viewer", "expires_in_s": -1}),
        json!([]),
    ] {
        assert_eq!(rig.send(&post("/tokens", &body)).refusal().0, 400, "{body}");
    }
    let answer = rig.send(&post("/plugins", &json!({"path": "/etc", "trusted": true})));
    assert_eq!(answer.refusal().0, 400);
    let answer = rig.send(&post("/plugins", &json!({"path": "/etc"})));
    assert_eq!(answer.refusal(), (403, "forbidden".to_owned()));
    let home = rig.path("home");
    assert!(!String::from_utf8_lossy(&answer.body).contains(&*home.to_string_lossy()));
}

#[test]
fn mcp_10_the_door_of_mcp_is_the_same_door() {
    let rig = Rig::new();
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    }}});
    let ask = || {
        post("//mcp/admin", &list)
            .header("Accept", "application/json, text/event-stream")
            .header("MCP-Protocol-Version", "2026-07-28")
            .header("MCP-Method", "tools/list")
    };
    assert_eq!(ask().send(rig.address).refusal(), (401, "unauthenticated".to_owned()));
    let guessed = "rf_0000000000000000_".to_owned() + &"0".repeat(64);
    assert_eq!(rig.send_as(&guessed, &ask()).refusal(), (401, "unauthenticated".to_owned()));
    // Sessions and streams are not kept, so that none can be guessed, and nothing is replayed.
    let session = ask().header("Mcp-Session-Id", "1").header("Last-Event-ID", "1");
    assert_eq!(session.send(rig.address).refusal(), (401, "unauthenticated".to_owned()));
    for (name, value) in [("Host", "evil.example"), ("Origin", "http://evil.example"), ("Origin", "null")] {
        assert_eq!(rig.send(&ask().header(name, value)).status, 403, "{name}: {value}");
    }
    // The twin: the same request with a token is answered.
    let told = rig.send(&ask()).ok();
    assert_eq!(told["result"]["tools"].as_array().map(Vec::len), Some(8), "{told}");
}

/// Whoever may not consent is told where somebody else can, and that address is there.
#[test]
fn mcp_says_on_which_page_of_this_server_a_person_consents() {
    let rig = Rig::new();
    let package =
        rig.package("p", "1.0.0", "permissions: ['env:read=LANG']\n", &["t"], "def t(a):\n    return a\n");
    rig.send(&post("/plugins", &json!({"path": package}))).ok();
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "plugin_list", "arguments": {}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    }}});
    let ask = post("//mcp/admin", &list)
        .header("Accept", "application/json, text/event-stream")
        .header("MCP-Protocol-Version", "2026-07-28")
        .header("MCP-Method", "tools/call")
        .header("MCP-Name", "plugin_list");
    let told = rig.send(&ask).ok();
    let page = told["result"]["structuredContent"]["plugins"][0]["consent"]["page"].as_str().unwrap();
    let path = page.strip_prefix(&format!("http://{}/", rig.address)).unwrap_or_else(|| panic!("{told}"));
    // Not signed in, so sent to sign in; an address that is no page is not found.
    assert_eq!(request("GET", &format!("//{path}")).send(rig.address).status, 303, "{path}");
    assert_eq!(request("GET", &format!("//{path}x")).send(rig.address).status, 404, "{path}x");
}

/// What a plugin may reach of the daemon that runs it, with a grant to reach it.
#[test]
fn api_16_a_plugin_that_reaches_the_daemon_is_a_stranger_there() {
    const CODE: &str = "from ringfence import host\n\ndef ask(a):\n    \
                        return host.http_fetch(a['url'], method=a['method'], headers=a['headers'], body=a['body'])\n";
    let rig = Rig::new();
    let (_, viewer) = rig.token(Role::Viewer, None, None);
    let head = format!("permissions: ['network:request={}']\n", rig.address);
    rig.active("p", &head, &["ask"], CODE);
    rig.active("closed", "", &["ask"], CODE);
    let ask = |plugin: &str, token: Option<&str>, method: &str, path: &str, body: &Value| {
        let mut headers = json!({"Content-Type": "application/json"});
        if let Some(token) = token {
            headers["Authorization"] = json!(format!("Bearer {token}"));
        }
        let url = format!("http://{}/api/v1{path}", rig.address);
        let arguments = json!({"url": url, "method": method, "headers": headers, "body": body.to_string()});
        rig.send(&post(&format!("/plugins/{plugin}/call"), &json!({"tool": "ask", "arguments": arguments})))
    };
    let more = json!({"permissions": ["file:read=/**"]});
    let status = |token: Option<&str>, method: &str, path: &str, body: &Value| {
        let answer = ask("p", token, method, path, body).ok();
        answer["result"]["status"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    };
    assert_eq!(status(None, "PUT", "/plugins/p/grants", &more), 401);
    // A token for looking that was stolen lets it look, and nothing else.
    assert_eq!(status(Some(&viewer), "PUT", "/plugins/p/grants", &more), 403);
    assert_eq!(status(Some(&viewer), "POST", "/tokens", &json!({"role": "admin"})), 403);
    assert_eq!(status(Some(&viewer), "POST", "/exec", &json!({"command": ["/bin/true"]})), 403);
    assert_eq!(rig.send(&get("/tokens")).ok().as_array().unwrap().len(), 2);
    assert!(!rig.send(&get("/plugins/p/grants")).ok().to_string().contains("file:read"));
    // The twins: it was there, and who has the right may. Without the grant it does not even get there.
    let admin = rig.admin.clone();
    assert_eq!(status(Some(&admin), "POST", "/tokens", &json!({"role": "viewer"})), 201);
    let refused = ask("closed", Some(&admin), "POST", "/tokens", &json!({"role": "viewer"}));
    assert!(
        refused.status >= 400 && refused.json().to_string().contains("network:request"),
        "{}",
        refused.json()
    );
    assert_eq!(rig.send(&get("/tokens")).ok().as_array().unwrap().len(), 3);
}
