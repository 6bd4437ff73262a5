//! What a client of the MCP server may send, and when it may go: lines, floods, cancellations, ends.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::mcp_client::{Client, PATIENCE, Speaks};
use crate::world::World;

/// A plugin of this name that takes so long to start, with a person's consent.
fn slow(world: &World, name: &str, start: Duration) {
    let package = world.path(name);
    std::fs::create_dir(&package).unwrap();
    let manifest = json!({"name": name, "version": "1.0.0", "runtime": "native", "entry_point": "run.py", "tools": [{"name": "hi"}]});
    std::fs::write(package.join("plugin.json"), manifest.to_string()).unwrap();
    let program = format!(
        "#!/usr/bin/python3 -ISB\nimport json, sys, time\nfor line in sys.stdin:\n    message = json.loads(line)\n    \
         if message.get('method') == 'initialize':\n        time.sleep({})\n    if 'id' in message:\n        \
         result = {{'protocol_version': '1'}} if message['method'] == 'initialize' else None\n        \
         print(json.dumps({{'jsonrpc': '2.0', 'id': message['id'], 'result': result}}), flush=True)\n",
        start.as_secs_f64()
    );
    let path = package.join("run.py");
    std::fs::write(&path, program).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    world.done(&["install", &package.display().to_string(), "--grant-none"]);
}

/// Waits until an act has come so far that a plugin is being started.
fn started(world: &World) {
    let begun = Instant::now();
    while world.json(&["audit", "list", "--event", "start"])["records"] == json!([]) {
        assert!(begun.elapsed() < PATIENCE, "the act begins");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn state(world: &World) -> Value {
    world.json(&["list"])[0]["state"].clone()
}

fn code(answer: &Value) -> Option<i64> {
    answer["error"]["code"].as_i64()
}

#[test]
fn what_is_no_request_is_refused_and_the_next_one_is_served() {
    let Some(world) = World::new() else { return };
    let mut client = Client::start(&world, Speaks::Handshake);
    let deep = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"a\":{}",
        "[".repeat(1_000_000)
    );
    for (line, id, expected) in [
        ("junk", Value::Null, -32700),
        ("\u{1b}]0;title\u{7}", Value::Null, -32700),
        ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]", Value::Null, -32600),
        ("{\"id\":1,\"method\":\"ping\"}", json!(1), -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", Value::Null, -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":[]}", json!(1), -32602),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"no/such\"}", json!(1), -32601),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/list\"}", json!(1), -32601),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\"}", json!(1), -32602),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":5}}",
            json!(1),
            -32602,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"plugin_grant\"}}",
            json!(1),
            -32602,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"plugin_list\",\"arguments\":[]}}",
            json!(1),
            -32602,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{\"cursor\":\"x\"}}",
            json!(1),
            -32602,
        ),
        (deep.as_str(), Value::Null, -32700),
    ] {
        client.send_raw(format!("{line}\n").as_bytes());
        let answer = client.next();
        assert_eq!((code(&answer), &answer["id"]), (Some(expected), &id), "{}", &line[..line.len().min(200)]);
    }
    // What asks for nothing is answered with nothing.
    client.send_raw(b"\n  \r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n\xff\xfe\n");
    assert_eq!(code(&client.next()), Some(-32700));
    assert_eq!(client.ask("ping", json!({}))["result"], json!({}));
    assert!(client.end().1.success());
}

#[test]
fn a_line_without_end_is_read_over_and_costs_no_memory() {
    let Some(world) = World::new() else { return };
    let mut client = Client::start(&world, Speaks::Stateless);
    let block = vec![b'a'; 1 << 20];
    for _ in 0..200 {
        client.send_raw(&block);
    }
    client.send_raw(b"\n");
    assert_eq!(code(&client.next()), Some(-32600));
    assert!(memory(client.pid()) < 64 << 20, "{}", memory(client.pid()));
    // The twin: a long line within the limit is a message.
    let padded = format!("{}{}\n", client.request("tools/list", json!({})), " ".repeat(3 << 20));
    client.send_raw(padded.as_bytes());
    assert!(client.next()["result"]["tools"].is_array());
    assert!(client.end().1.success());
}

#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let Some(world) = World::new() else { return };
    let mut child = world.command(&["mcp"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let (pid, mut stdin) = (child.id(), child.stdin.take().unwrap());
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let flood = std::thread::spawn(move || {
        let mut sent = 0_u64;
        for id in 0..20_000 {
            let line = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/list\",\"params\":{{\"_meta\":{meta}}}}}\n"
            );
            if std::io::Write::write_all(&mut stdin, line.as_bytes()).is_err() {
                break;
            }
            sent += 1;
        }
        sent
    });
    // Every answer is many times as long as its question; it must not be kept for whoever asks.
    let mut seen = 0;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        seen = seen.max(memory(pid));
    }
    assert!(!flood.is_finished(), "the flood is held back");
    assert!(seen < 64 << 20, "{seen}");
    // Then the client goes: the server ends, and the flood breaks.
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    assert!(flood.join().unwrap() < 20_000);
}

