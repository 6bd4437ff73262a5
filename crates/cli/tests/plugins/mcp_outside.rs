//! Clients of the MCP server that others wrote: the SDK from PyPI, both lines of it, and the official Inspector from npm.
//!
//! They are installed once, in exactly these versions, into the build directory. Where that cannot be done, `skipped: needs` is
//! said with `venv`, `pypi`, `npm` or `npm-packages`; a machine that promises it in `RINGFENCE_NEEDS` fails instead.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::outside::{installed, run};
use crate::world::World;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside/client.py");
/// The line of the SDK that speaks all revisions, and the one before.
const SDK_2: &str = "mcp==2.3.0";
const SDK_1: &str = "mcp==1.30.0";
/// The Inspector, and the Node.js that it needs: newer than those of many systems.
const INSPECTOR: [&str; 2] = ["@modelcontextprotocol/inspector@2.12.0", "node@22.23.3"];

/// A Python with this version of the SDK.
fn python(package: &str) -> Option<PathBuf> {
    let place = installed(package, |place| {
        run("venv", Command::new("python3").args(["-m", "venv"]).arg(place))?;
        let mut pip = Command::new(place.join("bin/python"));
        run("pypi", pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]))
    })?;
    Some(place.join("bin/python"))
}

/// A daemon that offers the same tools over HTTP, and a token of an administrator for it.
struct OverHttp {
    daemon: Daemon,
    token: String,
}

impl OverHttp {
    /// It takes packages from where this world has them.
    fn start(world: &World, package: &str) -> Self {
        let from = std::path::Path::new(package).parent().unwrap();
        let config = format!("[server]\ninstall_from = [\"{}\"]\n", from.display());
        world.done(&["list"]);
        std::fs::write(world.path("home").join("config.toml"), config).unwrap();
        let daemon = Daemon::start(world);
        let made = world.json(&["token", "create", "--role", "admin"]);
        Self { daemon, token: made["token"].as_str().unwrap().to_owned() }
    }

    fn url(&self) -> String {
        format!("http://{}/mcp/admin", self.daemon.address())
    }
}

/// Runs the whole life of a plugin with the SDK: over standard input and output, and over HTTP.
fn sdk(package: &str, mode: &str) {
    for over_http in [false, true] {
        sdk_by(package, mode, over_http);
    }
}

fn sdk_by(package: &str, mode: &str, over_http: bool) {
    let Some(world) = World::new() else { return };
    let Some(python) = python(package) else { return };
    let notes = world.notes();
    let http = over_http.then(|| OverHttp::start(&world, &notes));
    let mut client = Command::new(python);
    client.arg(CLIENT).args([crate::world::ringfence(), &notes, mode]);
    if let Some(http) = &http {
        client.env("MCP_URL", http.url()).env("MCP_TOKEN", &http.token);
    }
    let output = client.env("RINGFENCE_HOME", world.path("home")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{package} {mode}, over HTTP: {over_http}: {said}");
    assert_eq!(output.stdout, b"all tools answered\n", "{package} {mode}, over HTTP: {over_http}: {said}");
}

#[test]
fn the_sdk_of_before_uses_every_tool() {
    sdk(SDK_1, "session");
}

#[test]
fn the_sdk_of_today_uses_every_tool_with_a_handshake() {
    sdk(SDK_2, "session");
    sdk(SDK_2, "legacy");
}

#[test]
fn the_sdk_of_today_uses_every_tool_without_one() {
    sdk(SDK_2, "auto");
    sdk(SDK_2, "2026-07-28");
}

/// The Inspector, speaking to the server of a world.
struct Inspector<'a> {
    place: PathBuf,
    world: &'a World,
    era: &'a str,
    http: Option<OverHttp>,
}

impl Inspector<'_> {
    /// The status and the document of one method.
    fn ask(&self, words: &[&str]) -> (Option<i32>, Value) {
        let bin = self.place.join("node_modules/.bin");
        let mut command = Command::new(bin.join("node"));
        command.arg(bin.join("mcp-inspector")).arg("--cli");
        command.args(["-e", &format!("RINGFENCE_HOME={}", self.world.path("home").display())]);
        match &self.http {
            None => command.args([crate::world::ringfence(), "mcp"]),
            Some(http) => {
                let token = format!("Authorization: Bearer {}", http.token);
                command.args(["--transport", "http", "--server-url", &http.url(), "--header", &token])
            }
        };
        command.args(["--protocol-era", self.era, "--format", "json", "--quiet"]);
        // What it keeps of servers goes into the world.
        command.args(words).env("HOME", self.world.path("data"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let document =
            serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {words:?}: {output:?}"));
        (output.status.code(), document)
    }

    fn call(&self, tool: &str, arguments: &Value, status: i32) -> Value {
        let arguments = arguments.to_string();
        let words = ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", &arguments];
        let (code, document) = self.ask(&words);
        assert_eq!(code, Some(status), "{tool} {arguments}: {document:#}");
        document["result"]["structuredContent"].clone()
    }
}

#[test]
fn the_inspector_lists_and_calls_every_tool_in_both_eras() {
    if ringfence_testkit::lacks("npm") {
        return;
    }
    let place = installed("inspector", |place| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(place);
        run("npm-packages", npm.args(INSPECTOR))
    });
    let Some(place) = place else { return };
    for (era, over_http) in [("legacy", false), ("modern", false), ("legacy", true), ("modern", true)] {
        let Some(world) = World::new() else { return };
        let http = over_http.then(|| OverHttp::start(&world, &world.notes()));
        inspected(&Inspector { place: place.clone(), world: &world, era, http });
    }
}

fn inspected(inspector: &Inspector<'_>) {
    let world = inspector.world;
    let (package, named) = (world.notes(), json!({"name": "notes"}));
    let (code, listed) = inspector.ask(&["--method", "tools/list", "--strict"]);
    assert_eq!((code, listed["result"]["tools"].as_array().unwrap().len()), (Some(0), 8), "{listed:#}");
    assert_eq!(inspector.call("plugin_list", &json!({}), 0)["plugins"], json!([]));
    assert_eq!(inspector.call("plugin_scan", &json!({"path": package}), 0)["code"]["scanned"], true);
    let installed = inspector.call("plugin_install", &json!({"path": package}), 0);
    assert_eq!(installed["plugin"]["state"], "installed");
    // A failed tool is its status 5.
    assert_eq!(inspector.call("plugin_activate", &named, 5)["error"]["code"], "consent_required");
    world.done(&["install", &package, "--grant-requested"]);
    assert_eq!(inspector.call("plugin_activate", &named, 0)["plugin"]["state"], "active");
    let set = json!({"name": "notes", "set": {"key": "sesame"}});
    assert_eq!(inspector.call("plugin_configure", &set, 0)["config"]["key"], "***");
    world.done(&["call", "notes", "version"]);
    assert_eq!(inspector.call("plugin_executions", &json!({"limit": 1}), 0)["calls"][0]["tool"], "version");
    assert_eq!(inspector.call("plugin_deactivate", &named, 0)["plugin"]["state"], "inactive");
    assert_eq!(inspector.call("plugin_uninstall", &named, 0)["name"], "notes");
}
