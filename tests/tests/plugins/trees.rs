//! Data directories that are made to be in the way: very deep, under names that no path can hold, closed to their owner. The home
//! opens, the witness works, and uninstalling takes all of it away.

use crate::place::Place;
use ringfence_testkit::{post, users};
use serde_json::{Value, json};

/// Directories in one another that the plugin makes; each name has 255 bytes, so the path exceeds `PATH_MAX` 300 times.
const LEVELS: u64 = 5000;

/// How deep the data directory of `name` nests, seen by the host.
fn depth(place: &Place, name: &str) -> Value {
    let program = "import os, sys\nat, deep = os.open(sys.argv[1], os.O_RDONLY), 0\nwhile names := os.listdir(at):\n    \
                   inner = os.open(names[0], os.O_RDONLY, dir_fd=at)\n    os.close(at)\n    at, deep = inner, deep + 1\nprint(deep)";
    let data = place.home("data").join(name).to_string_lossy().into_owned();
    let run = place.world.bare_program(&["/usr/bin/python3", "-c", program, &data]).run();
    run.expect_code(0);
    serde_json::from_slice(&run.stdout).unwrap()
}

/// The home opens again and again, and the witness has noticed nothing.
fn assert_home_opens(place: &Place) {
    for _ in 0..2 {
        assert_eq!(place.json(&["list"]).as_array().map(Vec::len), Some(2));
    }
    place.witness();
}

/// Installs the plugin again whose package is there.
fn back(place: &Place) {
    let package = place.world.path("packages/hostile").to_string_lossy().into_owned();
    place.done(&["install", &package, "--grant-requested"]);
    place.done(&["activate", "hostile"]);
}

#[test]
fn a_data_directory_of_five_thousand_levels_is_nobody_elses_trouble() {
    let Some(place) = Place::ordinary() else { return };
    let place = place.with_witness();
    place.active("hostile", &json!({}));
    assert_eq!(place.act("hostile", &json!({"how": "good"})), "right");
    // It may be stopped for it before it can answer.
    let run =
        place.run(&["call", "hostile", "act", &json!({"how": "nest", "chains": LEVELS / 100}).to_string()]);
    assert_eq!(depth(&place, "hostile"), json!(LEVELS), "{run}");
    assert_home_opens(&place);
    place.done(&["uninstall", "hostile"]);
    assert_eq!(post::names(&place.home("data")), ["witness"]);
    place.witness();
    // The next one of that name finds nothing of it.
    back(&place);
    assert_eq!(place.act("hostile", &json!({"how": "write_data", "name": "file"})), true);
    assert_eq!(post::names(&place.home("data/hostile")), ["file"]);
}

#[test]
fn directories_that_are_closed_to_their_owner_are_removed_or_kept_all_the_same() {
    for who in users() {
        for (top, keep) in [(0o700, false), (0, false), (0o500, true), (0, true)] {
            let Some(place) = Place::new(who) else { return };
            let place = place.with_witness();
            place.active("hostile", &json!({}));
            let made = place.act("hostile", &json!({"how": "modes", "top": top}));
            assert_eq!(made, "made", "{top:o} as {who:?}");
            assert_home_opens(&place);
            let words: &[&str] =
                if keep { &["uninstall", "hostile", "--keep-data"] } else { &["uninstall", "hostile"] };
            place.done(words);
            assert_eq!(post::names(&place.home("data")), ["witness"], "{top:o} as {who:?}");
            assert_eq!(post::names(&place.home("kept")).len(), usize::from(keep), "{top:o} as {who:?}");
            place.witness();
            if keep {
                back(&place);
                let kept = post::names(&place.home("data/hostile"));
                assert_eq!(kept, ["closed", "entered", "fixed", "listed"], "{top:o} as {who:?}");
                place.done(&["uninstall", "hostile"]);
                assert_eq!(post::names(&place.home("data")), ["witness"], "{top:o} as {who:?}");
            }
        }
    }
}