/// The resident memory of a process, in bytes.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn revisions_are_told_apart_by_each_request() {
    let Some(world) = World::new() else { return };
    let mut client = Client::silent(&world, Speaks::Stateless);
    let discovered = client.ask("server/discover", json!({}));
    assert_eq!(discovered["result"]["supportedVersions"], json!(["2026-07-28", "2025-11-25", "2025-06-18"]));
    assert_eq!(code(&client.ask("ping", json!({}))), Some(-32601), "there is none since 2026-07-28");
    // Without a handshake and without a revision of its own, a request says nothing.
    client.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
    assert_eq!(code(&client.next()), Some(-32602));
    let mut other = client.request("tools/list", json!({}));
    other["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "1999-01-01".into();
    client.send(&other);
    let refused = client.next();
    assert_eq!(
        (code(&refused), &refused["error"]["data"]["supported"][1]),
        (Some(-32022), &json!("2025-11-25"))
    );
    // A client of the other kind may come on the same streams.
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}});
    client.send(&json!({"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": params}));
    assert_eq!(client.next()["result"]["protocolVersion"], "2025-06-18");
    client.send(&json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list"}));
    let listed = client.next();
    assert!(listed["result"]["tools"].is_array() && listed["result"].get("resultType").is_none());
    assert!(client.ask("tools/list", json!({}))["result"]["ttlMs"].is_number());
    assert!(client.end().1.success());
}

#[test]
fn an_act_that_is_given_up_is_finished_and_not_answered() {
    let Some(world) = World::new() else { return };
    slow(&world, "slow", Duration::from_secs(2));
    let mut client = Client::start(&world, Speaks::Handshake);
    let request =
        client.request("tools/call", json!({"name": "plugin_activate", "arguments": {"name": "slow"}}));
    client.send(&request);
    // The same id again, while the first is under way.
    client.send(&request);
    let twice = client.next();
    assert_eq!((code(&twice), &twice["id"]), (Some(-32600), &request["id"]));
    started(&world);
    let params = json!({"requestId": request["id"], "reason": "changed my mind"});
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}));
    // An answer to what was given up would be taken for that to the list, and have the wrong id.
    let begun = Instant::now();
    while client.done("plugin_list", &json!({}))["plugins"][0]["state"] != "active" {
        assert!(begun.elapsed() < PATIENCE, "the act goes on to its end");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(client.is_silent(Duration::from_millis(200)), "what was given up is not answered");
    // The twin: what is not given up is answered.
    assert_eq!(client.done("plugin_deactivate", &json!({"name": "slow"}))["plugin"]["state"], "inactive");
    assert_eq!(client.done("plugin_activate", &json!({"name": "slow"}))["plugin"]["state"], "active");
    assert!(client.end().1.success());
}

#[test]
fn the_end_of_input_ends_the_server_after_the_last_answer() {
    let Some(world) = World::new() else { return };
    slow(&world, "slow", Duration::from_secs(2));
    let mut client = Client::start(&world, Speaks::Stateless);
    let request =
        client.request("tools/call", json!({"name": "plugin_activate", "arguments": {"name": "slow"}}));
    client.send(&request);
    let (rest, status) = client.end();
    assert!(status.success());
    assert_eq!(rest.len(), 1, "{rest:#?}");
    assert_eq!(rest[0]["result"]["structuredContent"]["plugin"]["state"], "active");
    // A message without an end of line is one; half a message is none, and is not kept for later.
    for (text, expected) in
        [("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}", 0), ("{\"jsonrpc\":", -32700)]
    {
        let mut client = Client::silent(&world, Speaks::Stateless);
        client.send_raw(text.as_bytes());
        let (rest, status) = client.end();
        assert!(status.success());
        assert_eq!((rest.len(), code(&rest[0]).unwrap_or(0)), (1, expected), "{rest:?}");
    }
}

#[test]
fn a_client_that_is_gone_leaves_no_half_act() {
    let Some(world) = World::new() else { return };
    slow(&world, "slow", Duration::from_secs(2));
    let mut client = Client::start(&world, Speaks::Stateless);
    let request =
        client.request("tools/call", json!({"name": "plugin_activate", "arguments": {"name": "slow"}}));
    client.send(&request);
    started(&world);
    signal(client.pid(), "TERM");
    let (_, status) = client.ended();
    assert_eq!(status.code(), Some(128 + 15));
    assert_eq!(state(&world), "active");
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn more_calls_at_a_time_than_there_may_be_are_refused_and_all_are_answered() {
    let Some(world) = World::new() else { return };
    slow(&world, "slow", Duration::from_millis(500));
    let mut client = Client::start(&world, Speaks::Handshake);
    let mut ids = Vec::new();
    for _ in 0..40 {
        let request =
            client.request("tools/call", json!({"name": "plugin_activate", "arguments": {"name": "slow"}}));
        ids.push(request["id"].clone());
        client.send(&request);
    }
    let mut answers: BTreeMap<i64, String> = BTreeMap::new();
    for _ in 0..ids.len() {
        let answer = client.next();
        let code =
            answer["result"]["structuredContent"]["error"]["code"].as_str().unwrap_or("done").to_owned();
        assert!(answers.insert(answer["id"].as_i64().unwrap(), code).is_none(), "answered twice: {answer}");
    }
    assert_eq!(answers.keys().map(|id| json!(id)).collect::<Vec<_>>(), ids);
    let count = |word: &str| answers.values().filter(|code| *code == word).count();
    assert_eq!((count("done"), count("busy")), (16, 24), "{answers:?}");
    assert!(client.end().1.success());
}
