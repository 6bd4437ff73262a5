//! `ringfence doctor` on machines that lack something, for real: a small program takes one thing away from itself and then
//! executes the built binary. Each case is held against the same run with nothing taken away, and against `exec`, which must
//! refuse exactly where doctor says so.
#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test starts the built binary, and fails by panicking"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

const RINGFENCE: &str = env!("CARGO_BIN_EXE_ringfence");

/// The helper, compiled once; the C compiler is what links Rust programs too.
fn deny() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deny");
        let made = to.with_extension(std::process::id().to_string());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor/deny.c");
        let output = Command::new("cc").arg("-O1").arg(source).arg("-o").arg(&made).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Another test process may be executing the old one.
        std::fs::rename(made, &to).unwrap();
        to
    })
}

fn run(without: &str, words: &[&str]) -> Output {
    let output = Command::new(deny()).arg(without).arg(RINGFENCE).args(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(99), "this machine cannot take {without} away: {errors}");
    output
}

fn examine(without: &str) -> (Option<i32>, Value) {
    let output = run(without, &["doctor", "--json"]);
    let json = serde_json::from_slice(&output.stdout);
    (output.status.code(), json.unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let checks = document["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check {name} in {document}"))
}

fn mend(document: &Value, name: &str) -> String {
    let steps = check(document, name)["mend"].as_array().unwrap();
    steps.iter().map(|step| step.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

fn missing(document: &Value) -> Vec<&str> {
    let checks = document["checks"].as_array().unwrap();
    checks
        .iter()
        .filter(|check| check["state"] == "missing")
        .map(|check| check["name"].as_str().unwrap())
        .collect()
}

/// What doctor calls impossible, exec must refuse, saying that it is not the command that failed.
fn exec_agrees(without: &str, starts: bool) {
    let output = run(without, &["exec", "--", "echo", "it ran"]);
    let ran = String::from_utf8_lossy(&output.stdout).contains("it ran");
    assert_eq!((ran, output.status.code()), (starts, Some(if starts { 0 } else { 125 })), "{output:?}");
}

#[test]
fn with_nothing_taken_away_everything_is_enforced() {
    let (code, document) = examine("nothing");
    assert_eq!((code, missing(&document)), (Some(0), vec![]), "{document:#}");
    assert_eq!(document["enforceable"], true);
    assert!(["cgroup-v2", "cgroup-v1", "sampler"].contains(&document["limits_by"].as_str().unwrap()));
    exec_agrees("nothing", true);
}

#[test]
fn without_user_namespaces_it_names_the_setting_and_what_hangs_on_it() {
    let (code, document) = examine("user-namespaces");
    assert_eq!(code, Some(7), "{document:#}");
    assert_eq!((&document["enforceable"], &document["limits_by"]), (&Value::Bool(false), &Value::Null));
    assert_eq!(missing(&document), ["user", "mount", "pid", "ipc", "uts", "network", "cgroup"]);
    assert!(mend(&document, "user").contains("sudo sysctl -w user.max_user_namespaces="), "{document:#}");
    assert_eq!(check(&document, "network")["found"], "it needs the layer user");
    assert_eq!(check(&document, "landlock")["state"], "ok", "what does not hang on it is still found");
    assert_eq!(document["settings"]["user.max_user_namespaces"], "0");
    exec_agrees("user-namespaces", false);
}

#[test]
fn without_landlock_only_landlock_is_missing() {
    let (code, document) = examine("landlock");
    assert_eq!((code, missing(&document)), (Some(7), vec!["landlock"]), "{document:#}");
    assert_eq!(document["landlock_abi"], 0);
    assert!(
        mend(&document, "landlock").contains("landlock_create_ruleset"),
        "the outer filter is seen: {document:#}"
    );
    exec_agrees("landlock", false);
}

#[test]
fn a_covered_proc_is_found_out() {
    let (code, document) = examine("proc");
    assert_eq!((code, missing(&document)), (Some(7), vec!["mount", "proc"]), "{document:#}");
    assert!(check(&document, "proc")["found"].as_str().unwrap().contains("mount /proc"));
    assert!(!mend(&document, "proc").is_empty());
    exec_agrees("proc", false);
}

#[test]
fn an_outer_filter_that_forbids_mounting_is_found_out() {
    let (code, document) = examine("mounting");
    assert_eq!((code, missing(&document)), (Some(7), vec!["mount"]), "{document:#}");
    assert!(check(&document, "surroundings")["found"].as_str().unwrap().contains("outer system call filter"));
    assert!(!mend(&document, "mount").is_empty());
    exec_agrees("mounting", false);
}

#[test]
fn memory_that_cannot_be_executed_is_found_out() {
    // Only root may take this away; and the kernel has the setting since Linux 6.3.
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root || !Path::new("/proc/sys/vm/memfd_noexec").exists() {
        let promised = std::env::var("RINGFENCE_NEEDS").unwrap_or_default();
        assert!(
            root || !promised.split(',').any(|need| need.trim() == "root"),
            "RINGFENCE_NEEDS promises root"
        );
        // Past the capture of tests that pass: what was not tested is said.
        std::io::stderr().write_all(b"skipped: needs root and Linux 6.3\n").unwrap();
        return;
    }
    let (code, document) = examine("executable-memory");
    assert_eq!(code, Some(7), "{document:#}");
    assert!(mend(&document, "launcher").contains("sudo sysctl -w vm.memfd_noexec=1"), "{document:#}");
    assert_eq!(mend(&document, "user"), "", "said once");
    exec_agrees("executable-memory", false);
}

#[test]
fn the_text_says_it_in_words_and_the_status_is_the_same() {
    let output = run("landlock", &["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(text.contains("\n  missing  landlock "), "{text}");
    assert!(text.contains("\n  ok       seccomp "), "{text}");
    assert!(text.contains("\nlandlock\n  follows  nothing is started without it\n  mend     "), "{text}");
    assert!(
        text.ends_with(
            "The default plan cannot be enforced here (landlock). Nothing is started until that is mended.\n"
        ),
        "{text}"
    );
    assert!(output.stderr.is_empty());
}

#[test]
fn the_apparmor_profile_is_for_this_program_or_the_one_given() {
    let output = run("nothing", &["doctor", "--apparmor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success()
            && text.contains(&format!("profile ringfence \"{RINGFENCE}\" flags=(unconfined)")),
        "{text}"
    );
    let output = run("nothing", &["doctor", "--apparmor=/opt/app/bin/app"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("\"/opt/app/bin/app\""));
    let output = run("nothing", &["doctor", "--apparmor=app"]);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true));
}
