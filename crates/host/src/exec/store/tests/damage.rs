//! A store that was damaged, cut short or tampered with.

use super::*;

#[test]
fn a_lost_or_damaged_index_is_rebuilt_and_numbers_are_not_used_again() {
    for damage in [None, Some("garbage"), Some(""), Some("ringfence-runs 1\nnext 2\n")] {
        let Fixture { store, .. } = fixture(StoreLimits { max_runs: 4, ..MANY });
        for _ in 0..3 {
            run(&store, 100);
        }
        let going_on = store.begin(meta("a")).unwrap();
        let path = store.runs.join("index");
        match damage {
            None => fs::remove_file(&path).unwrap(),
            Some(text) => fs::write(&path, text).unwrap(),
        }
        assert_eq!(ids(&store), [4, 3, 2, 1], "{damage:?}");
        assert_eq!(run(&store, 1).get(), 5, "{damage:?}");
        assert_eq!(index(&store).open, [4]);
        going_on.finish(&report()).unwrap();
        assert_eq!(ids(&store), [5, 4, 3, 2]);
        check_index(&store);
    }
}

#[test]
fn an_index_that_lags_behind_skips_the_numbers_that_exist() {
    let Fixture { store, .. } = fixture(MANY);
    for _ in 0..3 {
        run(&store, 1);
    }
    let counted = index(&store).total_bytes / 3;
    let text = index::Index { next: 2, oldest: 1, total_bytes: counted, open: vec![] }.text();
    fs::write(store.runs.join("index"), text).unwrap();
    assert_eq!(run(&store, 1).get(), 4);
    assert_eq!(run(&store, 1).get(), 5);
    check_index(&store);
}

#[test]
fn a_run_removed_by_hand_makes_the_total_right_again() {
    let Fixture { store, .. } = fixture(StoreLimits { max_runs: 3, ..MANY });
    for _ in 0..3 {
        run(&store, 1_000);
    }
    fs::remove_dir_all(store.run_dir(1)).unwrap();
    fs::remove_dir_all(store.run_dir(2)).unwrap();
    run(&store, 10);
    check_index(&store);
    assert_eq!(ids(&store), [4, 3]);
}

/// What a process that is killed while it removes a run leaves: the first `steps` steps are done, and the index
/// is still the old one. A step that finds no file is done as well.
fn remove_in_part(store: &RunStore, id: u64, steps: usize) {
    let dir = store.run_dir(id);
    for name in FILES.iter().take(steps) {
        drop(fs::remove_file(dir.join(name)));
    }
    if steps > FILES.len() {
        fs::remove_dir(dir).unwrap();
    }
}

#[test]
fn a_removal_cut_short_at_any_step_makes_the_total_right_again() {
    let by_count = StoreLimits { max_runs: 3, ..MANY };
    let by_size = StoreLimits { max_total_bytes: 4_500, ..MANY };
    for (limits, steps) in [by_count, by_size].into_iter().flat_map(|l| (0..=5).map(move |n| (l, n))) {
        let Fixture { store, .. } = fixture(limits);
        for _ in 0..3 {
            run(&store, 1_000);
        }
        let before = index(&store);
        remove_in_part(&store, 1, steps);
        assert_eq!(before.total_bytes > on_disk(&store).1, steps > 0, "the cut is one: {steps}");
        // The same again while one that is still going on is pushed out, and one with no output at all.
        let silent = store.begin(meta("silent")).unwrap();
        silent.finish(&report()).unwrap();
        let mut long = store.begin(meta("long")).unwrap();
        long.append(Stream::Stdout, 0, &[b'x'; 500]).unwrap();
        for n in 0..8 {
            let oldest = index(&store).oldest;
            remove_in_part(&store, oldest, if n % 2 == 0 { steps } else { 0 });
            run(&store, 1_500);
        }
        drop(long);
        run(&store, 1_500);
        run(&store, 1_500);
        check_index(&store);
    }
}

