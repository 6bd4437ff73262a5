//! Programs run for a plugin: those that are granted, in what the plugin itself may, and never longer than it is wanted.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ringfence::plugin::CallOptions;
use serde_json::{Value, json};

use crate::asker::ASKERS;
use crate::rig::Rig;

/// Where this machine has a program, links followed.
fn program(name: &str) -> String {
    let found = ringfence_sandbox::Resolved::find(std::path::Path::new("/usr/bin").join(name).as_ref());
    found.unwrap().path().display().to_string()
}

fn granted(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("subprocess:execute={}", program(name))).collect()
}

fn run(command: Value, timeout_s: Option<f64>) -> Value {
    match timeout_s {
        None => json!({"function": "run_process", "arguments": [command]}),
        Some(seconds) => {
            json!({"function": "run_process", "arguments": [command], "options": {"timeout_s": seconds}})
        }
    }
}

/// What the arguments of one test's processes carry.
fn marker() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("rf-program-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until a process with the marker runs, or none does.
async fn until_marked(marker: &str, alive: bool) {
    let wait = async {
        while ringfence_testkit::alive_with_marker(marker).is_empty() == alive {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(15), wait).await;
    assert!(reached.is_ok(), "{marker}: {:?}", ringfence_testkit::alive_with_marker(marker));
}

#[tokio::test]
async fn a_program_runs_when_it_is_granted_and_no_other_does() {
    let rig = Rig::new().await;
    rig.askers(&[], "").await;
    let echo = program("echo");
    let grant = format!("subprocess:execute={echo}");
    for name in ASKERS {
        rig.refused(name, "run_process", json!([["echo", "hi"]]), &echo, &grant).await;
        rig.refused(name, "run_process", json!([[echo, "hi"]]), &echo, &grant).await;
    }
    rig.grant_askers(&[grant]).await;
    // Whether something is where a plugin can see nothing is not told.
    let (there, not_there) = (rig.path("there"), rig.path("not-there"));
    fs::copy("/bin/true", &there).unwrap();
    for name in ASKERS {
        let ran = json!({"result": {"exit_code": 0, "stdout": "hi\n", "stderr": ""}});
        assert_eq!(rig.ask(name, "run_process", json!([["echo", "hi"]])).await, ran);
        assert_eq!(rig.ask(name, "run_process", json!([[echo, "hi"]])).await, ran);
        let id = program("id");
        let wanted = format!("subprocess:execute={id}");
        rig.refused(name, "run_process", json!([["id"]]), &id, &wanted).await;
        for path in [&there, &not_there] {
            let path = path.display().to_string();
            let wanted = format!("subprocess:execute={path}");
            rig.refused(name, "run_process", json!([[path]]), &path, &wanted).await;
        }
        for bad in [json!([]), json!([""]), json!(["echo", "a\u{0}b"])] {
            let refused = rig.ask(name, "run_process", json!([bad])).await;
            assert_eq!(refused["code"], "invalid_params", "{refused}");
        }
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_program_has_what_the_plugin_has_and_nothing_else() {
    let rig = Rig::new().await;
    let note = rig.path("note.txt");
    fs::write(&note, "buy bread").unwrap();
    rig.askers(&granted(&["cat", "env", "bash"]), "").await;
    let cat = json!([["cat", note]]);
    for name in ASKERS {
        let hidden = rig.ask(name, "run_process", cat.clone()).await;
        assert_eq!(hidden["result"]["exit_code"], 1, "{hidden}");
        let variables = rig.ask(name, "run_process", json!([["env"]])).await;
        let variables = variables["result"]["stdout"].as_str().unwrap();
        assert!(variables.contains(&format!("RINGFENCE_PLUGIN={name}")), "{variables}");
        assert!(!variables.contains("CARGO"), "nothing of the host's environment: {variables}");
        // Its package to read, its data to write, no network device but the loopback.
        let script = "cat plugin.yaml >/dev/null && ! echo x 2>/dev/null >plugin.yaml && echo kept >$RINGFENCE_DATA_DIR/made && tail -n +3 /proc/net/dev | grep -vc ' lo:' || true";
        let ran = rig.ask(name, "run_process", json!([["bash", "-c", script]])).await;
        assert_eq!(ran["result"]["stdout"], "0\n", "{ran}");
        let data = rig.call(name, "where").await.unwrap();
        let made = format!("{}/made", data.as_str().unwrap());
        assert_eq!(fs::read_to_string(made).unwrap(), "kept\n");
        assert!(rig.ask(name, "read_file", json!([note])).await["code"] == "permission_denied");
    }
    rig.grant_askers(&[format!("file:read={}", note.display()), "env:read=CARGO_MANIFEST_DIR".into()]).await;
    for name in ASKERS {
        let shown = rig.ask(name, "run_process", cat.clone()).await;
        assert_eq!(shown["result"]["stdout"], "buy bread", "{shown}");
        let variables = rig.ask(name, "run_process", json!([["env"]])).await;
        assert!(
            variables["result"]["stdout"].as_str().unwrap().contains("CARGO_MANIFEST_DIR="),
            "{variables}"
        );
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn output_comes_as_it_is_and_is_capped() {
    let rig = Rig::new().await;
    rig.askers(&granted(&["bash"]), "").await;
    for name in ASKERS {
        let bash = |script: &str| run(json!(["bash", "-c", script]), None);
        // A secret is the plugin's own: it is not taken away.
        let key = "AKIAIOSFODNN7EXAMPLE";
        let ran = rig.ask_with(name, bash(&format!("echo {key}; printf '\\xff' >&2; exit 7"))).await;
        let expected = json!({"exit_code": 7, "stdout": format!("{key}\n"), "stderr": {"base64": "/w=="}});
        assert_eq!(ran["result"], expected);
        let ran = rig.ask_with(name, bash("kill -9 $$")).await;
        assert_eq!(
            (&ran["result"]["exit_code"], &ran["result"]["signal"]),
            (&json!(null), &json!(9)),
            "{ran}"
        );
        // Every byte takes six as JSON text: it comes as bytes, and whole.
        let ran = rig.ask_with(name, bash("head -c 1500000 /dev/zero")).await;
        assert_eq!(ran["result"]["stdout"]["base64"].as_str().unwrap().len(), 2_000_000);
        let ran = rig.ask_with(name, bash("while :; do echo endless; done")).await;
        assert_eq!(ran["result"]["violation"], "output", "{}", ran["result"]["violation"]);
        let most = usize::try_from(ringfence::service::OUTPUT_MAX_BYTES).unwrap();
        assert_eq!(ran["result"]["stdout"].as_str().unwrap().len(), most);
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_never_ends_or_forks_endlessly_ends_with_its_time() {
    let rig = Rig::new().await;
    let marker = marker();
    rig.askers(&granted(&["bash", "sleep"]), "limits: {processes: 64}\n").await;
    for name in ASKERS {
        let ran = rig.ask_with(name, run(json!(["sleep", "1000"]), Some(0.5))).await;
        assert_eq!(ran["result"]["violation"], "timeout", "{ran}");
        let forks = format!(": {marker}; f() {{ f | f & f; }}; f");
        let ran = rig.ask_with(name, run(json!(["bash", "-c", forks]), Some(2.0))).await;
        assert!(
            ["timeout", "processes"].contains(&ran["result"]["violation"].as_str().unwrap_or("")),
            "{ran}"
        );
        until_marked(&marker, false).await;
        // The plugin is as it was.
        let ran = rig.ask_with(name, run(json!(["bash", "-c", "echo still here"]), None)).await;
        assert_eq!(ran["result"]["stdout"], "still here\n");
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn it_ends_with_the_call_that_wanted_it_and_with_the_plugin() {
    let rig = Rig::new().await;
    rig.askers(&granted(&["bash", "sleep"]), "").await;
    for name in ASKERS {
        let marker = marker();
        let what = run(json!(["bash", "-c", format!(": {marker}; sleep 1000; :")]), None);
        // The deadline of the call.
        let options = CallOptions { timeout: Some(Duration::from_secs(2)), ..CallOptions::default() };
        let arguments = serde_json::value::to_raw_value(&what).unwrap();
        let called = rig.host.call_with(name, "ask", &arguments, &options);
        let (late, ()) = tokio::join!(called, until_marked(&marker, true));
        // The request of the plugin ends at the same moment, and its answer may be the first.
        match late {
            Err(error) => assert_eq!(error.code(), ringfence_api::ErrorCode::Timeout, "{error}"),
            Ok(answer) => assert!(answer.get().contains(r#""code":"timeout""#), "{answer}"),
        }
        until_marked(&marker, false).await;
        // A caller who gives up.
        {
            let called = rig.host.call(name, "ask", what.clone());
            tokio::select! {
                answer = called => panic!("{answer:?}"),
                () = until_marked(&marker, true) => {}
            }
        }
        until_marked(&marker, false).await;
        // The end of the plugin.
        let called = rig.host.call(name, "ask", what);
        let (lost, ()) = tokio::join!(called, async {
            until_marked(&marker, true).await;
            rig.host.deactivate(name).await.unwrap();
            let left = ringfence_testkit::alive_with_marker(&marker);
            assert!(
                left.is_empty(),
                "whoever has deactivated a plugin knows that nothing of it runs: {left:?}"
            );
        });
        assert!(lost.is_err());
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn only_a_few_run_at_once() {
    let rig = Rig::new().await;
    rig.askers(&granted(&["sleep"]), "").await;
    let most = ringfence::service::PROCESSES_MAX;
    for name in ASKERS {
        let mut what = run(json!(["sleep", "2"]), None);
        what["times"] = json!(most + 1);
        let answers = rig.host.call(name, "many", what.clone()).await.unwrap();
        let codes: Vec<_> =
            answers.as_array().unwrap().iter().map(|answer| answer["code"].as_str()).collect();
        assert_eq!(codes.iter().filter(|code| **code == Some("busy")).count(), 1, "{answers}");
        assert_eq!(codes.iter().filter(|code| code.is_none()).count(), most, "{answers}");
        what["times"] = json!(most);
        let answers = rig.host.call(name, "many", what).await.unwrap();
        assert!(answers.as_array().unwrap().iter().all(|answer| answer["code"].is_null()), "{answers}");
    }
    rig.host.shutdown().await;
}
