//! What takes more than its share, what breaks the plugin itself, and what a program without unsafe code cannot do.

use std::time::Duration;

use super::{Case, HOST, Outside, Who, case};
use crate::command::demo::world::{CHILD, World};

/// The limits of the hostile plugin's manifest.
const FILE_BYTES: u64 = 1_000_000;
/// The log's limit, and room for what is written at once.
const LOG_BYTES: u64 = 1_200_000;
/// For those that do not.
const SHORT: Duration = Duration::from_millis(500);

/// What takes more than its share. None of it is done outside.
pub(super) fn amounts(world: &World) -> Vec<Case> {
    let large = world.own("large").display().to_string();
    let mut cases = vec![
        Case {
            harm: |_, seen| seen.output.contains("started 200"),
            harm_text: "it started as many as it wanted",
            allowed_by: Some("limits: {processes: 256}".to_owned()),
            ..case("threads", "start 200 threads, with a limit of 32", &["threads"], "limits")
        },
        Case {
            harm: |world, _| world.log_bytes("hostile") > LOG_BYTES,
            harm_text: "its log is larger than the limit",
            allowed_by: Some("limits: {output_mb: 20}".to_owned()),
            ..case("flood", "write 16 MiB to its log, with a limit of 1 MB", &["flood"], HOST)
        },
        Case {
            harm: |world, _| World::seen(&world.own("large")).is_some_and(|(bytes, _)| bytes > FILE_BYTES),
            harm_text: "the file is larger than the limit",
            allowed_by: Some("limits: {file_size_mb: 10}".to_owned()),
            ..case("file", "write a file of 8 MiB, with a limit of 1 MB", &["file", &large], "limits")
        },
        Case {
            harm: |_, seen| seen.output.contains("took"),
            harm_text: "it took all that it wanted",
            allowed_by: Some("limits: {memory_mb: 600}".to_owned()),
            ..case("memory", "fill 512 MiB of memory, with a limit of 64 MB", &["memory"], "limits")
        },
    ];
    for case in &mut cases {
        case.outside = Outside::Never;
    }
    cases
}

/// What breaks the plugin itself, and must break nothing else.
pub(super) fn faults() -> Vec<Case> {
    let base = |name, tried, words: &[&str]| Case {
        outside: Outside::Never,
        ends: true,
        ..case(name, tried, words, HOST)
    };
    vec![
        Case {
            harm: |_, seen| seen.stopped.is_none(),
            harm_text: "the call did not fail",
            ..base("crash", "crash", &["crash"])
        },
        Case {
            timeout: SHORT,
            harm: |_, seen| seen.elapsed > SHORT * 4,
            harm_text: "the caller was kept waiting",
            allowed_by: Some("--timeout 10m".to_owned()),
            ..base("hang", "never answer", &["hang"])
        },
        Case {
            harm: |_, seen| seen.stopped.is_none() && seen.output != "first",
            harm_text: "another answer than the first that belongs to the call came through",
            ..base("lie", "flood the host with lies about the protocol", &["lie"])
        },
    ]
}

pub(super) fn script_acts() -> Vec<Case> {
    vec![
        Case {
            who: Who::Script("child"),
            outside: Outside::Granted("subprocess:execute"),
            harm: |world, _| world.path(CHILD).exists(),
            harm_text: "the child has left its mark",
            allowed_by: Some("subprocess:execute".to_owned()),
            ..case("child", "start another process", &[], "seccomp")
        },
        Case {
            who: Who::Script("deaf"),
            outside: Outside::Never,
            timeout: SHORT,
            ends: true,
            harm: |world, _| world.has_mark(),
            harm_text: "it still runs",
            ..case("deaf", "run on, and ignore every polite request to end", &[], "pid")
        },
    ]
}
