//! Writing and reading back, rotation, killed processes, links, failing disks and many processes at once.

mod damage;

use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use ringfence_api::{RunStatus, Violation};

const MANY: StoreLimits = StoreLimits { max_runs: 1_000, max_total_bytes: 1 << 40, max_run_bytes: 1 << 40 };

struct Fixture {
    dir: tempfile::TempDir,
    store: RunStore,
}

fn fixture(limits: StoreLimits) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = RunStore::new(&Home::at(dir.path().join("home")), limits);
    Fixture { dir, store }
}

fn meta(word: &str) -> RunMeta {
    RunMeta {
        command: vec![word.to_owned(), "-x".to_owned()],
        started_at_ms: 7,
        grants: vec!["file:read=/a".to_owned()],
    }
}

fn report() -> RunReport {
    RunReport { exit_code: Some(3), duration_ms: 12, ..RunReport::new(RunStatus::Exited) }
}

/// A whole run with so many bytes of output.
fn run(store: &RunStore, bytes: usize) -> RunId {
    let mut writer = store.begin(meta("run")).unwrap();
    writer.append(Stream::Stdout, 1, &vec![b'x'; bytes]).unwrap();
    let id = writer.id();
    writer.finish(&report()).unwrap();
    id
}

fn ids(store: &RunStore) -> Vec<u64> {
    store.list(None, PAGE).unwrap().runs.iter().map(|run| run.id.get()).collect()
}
const PAGE: usize = 1_000;