#[test]
fn a_run_whose_begin_was_cut_short_is_counted_once() {
    let Fixture { store, .. } = fixture(StoreLimits { max_total_bytes: 5_000, ..MANY });
    run(&store, 1_000);
    run(&store, 1_000);
    let mut ends = store.begin(meta("ends")).unwrap();
    ends.append(Stream::Stdout, 0, &[b'x'; 3_500]).unwrap();
    // Another process made the next run, was removing the oldest, and was killed before it wrote the index.
    let text = fs::read_to_string(store.runs.join("index")).unwrap();
    store.begin(meta("killed")).unwrap().forget_as_if_killed();
    remove_in_part(&store, 1, 2);
    fs::write(store.runs.join("index"), text).unwrap();
    // The end of a run comes upon all that before any begin does.
    ends.finish(&report()).unwrap();
    check_index(&store);
    assert_eq!(run(&store, 1).get(), 5);
    check_index(&store);
}

#[test]
fn what_an_earlier_removal_left_goes_when_the_runs_are_counted_again() {
    let Fixture { store, .. } = fixture(StoreLimits { max_runs: 2, ..MANY });
    for _ in 0..4 {
        run(&store, 100);
    }
    fs::create_dir(store.run_dir(1)).unwrap();
    fs::write(store.run_dir(1).join("timeline"), "left").unwrap();
    run(&store, 100);
    assert_eq!(on_disk(&store).0, [5, 4, 1], "a rotation without an irregularity lists nothing");
    remove_in_part(&store, 4, 1);
    run(&store, 100);
    assert_eq!(on_disk(&store).0, [6, 5]);
    check_index(&store);
}

#[test]
fn links_are_never_followed() {
    let Fixture { dir, store } = fixture(StoreLimits { max_runs: 3, ..MANY });
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["output", "timeline", "report.json"] {
        fs::write(outside.join(name), "mine").unwrap();
    }
    for _ in 0..3 {
        run(&store, 10);
    }
    // The directory of a run.
    fs::remove_dir_all(store.run_dir(1)).unwrap();
    symlink(&outside, store.run_dir(1)).unwrap();
    assert_eq!(store.show(RunId(1)).unwrap_err().code(), ErrorCode::Io);
    run(&store, 10);
    assert!(fs::symlink_metadata(store.run_dir(1)).is_err(), "the link was rotated away");
    // A file of a run.
    fs::remove_file(store.run_dir(3).join("output")).unwrap();
    symlink(outside.join("output"), store.run_dir(3).join("output")).unwrap();
    assert!(store.show(RunId(3)).unwrap().replay().is_err());
    fs::remove_file(store.run_dir(4).join("report.json")).unwrap();
    symlink(outside.join("report.json"), store.run_dir(4).join("report.json")).unwrap();
    assert!(store.show(RunId(4)).unwrap_err().chain().contains("symbolic link"));
    // The files that a writer makes.
    let mut writer = store.begin(meta("a")).unwrap();
    symlink(outside.join("new"), store.run_dir(5).join("output")).unwrap();
    assert!(writer.append(Stream::Stdout, 0, b"x").is_err());
    fs::remove_file(store.run_dir(5).join("report.json.tmp")).unwrap();
    symlink(outside.join("new"), store.run_dir(5).join("report.json.tmp")).unwrap();
    writer.finish(&report()).unwrap();
    assert!(store.show(RunId(5)).unwrap_err().chain().contains("symbolic link"));
    // The index, and the whole store.
    fs::remove_file(store.runs.join("index")).unwrap();
    symlink(outside.join("new"), store.runs.join("index")).unwrap();
    assert!(store.begin(meta("a")).unwrap_err().chain().contains("symbolic link"));
    let moved = dir.path().join("moved");
    fs::rename(&store.runs, &moved).unwrap();
    symlink(&moved, &store.runs).unwrap();
    assert!(store.begin(meta("a")).is_err() && store.list(None, 1).is_err());
    for name in ["output", "timeline", "report.json"] {
        assert_eq!(fs::read_to_string(outside.join(name)).unwrap(), "mine");
    }
    assert!(!outside.join("new").exists());
}
