//! Headers, revisions, bounds: what is refused before a tool hears of it, each beside its twin.

use ringfence_server::mcp::MESSAGE_MAX_BYTES;
use serde_json::{Value, json};

use crate::world::{Answer, World, meta, request};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const ADMIN: (&str, &str) = ("X-Who", "admin");
const NEW: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");
const OLD: (&str, &str) = ("MCP-Protocol-Version", "2025-11-25");

fn listing() -> Vec<u8> {
    request("tools/list", &json!({"_meta": meta("2026-07-28")})).to_string().into_bytes()
}

fn code(answer: &Answer) -> i64 {
    answer.body["error"]["code"].as_i64().unwrap_or_default()
}

#[tokio::test]
async fn nobody_is_served_who_was_not_authenticated() {
    let world = World::new().await;
    for method in ["POST", "GET", "DELETE", "OPTIONS"] {
        let answer = world.send(method, &[JSON, NEW, ("Mcp-Method", "tools/list")], &listing()).await;
        assert_eq!(answer.status, 401, "{method}: {answer:?}");
    }
    let answer = world.send("POST", &[ADMIN, JSON, NEW, ("Mcp-Method", "tools/list")], &listing()).await;
    assert_eq!((answer.status, answer.body["result"]["tools"].as_array().unwrap().len()), (200, 8));
    world.end().await;
}