/// What really lies in the directory: (ids, bytes of their files).
fn on_disk(store: &RunStore) -> (Vec<u64>, u64) {
    let mut ids: Vec<u64> = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(&store.runs).unwrap().map(Result::unwrap).filter(|e| e.file_name() != "index") {
        ids.push(entry.file_name().to_str().unwrap().parse().unwrap());
        bytes +=
            fs::read_dir(entry.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum::<u64>();
    }
    ids.sort_unstable_by(|a, b| b.cmp(a));
    (ids, bytes)
}

fn index(store: &RunStore) -> index::Index {
    index::Index::parse(&fs::read_to_string(store.runs.join("index")).unwrap()).unwrap()
}

/// The index says exactly what lies in the directory.
fn check_index(store: &RunStore) {
    let (ids, bytes) = on_disk(store);
    let index = index(store);
    assert_eq!((index.total_bytes, index.open.len()), (bytes, 0));
    assert_eq!(ids.last().copied().unwrap_or(index.next), index.oldest);
}

#[test]
fn a_run_is_read_back_with_its_streams_and_times() {
    let Fixture { store, .. } = fixture(MANY);
    let mut writer = store.begin(meta("a")).unwrap();
    for (stream, at_ms, bytes) in [
        (Stream::Stdout, 1, "one"),
        (Stream::Stdout, 1, "-two"),
        (Stream::Stderr, 1, "err"),
        (Stream::Stdout, 1, ""),
        (Stream::Stdout, 2_000, "late\n"),
    ] {
        writer.append(stream, at_ms, bytes.as_bytes()).unwrap();
    }
    let id = writer.id();
    writer.finish(&report()).unwrap();

    let run = store.show(id).unwrap();
    let chunks: Vec<_> = run.replay().unwrap().map(Result::unwrap).collect();
    let chunk = |stream, t_ms, text: &str| ReplayChunk { stream: Some(stream), t_ms, bytes: text.into() };
    assert_eq!(
        chunks,
        [
            chunk(Stream::Stdout, 1, "one-two"),
            chunk(Stream::Stderr, 1, "err"),
            chunk(Stream::Stdout, 2_000, "late\n")
        ]
    );
    assert_eq!(run.report, Some(report()));
    assert_eq!((run.grants, run.summary.stored_truncated), (meta("a").grants, false));
    let lines = fs::read_to_string(store.run_dir(id.get()).join("timeline")).unwrap();
    assert_eq!(lines.lines().next(), Some(r#"{"t_ms":1,"stream":"stdout","len":7}"#));

    let page = store.list(None, 10).unwrap();
    let summary = &page.runs[0];
    assert_eq!(
        (summary.status, summary.exit_code, summary.duration_ms),
        (Some(RunStatus::Exited), Some(3), Some(12))
    );
    assert_eq!((summary.state, summary.running, summary.stored_bytes), (RunState::Finished, false, 15));
    assert_eq!((&summary.command, summary.started_at_ms), (&meta("a").command, 7));
    check_index(&store);
}

#[test]
fn a_silent_run_makes_no_files_for_output() {
    let Fixture { store, .. } = fixture(MANY);
    let writer = store.begin(meta("a")).unwrap();
    let id = writer.id();
    writer.finish(&report()).unwrap();
    let names: Vec<_> =
        fs::read_dir(store.run_dir(id.get())).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["report.json"]);
    assert_eq!(store.show(id).unwrap().replay().unwrap().count(), 0);
}

#[test]
fn everything_is_for_the_owner_alone() {
    let Fixture { dir, store } = fixture(MANY);
    run(&store, 5);
    let mut pending = vec![dir.path().join("home")];
    let mut seen = 0;
    while let Some(path) = pending.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let want = if found.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(found.permissions().mode() & 0o777, want, "{}", path.display());
        seen += 1;
        if found.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert_eq!(seen, 7);
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let Fixture { store, .. } = fixture(StoreLimits { max_runs: 3, ..MANY });
    for n in 1..=10 {
        assert_eq!(run(&store, 10).get(), n);
        let want: Vec<u64> = (n.saturating_sub(2).max(1)..=n).rev().collect();
        assert_eq!((on_disk(&store).0, ids(&store)), (want.clone(), want));
        check_index(&store);
    }
    let one = RunStore { limits: StoreLimits { max_runs: 0, ..MANY }, ..store };
    run(&one, 10);
    assert_eq!(ids(&one), [11]);
}

#[test]
fn the_oldest_go_when_they_are_too_large_together() {
    let Fixture { store, .. } = fixture(StoreLimits { max_total_bytes: 20_000, ..MANY });
    for size in [3_000, 1, 6_000, 9_000, 2_000, 20_000, 100, 8_000, 8_000, 8_000] {
        run(&store, size);
        let (ids, bytes) = on_disk(&store);
        assert!(bytes <= 20_000 || ids.len() == 1, "{ids:?} {bytes}");
        check_index(&store);
    }
    assert_eq!(ids(&store), [10, 9]);
}

#[test]
fn one_run_stores_at_most_its_share_and_says_so() {
    for limit in [0, 30, 100, 1_000] {
        let Fixture { store, .. } = fixture(StoreLimits { max_run_bytes: limit, ..MANY });
        let mut writer = store.begin(meta("a")).unwrap();
        for at_ms in 0..100 {
            writer.append(Stream::Stdout, at_ms, b"0123456789").unwrap();
        }
        let id = writer.id();
        writer.finish(&report()).unwrap();
        let size = |name| fs::metadata(store.run_dir(id.get()).join(name)).map_or(0, |found| found.len());
        let used = size("output") + size("timeline");
        assert!(used <= limit && (limit < 100 || used > limit - 60), "{used} of {limit}");
        let run = store.show(id).unwrap();
        assert!(run.summary.stored_truncated);
        let replayed: usize = run.replay().unwrap().map(|chunk| chunk.unwrap().bytes.len()).sum();
        assert_eq!((replayed as u64, run.summary.stored_bytes), (size("output"), size("output")));
    }
}

#[test]
fn exactly_the_share_is_not_truncated() {
    let line = r#"{"t_ms":0,"stream":"stdout","len":10}"#.len() as u64 + 1;
    for (limit, truncated) in [(line + 10, false), (line + 9, true)] {
        let Fixture { store, .. } = fixture(StoreLimits { max_run_bytes: limit, ..MANY });
        let mut writer = store.begin(meta("a")).unwrap();
        writer.append(Stream::Stdout, 0, b"0123456789").unwrap();
        let id = writer.id();
        writer.finish(&report()).unwrap();
        assert_eq!(store.show(id).unwrap().summary.stored_truncated, truncated);
    }
}

#[test]
fn a_run_shows_as_unfinished_while_it_goes_on_and_after_its_process_was_killed() {
    let Fixture { store, .. } = fixture(MANY);
    let mut writer = store.begin(meta("a")).unwrap();
    writer.append(Stream::Stderr, 1, b"noted ").unwrap();
    writer.append(Stream::Stdout, 1_500, b"not yet").unwrap();
    let id = writer.id();
    let state =
        || store.show(id).map(|run| (run.summary.state, run.summary.running, run.report.is_some())).unwrap();
    assert_eq!(state(), (RunState::Unfinished, true, false));
    assert_eq!(store.list(None, 5).unwrap().runs[0].stored_bytes, 13);
    // As after kill -9: the kernel takes the lock away, and no destructor writes anything out.
    writer.forget_as_if_killed();
    assert_eq!(state(), (RunState::Unfinished, false, false));
    let chunks: Vec<_> = store.show(id).unwrap().replay().unwrap().map(Result::unwrap).collect();
    assert_eq!(chunks[0], ReplayChunk { stream: Some(Stream::Stderr), t_ms: 1, bytes: b"noted ".to_vec() });
    assert_eq!(chunks[1], ReplayChunk { stream: None, t_ms: 1, bytes: b"not yet".to_vec() });
    assert_eq!(store.show(id).unwrap().summary.command, meta("a").command);

    // The next run counts it, so that its size takes part in the rotation.
    run(&store, 1);
    check_index(&store);
}

#[test]
fn a_running_run_is_not_counted_and_may_be_pushed_out_without_a_complaint() {
    let Fixture { store, .. } = fixture(StoreLimits { max_runs: 2, ..MANY });
    let mut long = store.begin(meta("long")).unwrap();
    long.append(Stream::Stdout, 0, &[b'x'; 5_000]).unwrap();
    run(&store, 1);
    assert_eq!(index(&store).open, [1]);
    assert!(index(&store).total_bytes < 5_000);
    run(&store, 1);
    assert_eq!(ids(&store), [3, 2]);
    long.append(Stream::Stdout, 1, b"more").unwrap();
    long.finish(&report()).unwrap();
    assert_eq!(ids(&store), [3, 2]);
    check_index(&store);
}

#[test]
fn pages_follow_each_other_and_gaps_are_skipped() {
    let Fixture { store, .. } = fixture(MANY);
    for _ in 0..7 {
        run(&store, 1);
    }
    fs::remove_dir_all(store.run_dir(5)).unwrap();
    let mut before = None;
    let mut pages = Vec::new();
    loop {
        let page = store.list(before, 3).unwrap();
        pages.push(page.runs.iter().map(|run| run.id.get()).collect::<Vec<_>>());
        before = page.before;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec![7, 6, 4], vec![3, 2, 1]]);
    assert_eq!(store.list(Some(RunId(99)), 0).unwrap().runs.len(), 1);
    assert!(store.list(Some(RunId(1)), 9).unwrap().runs.is_empty());
    assert_eq!(store.show(RunId(5)).unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(store.show(RunId(99)).unwrap_err().code(), ErrorCode::NotFound);
}

#[test]
fn nothing_is_made_by_looking() {
    let Fixture { dir, store } = fixture(MANY);
    assert!(store.list(None, 5).unwrap().runs.is_empty());
    assert_eq!(store.show(RunId(1)).unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_failing_disk_is_told_once_and_does_not_stop_the_run() {
    let Fixture { store, .. } = fixture(MANY);
    let mut writer = store.begin(meta("a")).unwrap();
    writer.append(Stream::Stdout, 0, b"stored").unwrap();
    // /dev/full takes nothing, as a full disk does.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    writer.break_output(full);
    let error = writer.append(Stream::Stdout, 1, b"lost").unwrap_err();
    assert!(error.hint().unwrap().contains("goes on"), "{error:?}");
    for _ in 0..3 {
        writer.append(Stream::Stdout, 2, b"lost").unwrap();
    }
    let id = writer.id();
    writer.finish(&report()).unwrap();
    let run = store.show(id).unwrap();
    assert!(run.summary.stored_truncated && run.summary.state == RunState::Finished);
    assert_eq!(run.summary.stored_bytes, 6);
    check_index(&store);
}

#[test]
fn a_store_that_cannot_be_made_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let store = RunStore::new(&Home::at(&file), MANY);
    let error = store.begin(meta("a")).unwrap_err();
    assert!(error.chain().contains("file"), "{}", error.chain());
    fs::create_dir(dir.path().join("home")).unwrap();
    fs::write(dir.path().join("home/runs"), "").unwrap();
    let store = RunStore::new(&Home::at(dir.path().join("home")), MANY);
    assert!(store.begin(meta("a")).unwrap_err().message().ends_with("is not a directory"));
}

#[test]
fn a_report_that_cannot_be_read_is_shown_as_such() {
    let Fixture { store, .. } = fixture(MANY);
    let id = run(&store, 10);
    let path = store.run_dir(id.get()).join("report.json");
    for content in ["", "{", "{\"id\":1}", "[]"] {
        fs::write(&path, content).unwrap();
        let run = store.show(id).unwrap();
        assert_eq!((run.summary.state, run.summary.stored_bytes), (RunState::Unreadable, 10));
        assert!(run.summary.started_at_ms > 1_600_000_000_000);
        assert_eq!(run.replay().unwrap().count(), 1);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(store.list(None, 1).unwrap().runs[0].state.as_str(), "unfinished");
}

#[test]
fn a_damaged_timeline_loses_streams_and_no_bytes() {
    let Fixture { store, .. } = fixture(MANY);
    let id = run(&store, 200_000);
    for timeline in
        ["", "junk\n", "{\"t_ms\":1,\"stream\":\"stdout\",\"len\":0}\n{\"t_ms\":1", &"x".repeat(10_000)]
    {
        fs::write(store.run_dir(id.get()).join("timeline"), timeline).unwrap();
        let chunks: Vec<_> = store.show(id).unwrap().replay().unwrap().map(Result::unwrap).collect();
        assert!(chunks.iter().all(|chunk| chunk.stream.is_none() && chunk.bytes.len() <= 65_536));
        assert_eq!(chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>(), 200_000);
    }
    let long = "{\"t_ms\":9,\"stream\":\"stderr\",\"len\":18446744073709551615}\n";
    fs::write(store.run_dir(id.get()).join("timeline"), long).unwrap();
    let total: usize =
        store.show(id).unwrap().replay().unwrap().map(|chunk| chunk.unwrap().bytes.len()).sum();
    assert_eq!(total, 200_000);
}

#[test]
fn many_at_once_get_different_numbers_and_leave_an_exact_index() {
    let Fixture { store, .. } = fixture(StoreLimits { max_runs: 10, max_total_bytes: 30_000, ..MANY });
    let mut all: Vec<u64> = std::thread::scope(|scope| {
        // Each has its own file descriptors, as processes have: the lock is one of open files.
        let workers: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn({
                    let store = store.clone();
                    move || (0..50).map(|i| run(&store, n * 700 + i).get()).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    all.sort_unstable();
    assert_eq!(all, (1..=200).collect::<Vec<_>>());
    check_index(&store);
    let (ids, bytes) = on_disk(&store);
    assert!(ids.len() <= 10 && bytes <= 30_000 && ids[0] == 200, "{ids:?} {bytes}");
}

#[test]
fn run_numbers_have_one_spelling() {
    assert_eq!("18446744073709551615".parse::<RunId>().unwrap().get(), u64::MAX);
    for text in ["", "0", "01", "+1", "-1", "1 ", "a", "18446744073709551616", "../1"] {
        assert_eq!(text.parse::<RunId>().unwrap_err().code(), ErrorCode::Usage, "{text}");
    }
}

#[test]
fn a_violation_stands_in_the_list() {
    let Fixture { store, .. } = fixture(MANY);
    let writer = store.begin(meta("a")).unwrap();
    let ended = RunReport {
        violation: Some(Violation::Memory),
        signal: Some(9),
        ..RunReport::new(RunStatus::Violation)
    };
    writer.finish(&ended).unwrap();
    let run = &store.list(None, 1).unwrap().runs[0];
    assert_eq!(
        (run.status, run.violation, run.signal),
        (Some(RunStatus::Violation), Some(Violation::Memory), Some(9))
    );
    for state in [RunState::Finished, RunState::Unfinished, RunState::Unreadable] {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
    let json = serde_json::to_value(run).unwrap();
    assert_eq!(
        (&json["id"], &json["violation"], &json["state"]),
        (&1.into(), &"memory".into(), &"finished".into())
    );
}

/// The directory of the store, in a process that a test below has started.
const CHILD: &str = "RINGFENCE_TEST_STORE";
const CHILD_LIMITS: StoreLimits =
    StoreLimits { max_runs: 20, max_total_bytes: 1 << 40, max_run_bytes: 1 << 40 };

/// Does nothing unless a test has started this process for it: then it stores runs until it is killed.
#[test]
fn child_process() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = RunStore::new(&Home::at(path), CHILD_LIMITS);
    for n in 0..100_000 {
        let mut writer = store.begin(meta("child")).unwrap();
        writer.append(Stream::Stdout, 1, &vec![b'x'; n % 5_000]).unwrap();
        writer.finish(&report()).unwrap();
    }
}

#[test]
fn processes_killed_at_any_moment_leave_a_store_that_works() {
    let Fixture { dir, store } = fixture(CHILD_LIMITS);
    let start = || {
        #[expect(clippy::disallowed_methods, reason = "the test needs processes of its own to kill")]
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "exec::store::tests::child_process"]).env(CHILD, dir.path().join("home"));
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let mut children: Vec<_> = (0..3).map(|_| start()).collect();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut newest = 0;
    for _ in 0..12 {
        let listed = loop {
            let listed = ids(&store);
            if listed.first().is_some_and(|&id| id > newest + 5) {
                break listed;
            }
            assert!(std::time::Instant::now() < deadline, "no progress: {listed:?} after {newest}");
        };
        assert!(listed.len() <= 20 && listed.windows(2).all(|pair| pair[0] > pair[1]), "{listed:?}");
        newest = listed[0];
        let mut child = children.remove(0);
        child.kill().unwrap();
        child.wait().unwrap();
        children.push(start());
    }
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let page = store.list(None, PAGE).unwrap();
    assert!(page.runs.iter().all(|run| !run.running && run.state != RunState::Unreadable), "{page:?}");
    // Two more runs count what was left open; then index and directory agree to the byte.
    run(&store, 1);
    run(&store, 1);
    check_index(&store);
}

#[test]
fn the_end_of_the_output_begins_with_a_line_and_costs_no_more_for_a_long_one() {
    let fixture = fixture(MANY);
    let mut writer = fixture.store.begin(meta("run")).unwrap();
    let id = writer.id();
    let tail = |most| fixture.store.show(id).unwrap().output_tail(most).unwrap();
    assert_eq!(tail(10), OutputTail::default());
    for number in 0..1_000 {
        let stream = if number % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
        writer.append(stream, number, format!("line {number}\n").as_bytes()).unwrap();
    }
    writer.finish(&report()).unwrap();
    assert_eq!(tail(20), OutputTail { bytes: b"line 998\nline 999\n".to_vec(), cut: true });
    // Within one line, it is cut there.
    assert_eq!(tail(4), OutputTail { bytes: b"999\n".to_vec(), cut: true });
    let whole = tail(1 << 20);
    assert!(!whole.cut && whole.bytes.starts_with(b"line 0\nline 1\n"));
}
