//! A resident host behind HTTP, and a client that writes its requests by hand.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use ringfence::{Config, Home, Host};
use ringfence_api::Role;
use ringfence_server::Caller;
use ringfence_server::mcp::{InstallFrom, Management, ManagementOptions, admin_router};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a port of its own. Packages below `allowed` are taken.
pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) management: Management,
    pub(crate) address: SocketAddr,
    dir: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

/// What a server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("allowed")).unwrap();
        let home = Home::at(dir.path().join("home"));
        let host =
            Host::builder().home(home).config(Config::default()).actor("daemon").build().await.unwrap();
        let options = ManagementOptions {
            install_from: InstallFrom::Directories(vec![dir.path().join("allowed")]),
            page: Some("http://127.0.0.1:7700/".to_owned()),
        };
        let management = Management::resident(host.clone(), options);
        let admin = admin_router(management.clone()).layer(from_fn(identify));
        let app = Router::new().nest("/mcp/admin", admin);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { host, management, address, dir, server }
    }

    /// A plugin in Python with one permission, below `place`.
    pub(crate) fn package(&self, place: &str, name: &str) -> PathBuf {
        let package = self.dir.path().join(place).join(name);
        std::fs::create_dir_all(&package).unwrap();
        let manifest = format!(
            "name: {name}\nversion: 1.0.0\nruntime: python\nentry_point: main.py\npermissions: ['env:read=LANG']\n\
             tools: [{{name: hi}}]\nconfig_schema: {{type: object, additionalProperties: false, properties: \
             {{language: {{type: string}}, key: {{type: string, writeOnly: true}}}}}}\n"
        );
        std::fs::write(package.join("plugin.yaml"), manifest).unwrap();
        std::fs::write(package.join("main.py"), "def hi(arguments):\n    return 'hi'\n").unwrap();
        package
    }

    /// A place below the directory of the test.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// Serves the same tools on a socket, to an administrator, as a daemon does.
    pub(crate) fn listen(&self, socket: &std::path::Path) -> tokio::task::JoinHandle<()> {
        let administrator = from_fn(|mut request: Request, next: Next| async move {
            request.extensions_mut().insert(Caller {
                actor: "socket".to_owned(),
                role: Role::Admin,
                plugin: None,
                correlation_id: "1".to_owned(),
            });
            next.run(request).await
        });
        let app =
            Router::new().nest("/mcp/admin", admin_router(self.management.clone()).layer(administrator));
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() })
    }

    /// Sends one request with these headers, and reads all of the answer.
    pub(crate) async fn send(&self, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head =
            format!("{method} /mcp/admin HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses a long body need not read it.
        let _refused_before_its_end = stream.write_all(body).await;
        let mut said = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap();
        assert!(read.is_ok() || !said.is_empty(), "{read:?}");
        let said = String::from_utf8(said).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{said}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
        Answer { status, head: head.to_ascii_lowercase(), body }
    }

    /// A request of 2026-07-28 by a caller, as a client of that revision sends it.
    pub(crate) async fn ask(&self, who: &str, method: &str, mut params: Value) -> Answer {
        let name = params["name"].as_str().unwrap_or("").to_owned();
        params["_meta"] = meta("2026-07-28");
        let mut headers = vec![
            ("X-Who", who),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", method),
        ];
        if method == "tools/call" {
            headers.push(("Mcp-Name", &name));
        }
        self.send("POST", &headers, request(method, &params).to_string().as_bytes()).await
    }

    /// Calls a tool and closes the connection when it is under way.
    pub(crate) async fn ask_and_leave(&self, who: &str, tool: &str, arguments: Value) {
        let params = json!({"name": tool, "arguments": arguments});
        let body = request("tools/call", &params).to_string();
        let head = format!(
            "POST /mcp/admin HTTP/1.1\r\nHost: {}\r\nX-Who: {who}\r\nContent-Type: application/json\r\n\
             MCP-Protocol-Version: 2025-11-25\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // Nothing comes for a moment, so the act is being waited for; whoever reads nothing then leaves.
        let silence = tokio::time::timeout(Duration::from_millis(300), stream.read_u8()).await;
        assert!(silence.is_err(), "{silence:?}");
    }

    /// A request of 2025-11-25 by a caller.
    pub(crate) async fn ask_old(&self, who: &str, method: &str, params: &Value) -> Answer {
        let mut headers = vec![("X-Who", who), ("Content-Type", "application/json; charset=utf-8")];
        if method != "initialize" {
            headers.push(("MCP-Protocol-Version", "2025-11-25"));
        }
        self.send("POST", &headers, request(method, params).to_string().as_bytes()).await
    }

    /// The result of a tool, which must follow its schema.
    pub(crate) async fn call(&self, who: &str, tool: &str, arguments: Value) -> Value {
        let listed = self.ask("admin", "tools/list", json!({})).await;
        let tools = listed.body["result"]["tools"].as_array().unwrap();
        let schema = &tools.iter().find(|found| found["name"] == tool).unwrap()["outputSchema"];
        let answer = self.ask(who, "tools/call", json!({"name": tool, "arguments": arguments})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let result = answer.body["result"].clone();
        let validator = jsonschema::validator_for(schema).unwrap();
        if let Err(error) = validator.validate(&result["structuredContent"]) {
            panic!("{tool}: {error}: {result:#}");
        }
        result
    }

    pub(crate) async fn done(&self, who: &str, tool: &str, arguments: Value) -> Value {
        let result = self.call(who, tool, arguments).await;
        assert_eq!(result["isError"], false, "{who} {tool}: {result:#}");
        result["structuredContent"].clone()
    }

    pub(crate) async fn refused(&self, who: &str, tool: &str, arguments: Value, code: &str) -> Value {
        let result = self.call(who, tool, arguments).await;
        assert_eq!(result["structuredContent"]["error"]["code"], code, "{who} {tool}: {result:#}");
        assert_eq!(result["isError"], true);
        result["structuredContent"]["error"].clone()
    }

    pub(crate) async fn end(self) {
        assert!(self.management.settle(PATIENCE).await);
        self.server.abort();
        self.host.shutdown().await;
    }
}

/// `_meta` of a request of this revision.
pub(crate) fn meta(version: &str) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    })
}

pub(crate) fn request(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}

/// What an application does before: here a header says `ROLE` or `ROLE PLUGIN`.
async fn identify(mut request: Request, next: Next) -> Response {
    let who = request.headers().get("x-who").map(|value| value.to_str().unwrap().to_owned());
    if let Some(who) = who {
        let (role, plugin) =
            who.split_once(' ').map_or((who.as_str(), None), |(role, plugin)| (role, Some(plugin)));
        request.extensions_mut().insert(Caller {
            actor: format!("token {role}"),
            role: role.parse::<Role>().unwrap(),
            plugin: plugin.map(|name| name.parse().unwrap()),
            correlation_id: "1".to_owned(),
        });
    }
    next.run(request).await
}
