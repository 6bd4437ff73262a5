//! A client of `ringfence mcp` that checks every answer against what the server says of itself.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::World;

/// No answer takes as long as this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Which kind of revision a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// 2025-11-25: `initialize` first.
    Handshake,
    /// 2026-07-28: each request by itself.
    Stateless,
}

/// A server and its one client.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    speaks: Speaks,
    next_id: i64,
    schemas: HashMap<String, Value>,
}

impl Client {
    /// Starts the server; says `initialize` where that is how it begins.
    pub(crate) fn start(world: &World, speaks: Speaks) -> Self {
        let mut client = Self::silent(world, speaks);
        if speaks == Speaks::Handshake {
            let params = json!({
                "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
            });
            let answer = client.ask("initialize", params);
            assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
            client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        }
        client
    }

    /// Starts the server and says nothing.
    pub(crate) fn silent(world: &World, speaks: Speaks) -> Self {
        let mut command = world.command(&["mcp"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let stdin = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines, speaks, next_id: 100, schemas: HashMap::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.send_raw(format!("{message}\n").as_bytes());
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// The next line of the server, which must be a message of the protocol.
    pub(crate) fn next(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    /// Whether nothing comes for a moment.
    pub(crate) fn is_silent(&self, moment: Duration) -> bool {
        self.lines.recv_timeout(moment) == Err(RecvTimeoutError::Timeout)
    }

    /// A request of this client's revision.
    pub(crate) fn request(&mut self, method: &str, mut params: Value) -> Value {
        self.next_id += 1;
        if self.speaks == Speaks::Stateless {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            });
        }
        json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params})
    }

    /// Asks, and waits for the answer, which must be the next message.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let request = self.request(method, params);
        self.send(&request);
        let answer = self.next();
        assert_eq!(answer["id"], request["id"], "{answer}");
        if let (Speaks::Stateless, Some(result)) = (self.speaks, answer.get("result")) {
            assert_eq!(result["resultType"], "complete", "{answer}");
            assert_eq!(
                result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "ringfence",
                "{answer}"
            );
        }
        answer
    }

    /// The tools, with their schemas kept for [`Client::call`].
    pub(crate) fn tools(&mut self) -> Vec<Value> {
        let answer = self.ask("tools/list", json!({}));
        let tools = answer["result"]["tools"].as_array().unwrap().clone();
        for tool in &tools {
            self.schemas.insert(tool["name"].as_str().unwrap().to_owned(), tool["outputSchema"].clone());
        }
        tools
    }

    /// What a tool answers: its result, whose structured content follows the tool's schema.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        if self.schemas.is_empty() {
            self.tools();
        }
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        let result = answer["result"].clone();
        let validator = jsonschema::validator_for(&self.schemas[tool]).unwrap();
        if let Err(error) = validator.validate(&result["structuredContent"]) {
            panic!("{tool}: {error}: {result:#}");
        }
        let is_error = result["isError"].as_bool().unwrap();
        assert_eq!(result["structuredContent"].get("error").is_some(), is_error, "{result:#}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(!text.is_empty() && !text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        result
    }

    /// The structured content of a call that must succeed.
    pub(crate) fn done(&mut self, tool: &str, arguments: &Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], false, "{tool} {arguments}: {result:#}");
        result["structuredContent"].clone()
    }

    /// The error of a call that must fail with this code.
    pub(crate) fn refused(&mut self, tool: &str, arguments: &Value, code: &str) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{tool} {arguments}: {result:#}");
        let error = result["structuredContent"]["error"].clone();
        assert_eq!(error["code"], code, "{tool} {arguments}: {result:#}");
        error
    }

    /// Closes the server's input, and gives what it still says and how it ends.
    pub(crate) fn end(mut self) -> (Vec<Value>, ExitStatus) {
        drop(self.stdin.take());
        self.ended()
    }

    /// What the server still says, and how it ends by itself.
    pub(crate) fn ended(mut self) -> (Vec<Value>, ExitStatus) {
        let (mut rest, until) = (Vec::new(), Instant::now() + PATIENCE);
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            rest.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
        }
        (rest, self.child.wait().unwrap())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has ended, unless the test fails.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
