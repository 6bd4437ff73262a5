//! Runs on a thread of their own: listeners, futures, cancelling, dropping.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ringfence::exec::{Captured, Event, Listeners, Run, Stream, exit_status};
use ringfence_api::{ErrorCode, RunStatus};

use crate::{came, command, gone, sh, stdout};

/// The smallest executor there is: the thread sleeps until it is woken.
fn block_on(run: Run) -> Captured {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut run = pin!(run);
    loop {
        if let Poll::Ready(captured) = run.as_mut().poll(&mut Context::from_waker(&waker)) {
            return captured;
        }
        std::thread::park_timeout(crate::PATIENCE);
    }
}

fn output(events: impl Iterator<Item = Event>) -> (Vec<u8>, Vec<u8>, bool) {
    let (mut out, mut err, mut ended) = (Vec::new(), Vec::new(), false);
    for event in events {
        match event {
            Event::Output { stream: Stream::Stdout, bytes, .. } => out.extend_from_slice(&bytes),
            Event::Output { stream: Stream::Stderr, bytes, .. } => err.extend_from_slice(&bytes),
            Event::Ended => ended = true,
            _ => {}
        }
    }
    (out, err, ended)
}

#[test]
fn several_listeners_get_all_and_one_that_never_reads_delays_nobody() {
    let listeners = Listeners::new();
    let (first, second, never) =
        (listeners.subscribe(10_000), listeners.subscribe(10_000), listeners.subscribe(1));
    let mut exec = command(["seq", "1", "100000"]);
    exec.redaction(ringfence::exec::RedactionSet::none());
    let run = exec.spawn_with(listeners).unwrap();
    let other = std::thread::spawn(move || output(second));
    let (out, err, ended) = output(first);
    let captured = run.wait();
    assert_eq!(captured.report.exit_code, Some(0));
    assert!(out == captured.stdout && err.is_empty() && ended, "live is what is kept");
    assert!(other.join().unwrap() == (out, err, true));
    let missed: u64 = never
        .filter_map(|event| if let Event::Missed { bytes, .. } = event { Some(bytes) } else { None })
        .sum();
    assert!(missed > 0, "it was told how much it missed");
}

#[test]
fn it_can_be_awaited() {
    let captured = block_on(sh("echo hi; exit 2").spawn().unwrap());
    assert_eq!((captured.report.exit_code, stdout(&captured).as_str()), (Some(2), "hi\n"));
    let refused = block_on(command(["no-such-program"]).spawn().unwrap());
    assert_eq!(refused.report.error.unwrap().code, ErrorCode::NotFound);
}

#[test]
fn cancelling_terminates_first_and_keeps_the_output() {
    let mut run = sh("trap 'echo bye; exit 9' TERM; echo ready; while :; do :; done").spawn().unwrap();
    let live = run.listen(100);
    let mut heard = Vec::new();
    while !heard.starts_with(b"ready\n") {
        match live.recv_timeout(Duration::from_secs(1)) {
            Some(Event::Output { bytes, .. }) => heard.extend_from_slice(&bytes),
            _ => break, // it came before we listened
        }
    }
    run.cancel();
    run.cancel();
    let captured = run.wait();
    assert_eq!(captured.report.status, RunStatus::Cancelled);
    assert_eq!(captured.report.exit_code, Some(9), "SIGTERM had its three seconds");
    assert_eq!(stdout(&captured), "ready\nbye\n");
    assert_eq!(exit_status(&captured.report, Some(15)), 143);
}

#[test]
fn dropping_it_leaves_nothing() {
    let marker = format!("86{}.25", std::process::id());
    let run = command(["sleep", &marker]).spawn().unwrap();
    came(&marker);
    drop(run);
    gone(&marker);
}

#[test]
fn a_future_that_is_dropped_while_it_waits_leaves_nothing() {
    let marker = format!("87{}.25", std::process::id());
    let mut run = command(["sleep", &marker]).spawn().unwrap();
    let polled = std::pin::Pin::new(&mut run).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    came(&marker);
    drop(run);
    gone(&marker);
}

#[test]
fn two_at_once_do_not_mix() {
    let started = Instant::now();
    let runs = ["a", "b"].map(|word| {
        let script = format!("i=0; while [ $i -lt 2000 ]; do echo {word}; i=$((i+1)); done");
        sh(&script).spawn().unwrap()
    });
    for (run, word) in runs.into_iter().zip(["a", "b"]) {
        let captured = run.wait();
        assert_eq!(stdout(&captured), format!("{word}\n").repeat(2000));
    }
    assert!(started.elapsed() < crate::PATIENCE);
}
