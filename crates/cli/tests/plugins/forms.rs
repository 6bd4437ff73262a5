//! Arguments, JSON documents, completions and manual pages.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::world::{Ran, World};

#[test]
fn the_documents_of_each_command() {
    let Some(world) = World::new() else { return };
    let package = world.notes();
    let snapshot = |name: &str, words: &[&str]| {
        world.snapshot(&format!("forms__{name}"), &world.json(words));
    };
    snapshot("install", &["install", &package]);
    let refused = world.run(&["activate", "notes", "--json"]);
    world.snapshot("forms__refused", &refused.json());
    snapshot("activate", &["activate", "notes", "--grant-requested"]);
    snapshot("list", &["list"]);
    let mut show = world.json(&["show", "notes"]);
    if crate::SERVED {
        // The only difference: here it runs.
        assert_eq!(show["running"], true);
        assert!(show["enforced"]["seccomp"].is_object(), "{show}");
        (show["running"], show["enforced"]) = (json!(false), json!({}));
    }
    world.snapshot("forms__show", &show);
    snapshot("grants", &["grants", "notes"]);
    // Each command has something to say: an empty document is the same whatever is broken.
    let found = world.path("home/plugins/found");
    copy(&world.path("notes-1.0.0"), &found);
    let manifest = std::fs::read_to_string(found.join("plugin.json")).unwrap();
    std::fs::write(found.join("plugin.json"), manifest.replace("\"notes\"", "\"found\"")).unwrap();
    copy(&found, &world.path("home/plugins/broken"));
    std::fs::write(world.path("home/plugins/broken/plugin.json"), "{\"name\": 5}").unwrap();
    snapshot("scan", &["scan"]);
    snapshot("call", &["call", "notes", "echo", "text=5", "count=5"]);
    snapshot("config_set", &["config", "set", "notes", "{\"key\": \"hidden\"}"]);
    world.run(&["call", "notes", "fail"]);
    if !crate::SERVED {
        // What the host notes of starts and ends is another story here.
        snapshot("logs", &["logs", "notes"]);
    }
    let secret = world.path("secret.txt");
    std::fs::write(&secret, "secret").unwrap();
    world.run(&["call", "notes", "read", &format!("path={}", secret.display())]);
    snapshot("why", &["why", "notes"]);
    let other = world.package("1.1.0", &world.asks());
    snapshot("upgrade", &["upgrade", &other]);
    snapshot("deactivate", &["deactivate", "notes"]);
    snapshot("uninstall", &["uninstall", "notes", "--keep-data"]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn arguments_in_every_form() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    let echo = |words: &[&str]| world.done(&[&["call", "notes", "echo"], words].concat()).out;
    assert_eq!(echo(&[]), "{}\n");
    assert_eq!(
        echo(&["text=5", "count=5", "free=5", "list:=[1, 2]", "forced==5"]),
        "{\"text\":\"5\",\"count\":5,\"free\":5,\"list\":[1,2],\"forced\":\"5\"}\n"
    );
    assert_eq!(echo(&["{\"count\": 7}"]), "{\"count\":7}\n");
    std::fs::write(world.path("request.json"), "{\n  \"text\": \"from a file\"\n}\n").unwrap();
    assert_eq!(echo(&["@request.json"]), "{\"text\":\"from a file\"}\n");

    let given = |words: &[&str]| {
        let mut child = world
            .command(&[&["call", "notes", "echo"], words].concat())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // Who does not read it breaks the pipe.
        child.stdin.take().unwrap().write_all(b"{\"text\": \"from a pipe\"}").ok();
        Ran::of(&child.wait_with_output().unwrap()).out
    };
    assert_eq!(given(&["-"]), "{\"text\":\"from a pipe\"}\n");
    assert_eq!(given(&[]), "{}\n", "standard input is read only when asked for");

    std::fs::write(world.path("request.json"), "{\n  \"text\": no\n}\n").unwrap();
    let wrong = world.run(&["call", "notes", "echo", "@request.json"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("line 2, column"), "{wrong:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let Some(world) = World::new().map(World::with_active_notes) else { return };
    for words in [&["show", "notes"][..], &["list"], &["runs", "list"], &["man"]] {
        let mut child = world.command(words).spawn().unwrap();
        drop(child.stdout.take());
        let ran = Ran::of(&child.wait_with_output().unwrap());
        assert!(
            ran.code == Some(0) && ran.err.lines().all(|line| line == "no stored runs"),
            "{words:?}: {ran:?}"
        );
    }
}

#[test]
fn completions_and_pages_are_made_for_every_command() {
    let Some(world) = World::new() else { return };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.done(&["completions", shell]).out;
        for command in ["install", "deactivate", "completions"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    assert_eq!(world.json(&["completions", "bash"])["shell"], "bash");
    let bash = world.done(&["completions", "bash"]).out;
    let checked = std::process::Command::new("bash").args(["-n", "-c", &bash]).output();
    assert!(checked.is_ok_and(|output| output.status.success()));

    assert!(world.done(&["man"]).out.starts_with(".ie"), "a page in roff");
    let pages = world.json(&["man", "pages"]);
    let pages: Vec<&str> =
        pages["pages"].as_array().unwrap().iter().filter_map(|page| page.as_str()).collect();
    for page in ["ringfence.1", "ringfence-call.1", "ringfence-config-set.1", "ringfence-runs-list.1"] {
        assert!(pages.contains(&page), "{page} in {pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("guest")), "{pages:?}");
    let call = std::fs::read_to_string(world.path("pages/ringfence-call.1")).unwrap();
    assert!(call.contains("Examples") && call.contains("timeout"), "{call}");
    assert!(crate::SERVED || !world.path("home").exists(), "neither needs a home");
}

#[test]
fn help_has_examples() {
    let Some(world) = World::new() else { return };
    for words in [&["install", "--help"][..], &["config", "set", "--help"], &["why", "--help"]] {
        let help = world.done(words).out;
        assert!(help.contains("Examples:\n  ringfence ") && help.contains("Exit status: 0"), "{help}");
    }
    assert_eq!(world.json(&["scan"]), json!({"found": [], "broken": []}));
}