#[tokio::test]
async fn only_json_by_post_is_taken() {
    let world = World::new().await;
    let method = ("Mcp-Method", "tools/list");
    for (verb, kind, accept, status) in [
        ("POST", "application/json", "application/json, text/event-stream", 200),
        ("POST", "Application/JSON; charset=utf-8", "*/*", 200),
        ("POST", "text/plain", "*/*", 415),
        ("POST", "application/x-www-form-urlencoded", "*/*", 415),
        ("POST", "multipart/form-data; boundary=x", "*/*", 415),
        ("POST", "application/jsonx", "*/*", 415),
        ("POST", "application/json", "text/event-stream", 406),
        ("GET", "application/json", "text/event-stream", 405),
        ("DELETE", "application/json", "*/*", 405),
        ("PUT", "application/json", "*/*", 405),
    ] {
        let headers =
            [ADMIN, ("Content-Type", kind), ("Accept", accept), NEW, method, ("Last-Event-ID", "1")];
        let answer = world.send(verb, &headers, &listing()).await;
        assert_eq!(answer.status, status, "{verb} {kind} {accept}: {answer:?}");
        assert!(status != 405 || answer.head.contains("allow: post"), "{answer:?}");
        assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn headers_must_say_what_the_message_says() {
    let world = World::new().await;
    let call = |name: &str| {
        let params = json!({"_meta": meta("2026-07-28"), "name": name, "arguments": {}});
        request("tools/call", &params).to_string().into_bytes()
    };
    let (method, list) = (("Mcp-Method", "tools/call"), "plugin_list");
    for (headers, expected) in [
        (vec![NEW, method, ("Mcp-Name", list)], 0),
        // `plugin_list` as Base64.
        (vec![NEW, method, ("Mcp-Name", "=?base64?cGx1Z2luX2xpc3Q=?=")], 0),
        (vec![method, ("Mcp-Name", list)], -32020),
        (vec![OLD, method, ("Mcp-Name", list)], -32020),
        (vec![NEW, NEW, method, ("Mcp-Name", list)], -32020),
        (vec![NEW, ("Mcp-Name", list)], -32020),
        (vec![NEW, ("Mcp-Method", "tools/list"), ("Mcp-Name", list)], -32020),
        (vec![NEW, method], -32020),
        (vec![NEW, method, ("Mcp-Name", "plugin_scan")], -32020),
        (vec![NEW, method, ("Mcp-Name", "=?base64?!?=")], -32020),
        (vec![NEW, method, method, ("Mcp-Name", list)], -32020),
    ] {
        let all: Vec<(&str, &str)> = [ADMIN, JSON].into_iter().chain(headers.clone()).collect();
        let answer = world.send("POST", &all, &call(list)).await;
        let status = if expected == 0 { 200 } else { 400 };
        assert_eq!((answer.status, code(&answer)), (status, expected), "{headers:?}: {answer:?}");
        assert_eq!(answer.body["id"], 7);
    }
    world.end().await;
}

#[tokio::test]
async fn both_kinds_of_revisions_are_served_and_no_others() {
    let world = World::new().await;
    let discovered = world.ask("viewer", "server/discover", json!({})).await;
    assert_eq!(discovered.body["result"]["resultType"], "complete");
    assert_eq!(discovered.body["result"]["supportedVersions"][0], "2026-07-28");
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let begun = world.ask_old("viewer", "initialize", &params).await;
    assert_eq!(begun.body["result"]["protocolVersion"], "2025-11-25");
    assert!(!begun.head.contains("mcp-session-id"), "{begun:?}");
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    let answer = world.send("POST", &[ADMIN, JSON, OLD], told.as_bytes()).await;
    assert_eq!((answer.status, answer.body), (202, Value::Null));
    let listed = world.ask_old("viewer", "tools/list", &json!({})).await;
    assert_eq!(listed.body["result"]["tools"].as_array().unwrap().len(), 3);
    assert!(listed.body["result"].get("resultType").is_none());
    let called = world.ask_old("viewer", "tools/call", &json!({"name": "plugin_list"})).await;
    assert_eq!(called.body["result"]["structuredContent"]["plugins"], json!([]));
    assert_eq!(world.ask_old("viewer", "ping", &json!({})).await.body["result"], json!({}));

    // A method that there is not: 404 since 2026-07-28, so that it can be told from a place without a server.
    let unknown = world.ask("viewer", "resources/list", json!({})).await;
    assert_eq!((unknown.status, code(&unknown)), (404, -32601));
    assert_eq!((world.ask("viewer", "ping", json!({})).await.status), 404);
    let unknown = world.ask_old("viewer", "resources/list", &json!({})).await;
    assert_eq!((unknown.status, code(&unknown)), (200, -32601));
    world.end().await;
}

#[tokio::test]
async fn a_request_without_its_revision_is_refused() {
    let world = World::new().await;
    let bare = request("tools/list", &json!({})).to_string().into_bytes();
    let method = ("Mcp-Method", "tools/list");
    let other = request("tools/list", &json!({"_meta": meta("2031-01-01")})).to_string().into_bytes();
    for (headers, body, status, expected) in [
        (vec![NEW, method], &bare, 400, -32602),
        (vec![], &bare, 400, -32600),
        (vec![("MCP-Protocol-Version", "2024-11-05")], &bare, 400, -32022),
        (vec![("MCP-Protocol-Version", "2031-01-01"), method], &other, 400, -32022),
        // There are no sessions, so none that could be guessed, taken over or gone on with.
        (vec![OLD, ("Mcp-Session-Id", "0f1e2d3c")], &bare, 404, -32600),
        (vec![OLD], &bare, 200, 0),
    ] {
        let all: Vec<(&str, &str)> = [ADMIN, JSON].into_iter().chain(headers.clone()).collect();
        let answer = world.send("POST", &all, body).await;
        assert_eq!((answer.status, code(&answer)), (status, expected), "{headers:?}: {answer:?}");
        if expected == -32022 {
            assert_eq!(answer.body["error"]["data"]["supported"][1], "2025-11-25", "{answer:?}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_messages() {
    let world = World::new().await;
    let headers = [ADMIN, JSON, NEW, ("Mcp-Method", "tools/list")];
    let padded = |length: usize| {
        let mut body = listing();
        body.resize(length, b' ');
        body
    };
    assert_eq!(world.send("POST", &headers, &padded(MESSAGE_MAX_BYTES)).await.status, 200);
    assert_eq!(world.send("POST", &headers, &padded(MESSAGE_MAX_BYTES + 1)).await.status, 413);
    let deep = "[".repeat(200_000);
    for (body, expected) in
        [("", -32700), ("junk", -32700), ("[]", -32600), (deep.as_str(), -32700), ("{}", -32600)]
    {
        let answer = world.send("POST", &headers, body.as_bytes()).await;
        assert_eq!((answer.status, code(&answer)), (400, expected), "{answer:?}");
    }
    for (name, expected) in [(json!("plugin_grant"), -32602), (json!(5), -32602), (Value::Null, -32602)] {
        let params = json!({"name": name, "_meta": meta("2026-07-28")});
        let body = request("tools/call", &params).to_string();
        let name = name.as_str().unwrap_or("plugin_list");
        let headers = [ADMIN, JSON, NEW, ("Mcp-Method", "tools/call"), ("Mcp-Name", name)];
        let answer = world.send("POST", &headers, body.as_bytes()).await;
        // A name that is none cannot be what the header says.
        let expected = if name == "plugin_grant" { expected } else { -32020 };
        assert_eq!(code(&answer), expected, "{answer:?}");
    }
    world.end().await;
}
