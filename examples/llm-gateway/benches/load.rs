//! Requests through the gateway with zero, one, four and five plugins, and with one that hangs, beside the server alone: wrk
//! (apt) on 16 connections, each prompt asked once. The gateway, the server, the plugins and wrk share the machine.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::routing::post;
use llm_gateway::{Gateway, Upstream};
use ringfence::{Config, Home, Host};
use ringfence_benches::options::Options;
use ringfence_benches::output::{self, OtherPart};
use ringfence_benches::peers::command;
use ringfence_benches::resident::chain;
use ringfence_benches::stage::Stage;
use ringfence_benches::table::Table;
use ringfence_benches::turns::{Row, Turns, take_turns};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const SERVER: &str = "the server alone";
/// What each gateway has installed. The last plugin of the last one hangs.
const GATEWAYS: [(&str, &[&str]); 5] = [
    ("no plugin", &[]),
    ("one: keyword-guard", &["keyword-guard"]),
    (
        "four: redact, keyword-guard, token-counter, cache",
        &["redact", "keyword-guard", "token-counter", "cache"],
    ),
    ("five: these and hostile", &["redact", "keyword-guard", "token-counter", "cache", "hostile"]),
    ("two: keyword-guard and one that hangs", &["keyword-guard", "hang"]),
];
/// A mutator that never answers. It is given 200 ms; after five failures it is left alone for 30 s.
const HANG: [(&str, &str); 2] = [
    (
        "plugin.yaml",
        "name: hang\nversion: 1.0.0\nruntime: python\nentry_point: hang.py\n\
         hooks: [{event: onRequest, kind: mutator, timeout_ms: 200}]\n",
    ),
    ("hang.py", "def onRequest(ctx):\n    while True:\n        pass\n"),
];
/// A prompt that nobody has asked before, so that the cache knows no answer; the first argument tells the runs apart.
const SCRIPT: &str = r#"
local run, asked = "", 0
function init(args) run = args[1] end
function request()
  asked = asked + 1
  return wrk.format("POST", "/v1/chat/completions", {["content-type"] = "application/json"},
    '{"model": "m", "messages": [{"role": "user", "content": "question ' .. run .. "/" .. asked .. ' of ada@example.com"}]}')
end
"#;
const ANSWER: &str = r#"{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"an answer of some words"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}"#;

fn main() -> ExitCode {
    let options = match Options::from_process() {
        Ok(options) => options,
        Err(refused) => return refused.tell(),
    };
    measure(&options).unwrap_or_else(|error| {
        output::talk(&format!("load: {error}"));
        ExitCode::FAILURE
    })
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    let stage = Stage::without_ringfence()?;
    let runtime = Runtime::new()?;
    let script = stage.directory().join("ask.lua");
    fs::write(&script, SCRIPT)?;
    let server = runtime.block_on(serve(server()))?;
    let mut hosts = Vec::new();
    let mut rows = vec![Row::new(SERVER, || asked(&script, server))];
    for (number, (name, plugins)) in GATEWAYS.iter().enumerate() {
        let directory = stage.directory().join(format!("gateway-{number}"));
        let (host, address) = runtime.block_on(gateway(&directory, plugins, server))?;
        hosts.push(host);
        rows.push(Row::new(*name, {
            let script = &script;
            move || asked(script, address)
        }));
    }
    let table = Table {
        title: "A chat request through the gateway, one of 16 at a time".to_owned(),
        unit: "µs",
        rows: take_turns(rows, Turns::of_long_runs(1, options.samples(1, 5))),
        targets: Vec::new(),
    };
    for host in hosts {
        runtime.block_on(host.shutdown());
    }
    Ok(output::finish(options, &[table], &OtherPart::default()))
}

fn server() -> Router {
    let answer = || async { ([("content-type", "application/json")], ANSWER) };
    Router::new().route("/v1/chat/completions", post(answer))
}

async fn serve(router: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn gateway(directory: &Path, plugins: &[&str], server: SocketAddr) -> io::Result<(Host, SocketAddr)> {
    let packages = packages(directory)?;
    let mut config = Config::default();
    // What is measured is the path of a request, not how long one core of 80 % lasts for a plugin.
    config.plugins.cpu_percent = None;
    let home = Home::at(directory.join("home"));
    let host = Host::builder().home(home).config(config).build().await.map_err(chain)?;
    llm_gateway::install_samples(&host, &packages, plugins).await.map_err(chain)?;
    let upstream = Upstream::new(&format!("http://{server}")).map_err(io::Error::other)?;
    let address = serve(Gateway::new(host.clone(), upstream).router()).await?;
    Ok((host, address))
}

/// The sample plugins, and the one that hangs, where they may be written to.
fn packages(directory: &Path) -> io::Result<PathBuf> {
    let into = directory.join("plugins");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    for plugin in fs::read_dir(samples)? {
        let plugin = plugin?;
        let place = into.join(plugin.file_name());
        fs::create_dir_all(&place)?;
        for file in fs::read_dir(plugin.path())?.flatten().filter(|file| file.path().is_file()) {
            fs::copy(file.path(), place.join(file.file_name()))?;
        }
    }
    fs::create_dir_all(into.join("hang"))?;
    for (file, text) in HANG {
        fs::write(into.join("hang").join(file), text)?;
    }
    Ok(into)
}

/// Microseconds for each request of some seconds of them.
fn asked(script: &Path, address: SocketAddr) -> io::Result<f64> {
    static RUN: AtomicU32 = AtomicU32::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed).to_string();
    let mut wrk = command("wrk");
    wrk.args(["-t1", "-c16", "-d3s", "-s"]).arg(script).arg(format!("http://{address}")).args(["--", &run]);
    let output = wrk.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other("needs wrk (apt-get install wrk)"),
        _ => error,
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(io::Error::other(format!("wrk: {}", text.replace('\n', "; "))));
    }
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate = rate.and_then(|rate| rate.trim().parse::<f64>().ok());
    rate.map(|rate| 1e6 / rate)
        .ok_or_else(|| io::Error::other(format!("wrk said nothing of its rate: {text}")))
}
