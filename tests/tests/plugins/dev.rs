//! `ringfence dev`: what changes is run at once, what is refused is told with the line that would allow it, and a run without a
//! sandbox is loud, recorded, and never that of an installed plugin.

use crate::place::Place;
use ringfence_testkit::{Running, users};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const READS: &str = "def act(a):\n    return open(a['path']).read()\n";

/// A package of `reader`, and a file that nobody granted.
fn place(who: ringfence_testkit::Who) -> Option<(Place, String, String)> {
    let place = Place::new(who)?;
    place.world.mkdir("packages/reader");
    let manifest = json!({
        "name": "reader", "version": "1.0.0", "description": "Reads.", "license": "MIT", "runtime": "python",
        "entry_point": "main.py", "tools": [{"name": "act", "description": "Reads."}]
    });
    place.world.put("packages/reader/plugin.json", &manifest.to_string());
    place.world.put("packages/reader/main.py", READS);
    place.world.put("data/private.txt", "the canary");
    let path = |below: &str| place.world.path(below).to_string_lossy().into_owned();
    let (package, private) = (path("packages/reader"), path("data/private.txt"));
    Some((place, package, private))
}

/// Types a call until its result is this: a change is seen a moment after it was made.
fn typed(dev: &mut Running, line: &str, result: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    while !String::from_utf8_lossy(&dev.so_far()).contains(result) {
        assert!(Instant::now() < until, "{result} did not come: {}", dev.told_so_far());
        dev.write(format!("{line}\n").as_bytes());
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn a_change_is_run_at_once_and_a_refusal_names_the_manifest_line() {
    for who in users() {
        let Some((place, package, private)) = place(who) else { return };
        let mut dev = place.job(&["dev", &package]).open_stdin().spawn();
        let other = private.replace("private", "other");
        place.world.put("data/other.txt", "x");
        dev.write(format!("act path={private}\n").as_bytes());
        typed(&mut dev, "act path=/etc/hostname", "sandbox");
        place.world.put("packages/reader/main.py", &READS.replace("return ", "return 'again: ' + "));
        typed(&mut dev, "act path=/etc/hostname", "again: sandbox");
        let file = place.world.path("packages/reader/plugin.json");
        let mut manifest: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        manifest["permissions"] = json!([format!("file:read={other}")]);
        place.world.put("packages/reader/plugin.json", &manifest.to_string());
        typed(&mut dev, &format!("act path={other}"), "again: x");
        // A manifest with a mistake: what ran before runs on.
        place.world.put("packages/reader/plugin.json", "{\"name\": \"reader\"}");
        let until = Instant::now() + Duration::from_secs(60);
        while !dev.told_so_far().contains("what ran before runs on") {
            assert!(Instant::now() < until, "{}", dev.told_so_far());
            std::thread::sleep(Duration::from_millis(50));
        }
        place.world.put("data/other.txt", "y");
        typed(&mut dev, &format!("act path={other}"), "again: y");
        dev.signal(2);
        let run = dev.finish();
        let told = run.err();
        let line = format!("the manifest line that would allow it: permissions: [\"file:read={private}\"]");
        assert!(told.contains(&line), "as {who:?}\n{run}");
        assert_eq!(
            told.matches(&format!("denied: file:read {private}")).count(),
            1,
            "once, as {who:?}\n{run}"
        );
        assert!(told.contains("granted: none") && told.contains("granted: file:read="), "as {who:?}\n{run}");
        assert!(
            told.contains("missing-field") && told.contains("what ran before runs on"),
            "as {who:?}\n{run}"
        );
        assert!(!run.out().contains("the canary"), "as {who:?}\n{run}");
    }
}

#[test]
fn without_a_sandbox_it_shouts_is_recorded_and_is_no_installed_plugin() {
    for who in users() {
        let Some((place, package, private)) = place(who) else { return };
        let call = format!("act path={private}\n");
        let run = |words: &[&str]| {
            place.job(&[&["dev", &package, "--once"], words].concat()).stdin(call.as_bytes()).run()
        };
        let confined = run(&[]);
        assert!(
            !confined.out().contains("the canary"),
            "the twin: in a sandbox it is refused, as {who:?}\n{confined}"
        );
        assert!(!confined.err().contains("WARNING"), "{confined}");
        let naked = run(&["--unsandboxed"]);
        assert_eq!(naked.out().trim(), "\"the canary\"", "as {who:?}\n{naked}");
        assert!(naked.err().contains("WARNING: --unsandboxed"), "as {who:?}\n{naked}");
        let records = place.json(&["audit", "list"]);
        let weakened: Vec<usize> = records["records"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|record| record["event"] == "start")
            .map(|record| record["body"]["weakened"].as_array().unwrap().len())
            .collect();
        assert_eq!(weakened.iter().filter(|layers| **layers > 5).count(), 1, "as {who:?}: {weakened:?}");
        assert_eq!(weakened.iter().filter(|layers| **layers == 0).count(), 1, "as {who:?}: {weakened:?}");
        place.done(&["install", &package]);
        let refused = run(&["--unsandboxed"]);
        refused.expect_code(4);
        assert!(refused.err().contains("never runs without its sandbox"), "as {who:?}\n{refused}");
        assert!(!refused.out().contains("the canary"), "as {who:?}\n{refused}");
        // Under its sandbox an installed one can be worked on.
        run(&[]).expect_code(0);
    }
}
