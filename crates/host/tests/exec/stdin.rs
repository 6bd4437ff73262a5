//! What a command reads.

use std::io::Write as _;
use std::time::Duration;

use ringfence::exec::Stdin;
use ringfence_api::{ErrorCode, Violation};

use crate::{command, directory, sh, stdout};

#[test]
fn closed_is_the_default_and_ends_at_once() {
    let captured = command(["wc", "-c"]).run_captured();
    assert_eq!((captured.report.exit_code, stdout(&captured).trim()), (Some(0), "0"));
}

#[test]
fn a_large_file_comes_whole_and_needs_no_grant() {
    let (_made, root) = directory();
    std::fs::write(root.join("in"), vec![b'x'; 3_000_000]).unwrap();
    let mut exec = command(["wc", "-c"]);
    let captured = exec.directory(&root).stdin(Stdin::File("in".into())).run_captured();
    assert_eq!(stdout(&captured).trim(), "3000000");
}

#[test]
fn who_does_not_read_is_not_held_up() {
    let (_made, root) = directory();
    std::fs::write(root.join("in"), vec![b'x'; 3_000_000]).unwrap();
    let stdin = Stdin::File(root.join("in"));
    assert_eq!(sh("exit 4").stdin(stdin.clone()).run_captured().report.exit_code, Some(4));
    let closed = sh("exec <&-; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 5");
    let mut closed = closed;
    assert_eq!(closed.stdin(stdin.clone()).run_captured().report.exit_code, Some(5));
    let mut deaf = sh("while :; do :; done");
    deaf.stdin(stdin).limits().timeout = Some(Duration::from_millis(300));
    assert_eq!(deaf.run_captured().report.violation, Some(Violation::Timeout));
}

#[test]
fn a_pipe_without_a_writer_does_not_stop_the_clock() {
    let (_made, root) = directory();
    let fifo = root.join("fifo");
    let made = command(["mkfifo", fifo.to_str().unwrap()]).write_path(&root).run_captured();
    if made.report.exit_code != Some(0) {
        panic!("{:?}", made.report);
    }
    let mut exec = sh("read line; echo \"$line\"");
    exec.stdin(Stdin::File(fifo.clone())).limits().timeout = Some(Duration::from_millis(400));
    assert_eq!(exec.run_captured().report.violation, Some(Violation::Timeout));
    exec.limits().timeout = Some(crate::PATIENCE);
    let writer = std::thread::spawn(move || {
        let mut fifo = std::fs::File::options().write(true).open(fifo).unwrap();
        fifo.write_all(b"hello\n").unwrap();
    });
    assert_eq!(stdout(&exec.run_captured()), "hello\n");
    writer.join().unwrap();
}

#[test]
fn our_own_input_is_passed_on() {
    // Whatever the test was given: a file, a pipe or a terminal. The command must start and end by itself.
    let report = sh("exit 3").stdin(Stdin::Pass).run_captured().report;
    assert_eq!(report.exit_code, Some(3));
}

#[test]
fn what_cannot_be_read_is_refused_before_anything_runs() {
    let (_made, root) = directory();
    let refused = |name: &str| {
        let report = sh("exit 0").stdin(Stdin::File(root.join(name))).run_captured().report;
        report.error.unwrap().code
    };
    assert_eq!(refused("none"), ErrorCode::PathNotFound);
    assert_eq!(refused(""), ErrorCode::Io, "a directory");
}
