//! A server on standard input and output beside a daemon: what needs a running plugin is the daemon's to do.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use ringfence::plugin::Consent;
use ringfence::{Config, Home, Host};
use ringfence_api::Role;
use ringfence_server::Caller;
use ringfence_server::mcp::{Management, ManagementOptions, serve_stdio};
use serde_json::{Value, json};

use crate::world::World;

/// Where a server writes to.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a tool answers through a server of its own that knows of this socket.
async fn call(world: &World, socket: &Path, tool: &str) -> Value {
    let home = world.host.home().clone();
    let builder = move || Ok(Host::builder().home(Home::at(home.path())).config(Config::default()));
    let management = Management::opening(builder, socket, ManagementOptions::default());
    let caller = Caller {
        actor: "mcp, uid 1".to_owned(),
        role: Role::Admin,
        plugin: None,
        correlation_id: "2".to_owned(),
    };
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let begin = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let params = json!({"name": tool, "arguments": {"name": "greeter"}});
    let act = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params});
    let said = Kept::default();
    let input = Cursor::new(format!("{begin}\n{act}\n"));
    serve_stdio(management, caller, input, said.clone()).await.unwrap();
    let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
    let answer: Value = serde_json::from_str(said.lines().nth(1).unwrap()).unwrap();
    assert_eq!(answer["id"], 2, "{said}");
    answer["result"].clone()
}

#[tokio::test]
async fn what_needs_a_running_plugin_is_the_daemons() {
    if ringfence_testkit::lacks("python3") {
        return;
    }
    let world = World::new().await;
    let socket = world.path("daemon.sock");
    let package = world.package("allowed", "greeter");
    world.host.install(&package, Consent::Withheld).await.unwrap();
    let daemon = world.listen(&socket);

    // The daemon refuses as it would refuse anybody else.
    let refused = call(&world, &socket, "plugin_activate").await;
    assert_eq!(
        (&refused["isError"], &refused["structuredContent"]["error"]["code"]),
        (&json!(true), &json!("consent_required"))
    );
    world.host.consent("greeter", Consent::Requested).await.unwrap();
    let active = call(&world, &socket, "plugin_activate").await;
    assert_eq!(active["structuredContent"]["plugin"]["state"], "active", "{active:#}");
    assert!(world.host.show("greeter").await.unwrap().running, "it runs where the daemon is");
    let inactive = call(&world, &socket, "plugin_deactivate").await;
    assert_eq!(inactive["structuredContent"]["plugin"]["state"], "inactive", "{inactive:#}");
    assert!(!world.host.show("greeter").await.unwrap().running);

    // The twin: with nobody there, it is started and stopped by the server itself.
    daemon.abort();
    assert!(daemon.await.is_err());
    let active = call(&world, &socket, "plugin_activate").await;
    assert_eq!(active["structuredContent"]["plugin"]["state"], "active", "{active:#}");
    assert!(!world.host.show("greeter").await.unwrap().running);
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_is_none_is_told_as_that() {
    let world = World::new().await;
    let socket = world.path("daemon.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let answers = std::thread::spawn(move || {
        for answer in ["", "junk\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let _some_of_it = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    for code in ["io", "io", "internal"] {
        let refused = call(&world, &socket, "plugin_activate").await;
        assert_eq!(refused["structuredContent"]["error"]["code"], code, "{refused:#}");
    }
    answers.join().unwrap();
    world.end().await;
}
