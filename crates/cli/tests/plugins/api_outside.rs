//! The HTTP API as a tester sees it that others wrote: schemathesis makes requests from the OpenAPI document, valid ones and
//! broken ones, and holds every answer against it. The document itself is judged by openapi-spec-validator.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::outside::{installed, run};
use crate::world::World;

const TOOLS: [&str; 2] = ["schemathesis==4.32.5", "openapi-spec-validator==0.9.0"];
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/openapi.json");
const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside/schemathesis.toml");
/// How many seeds are tried; `RINGFENCE_SEEDS` names another number, for a long run.
const SEEDS: u32 = 1;
/// Requests for each operation and phase.
const EXAMPLES: &str = "10";

/// A daemon, ended with the test.
struct Daemon {
    process: Child,
    address: String,
}

impl Daemon {
    fn start(world: &World) -> Self {
        let mut process = Command::new(crate::world::ringfence())
            .args(["serve", "--listen", "127.0.0.1:0", "--json"])
            .env("RINGFENCE_HOME", world.path("home"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        Self { process, address: ready["addresses"][0].as_str().unwrap().to_owned() }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGTERM, as a service manager sends it.
        let told = Command::new("kill").arg(self.process.id().to_string()).status();
        if !told.is_ok_and(|status| status.success()) {
            self.process.kill().ok();
        }
        self.process.wait().ok();
    }
}

fn tools() -> Option<PathBuf> {
    let place = installed(TOOLS[0], |place: &Path| {
        run("venv", Command::new("python3").args(["-m", "venv"]).arg(place))?;
        let mut pip = Command::new(place.join("bin/python"));
        run("pypi", pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(TOOLS))
    })?;
    Some(place.join("bin"))
}

#[test]
fn api_12_no_request_is_answered_otherwise_than_the_document_says() {
    let Some(world) = World::new() else { return };
    let Some(tools) = tools() else { return };
    let judged = Command::new(tools.join("openapi-spec-validator")).arg(DOCUMENT).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    let token = world.json(&["token", "create", "--role", "admin"]);
    let daemon = Daemon::start(&world);
    let seeds = std::env::var("RINGFENCE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    for seed in 1..=seeds {
        let tested = Command::new(tools.join("schemathesis"))
            .args(["--config-file", SETTINGS, "run", DOCUMENT, "--url", &daemon.address, "--checks", "all"])
            .args(["-H", &format!("Authorization: Bearer {}", token["token"].as_str().unwrap())])
            .args(["--seed", &seed.to_string(), "--max-examples", EXAMPLES, "--no-color"])
            // A stream has no end to be judged at; the tests of the server judge those.
            .args(["--exclude-path", "/api/v1/stream", "--exclude-path", "/api/v1/runs/{id}/stream"])
            .current_dir(world.path("."))
            .output()
            .unwrap();
        assert!(tested.status.success(), "seed {seed}:\n{}", String::from_utf8_lossy(&tested.stdout));
    }
}
