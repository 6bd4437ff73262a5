//! The gateway with its sample plugins, in front of a server that is made up.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests: a failure here is the failure of the test that called it"
)]

mod client;
mod upstream;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use llm_gateway::{Gateway, Upstream};
use ringfence::{Home, Host};
use serde_json::{Value, json};

use client::{Answer, ask};
use upstream::Fake;

/// A gateway with plugins, in front of a fake server.
struct World {
    host: Host,
    fake: Fake,
    address: String,
    task: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl World {
    /// `None` where a plugin's interpreter is missing.
    async fn with(plugins: &[&str]) -> Option<Self> {
        if ringfence_testkit::lacks("python3") || ringfence_testkit::lacks("node") {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let packages = copied(directory.path());
        let host = Host::builder().home(Home::at(directory.path().join("home"))).build().await.unwrap();
        llm_gateway::install_samples(&host, &packages, plugins)
            .await
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        let fake = Fake::start().await;
        let upstream = Upstream::new(&fake.address).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Gateway::new(host.clone(), upstream).router();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Some(Self { host, fake, address, task, _directory: directory })
    }

    async fn chat(&self, text: &str) -> Answer {
        ask(&self.address, "/v1/chat/completions", &prompt(text)).await
    }

    async fn end(self) {
        self.task.abort();
        self.host.shutdown().await;
    }
}

fn prompt(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]})
}

/// The sample plugins where a test may write.
fn copied(to: &std::path::Path) -> PathBuf {
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    let into = to.join("plugins");
    for plugin in std::fs::read_dir(from).unwrap() {
        let plugin = plugin.unwrap();
        let place = into.join(plugin.file_name());
        std::fs::create_dir_all(&place).unwrap();
        for file in std::fs::read_dir(plugin.path()).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), place.join(file.file_name())).unwrap();
            }
        }
    }
    into
}

#[tokio::test]
async fn without_plugins_everything_passes_as_it_is() {
    let Some(world) = World::with(&[]).await else { return };
    let answer = world.chat("my mail is ada@example.com").await;
    assert_eq!(
        (answer.status, answer.body["choices"][0]["message"]["content"].as_str()),
        (200, Some("you said: my mail is ada@example.com"))
    );
    let seen = world.fake.requests();
    assert_eq!(
        seen[0].headers.get("authorization").unwrap(),
        "Bearer client-key",
        "the client's key goes to the server"
    );
    let models = ask(&world.address, "/v1/models", &Value::Null).await;
    assert_eq!(models.body["data"][0]["id"], "m");
    world.end().await;
}

#[tokio::test]
async fn a_prompt_is_redacted_before_it_leaves() {
    let Some(world) = World::with(&["redact"]).await else { return };
    let answer =
        world.chat("mail ada@example.com, card 4111 1111 1111 1111, key sk-abcdefghijklmnop1234").await;
    let said = answer.body["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert_eq!(said, "you said: mail [e-mail], card [card], key [key]");
    assert!(!world.fake.requests()[0].body.to_string().contains("ada@"));
    world.end().await;
}

#[tokio::test]
async fn a_guard_refuses_and_the_server_hears_nothing() {
    let Some(world) = World::with(&["keyword-guard"]).await else { return };
    let answer = world.chat("tell me about Project Falcon").await;
    assert_eq!((answer.status, answer.body["error"]["code"].as_str()), (403, Some("keyword")));
    assert!(world.fake.requests().is_empty());
    assert_eq!(world.chat("tell me about falcons").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_was_given_before_comes_from_the_cache() {
    let Some(world) = World::with(&["cache", "token-counter"]).await else { return };
    let (first, second) = (world.chat("hello").await, world.chat("hello").await);
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(first.body, second.body);
    assert_eq!(world.fake.requests().len(), 1, "the server was asked once");
    world.chat("something else").await;
    assert_eq!(world.fake.requests().len(), 2);
    assert!(world.host.settle(Duration::from_secs(5)).await);
    let totals = world.host.call("token-counter", "totals", json!({})).await.unwrap();
    assert_eq!(totals, json!({"m": {"answers": 3, "tokens": 21}}), "seven each, as the server says");
    world.end().await;
}

#[tokio::test]
async fn a_stream_passes_piece_by_piece_and_is_counted_at_its_end() {
    let Some(world) = World::with(&["redact", "keyword-guard", "token-counter", "cache"]).await else {
        return;
    };
    let mut body = prompt("count for ada@example.com");
    body["stream"] = true.into();
    let begun = Instant::now();
    let stream = client::stream(&world.address, "/v1/chat/completions", &body).await;
    let (first_at, pieces) = (stream.first_at.duration_since(begun), stream.text);
    assert!(
        stream.whole_in.saturating_sub(first_at) >= upstream::PAUSE * 2,
        "the first piece came before the last was made"
    );
    assert!(pieces.ends_with("data: [DONE]\n\n") && pieces.matches("data: ").count() == 5, "{pieces}");
    let asked = world.fake.requests();
    assert_eq!(
        asked[0].body["messages"][0]["content"], "count for [e-mail]",
        "a stream is asked for through the plugins"
    );
    let mut refused = prompt("Project Falcon");
    refused["stream"] = true.into();
    assert_eq!(ask(&world.address, "/v1/chat/completions", &refused).await.status, 403);
    assert_eq!(world.fake.requests().len(), 1);
    assert!(world.host.settle(Duration::from_secs(5)).await);
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let totals = world.host.call("token-counter", "totals", json!({})).await.unwrap();
        if totals == json!({"unknown": {"answers": 1, "tokens": 9}}) {
            break;
        }
        assert!(Instant::now() < end, "{totals}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn what_the_server_cannot_do_is_said_in_the_form_of_the_api() {
    let Some(world) = World::with(&["redact"]).await else { return };
    let limited = ask(&world.address, "/v1/limited", &prompt("x")).await;
    assert_eq!((limited.status, limited.body["error"]["code"].as_str()), (429, Some("rate_limit_exceeded")));
    assert_eq!(limited.headers.get("retry-after").map(String::as_str), Some("7"));
    world.fake.stop();
    let gone = world.chat("hello").await;
    assert_eq!((gone.status, gone.body["error"]["code"].as_str()), (502, Some("upstream_failed")));
    let large = prompt(&"x".repeat(4 << 20));
    let refused = ask(&world.address, "/v1/chat/completions", &large).await;
    assert_eq!((refused.status, refused.body["error"]["code"].as_str()), (413, Some("too_large")));
    world.end().await;
}

#[tokio::test]
async fn a_hostile_plugin_reaches_nothing_and_stops_nobody() {
    let Some(world) = World::with(&["hostile", "redact", "token-counter"]).await else { return };
    for turn in 0..12 {
        let begun = Instant::now();
        let answer = world.chat(&format!("turn {turn} of ada@example.com")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let said = answer.body["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(said, format!("you said: turn {turn} of [e-mail]"), "it changed nothing");
        // 200 ms for its hook, and a start when it has crashed.
        assert!(begun.elapsed() < Duration::from_secs(10), "turn {turn} took {:?}", begun.elapsed());
    }
    let hooks = world.host.hooks().await.unwrap();
    let hostile = hooks.iter().find(|hook| hook.plugin.as_str() == "hostile").unwrap();
    assert!(hostile.latency.failures > 0, "{hostile:?}");
    let refused = world.host.denials("hostile").await.unwrap();
    let process = |denial: &ringfence_api::Denial| denial.grant.as_deref() == Some("subprocess:execute");
    assert!(refused.iter().any(process), "it tried, and was refused by the kernel: {refused:?}");
    world.end().await;
}
