//! Bounds in both directions: sizes, rates, a plugin that does not read, futures that are dropped.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use serde_json::json;
use serde_json::value::RawValue;

use super::rig::{Rig, prompt, request, soon};
use crate::rpc::{CallError, CallMeta, CloseReason, FaultKind, Options};

/// Small enough to fill quickly.
fn small() -> Options {
    Options { message_max_bytes: 64 * 1024, ..Options::default() }
}

#[tokio::test]
async fn a_line_at_the_limit_passes_and_one_byte_more_ends_only_its_call() {
    let max = 4 * 1024 * 1024;
    let mut rig = Rig::new();
    for (over, fits) in [(-1_isize, true), (0, true), (1, false)] {
        let call = rig.call(json!({}));
        let id = rig.peer.read().await["id"].clone();
        let envelope = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":\"\"}}\n").len();
        let text = "x".repeat((max - envelope).checked_add_signed(over).unwrap());
        rig.peer.write(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":\"{text}\"}}\n")).await;
        match soon(call).await.unwrap() {
            Ok(result) => assert!(fits && result.as_str() == Some(&*text)),
            Err(CallError::TooLarge { max_bytes }) => assert!(!fits && max_bytes == max),
            other => panic!("{other:?}"),
        }
        rig.works().await;
    }
    assert_eq!(rig.connection.counters().too_long_lines, 1);
}

#[tokio::test]
async fn a_request_at_the_limit_is_written_and_a_longer_or_deeper_one_is_not() {
    let mut rig = Rig::with(small());
    let fits = "x".repeat(64 * 1024 - 300);
    let call = rig.call(json!({ "text": fits }));
    let request_line = rig.peer.line().await;
    assert!(request_line.len() <= 64 * 1024 && request_line.len() > 64 * 1024 - 300);
    call.abort();
    let refused =
        request(&rig.connection, json!({"text": "x".repeat(64 * 1024)}), Duration::from_secs(5)).await;
    assert!(matches!(refused, Err(CallError::TooLarge { max_bytes: 65_536 })), "{refused:?}");
    let deep =
        |count: usize| RawValue::from_string(format!("{}{}", "[".repeat(count), "]".repeat(count))).unwrap();
    let meta = CallMeta { correlation_id: "c", deadline: Instant::now() + Duration::from_millis(20) };
    assert!(matches!(rig.connection.request("call", &deep(64), meta).await, Err(CallError::TooDeep)));
    assert!(matches!(rig.connection.request("call", &deep(63), meta).await, Err(CallError::Timeout)));
}

#[tokio::test]
async fn a_plugin_that_does_not_read_costs_a_bounded_buffer_and_callers_their_deadline() {
    let rig = Rig::with(small());
    let text = "x".repeat(60_000);
    let calls: Vec<_> =
        (0..64).map(|_| rig.call_for(json!({ "text": text }), Duration::from_millis(300))).collect();
    let begun = Instant::now();
    for call in calls {
        assert!(matches!(soon(call).await.unwrap(), Err(CallError::Timeout)));
    }
    // The thread was never blocked: all of them ended at their deadline.
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(250) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!((rig.connection.in_flight(), rig.connection.queued()), (0, 0));
    // What was written fits the pipe and the buffer; what did not was never taken.
    let written = usize::try_from(rig.connection.counters().calls).unwrap() * text.len();
    assert!(written <= (1 << 20) + 2 * 64 * 1024 + text.len(), "{written}");
    assert!(written >= 64 * 1024, "a pipe holds that much: {written}");
    // What is small still finds room; what is not waits for it, and blocks nobody.
    let told = rig.connection.notify("config_changed", RawValue::NULL, "c").await;
    assert!(matches!(told, Ok(())), "{told:?}");
    let large = RawValue::from_string(json!({ "text": text }).to_string()).unwrap();
    let waits = rig.connection.notify("config_changed", &large, "c");
    assert!(tokio::time::timeout(Duration::from_millis(100), waits).await.is_err(), "no room, and yet taken");
}

#[tokio::test]
async fn a_plugin_that_reads_late_gets_all_of_it() {
    let mut rig = Rig::with(small());
    let text = "x".repeat(60_000);
    let calls: Vec<_> = (0..64).map(|_| rig.call(json!({ "text": text }))).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    for _ in 0..64 {
        let request = rig.peer.read().await;
        assert_eq!(request["params"]["text"].as_str().map(str::len), Some(text.len()));
        rig.peer.answer(&request["id"], json!(1)).await;
    }
    for call in calls {
        assert_eq!(soon(call).await.unwrap().unwrap(), 1);
    }
}

#[tokio::test]
async fn a_flood_of_notifications_is_throttled_by_not_reading() {
    let mut rig = Rig::with(Options { notifications_per_second: 100, ..Options::default() });
    let note = json!({"jsonrpc": "2.0", "method": "log", "params": {"level": "info", "message": "x"}});
    let begun = Instant::now();
    for _ in 0..150 {
        rig.peer.say(note.clone()).await;
    }
    let call = rig.call(json!({}));
    let id = rig.peer.read().await["id"].clone();
    rig.peer.answer(&id, json!("behind them")).await;
    // The 50 above the allowance take half a second; the answer stands behind them.
    assert_eq!(soon(call).await.unwrap().unwrap(), "behind them");
    let taken = begun.elapsed();
    assert!(taken >= Duration::from_millis(400) && taken < Duration::from_secs(5), "{taken:?}");
    assert_eq!(rig.service.notes.lock().unwrap().len(), 150);
    assert!(rig.connection.counters().pauses > 0);
}

#[tokio::test]
async fn the_end_of_a_flooding_plugin_is_seen_although_it_is_throttled() {
    let mut rig = Rig::with(Options { notifications_per_second: 10, ..Options::default() });
    let call = rig.call(json!({}));
    rig.peer.read().await;
    for _ in 0..1_000 {
        rig.peer.write("noise\n").await;
    }
    while rig.connection.counters().pauses == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begun = Instant::now();
    drop(rig.peer);
    assert!(matches!(soon(call).await.unwrap(), Err(CallError::Closed)));
    prompt(begun);
    assert_eq!(soon(rig.driver).await.unwrap().counters.malformed_lines, 1_000);
}

#[tokio::test]
async fn an_ended_process_whose_pipe_somebody_holds_is_closed_with_what_it_said() {
    let mut rig = Rig::new();
    let answered = rig.call(json!({}));
    let id = rig.peer.read().await["id"].clone();
    let open = rig.call(json!({}));
    rig.peer.read().await;
    rig.peer.answer(&id, json!("last words")).await;
    rig.connection.process_ended();
    let begun = Instant::now();
    assert_eq!(soon(answered).await.unwrap().unwrap(), "last words");
    assert!(matches!(soon(open).await.unwrap(), Err(CallError::Closed)));
    prompt(begun);
    assert_eq!(soon(rig.driver).await.unwrap().reason, CloseReason::ProcessEnded);
}

#[tokio::test]
async fn a_closed_stdin_ends_what_is_called_next() {
    let Rig { connection, peer, driver, service } = Rig::new();
    drop(peer.stdin);
    let begun = Instant::now();
    let refused = soon(request(&connection, json!({}), Duration::from_secs(5))).await;
    assert!(matches!(refused, Err(CallError::Closed)), "{refused:?}");
    assert_eq!(soon(driver).await.unwrap().reason, CloseReason::InputClosed);
    prompt(begun);
    drop((peer.stdout, service));
}

#[tokio::test]
async fn closing_the_input_lets_what_runs_be_answered() {
    let mut rig = Rig::new();
    let call = rig.call(json!({}));
    let id = rig.peer.read().await["id"].clone();
    rig.connection.close_input();
    assert_eq!(rig.peer.line().await, "", "the input has ended");
    let refused = request(&rig.connection, json!({}), Duration::from_secs(5)).await;
    assert!(matches!(refused, Err(CallError::Closed)));
    rig.peer.answer(&id, json!("after all")).await;
    assert_eq!(soon(call).await.unwrap().unwrap(), "after all");
}

#[tokio::test]
async fn control_requests_do_not_wait_behind_calls() {
    let mut rig = Rig::with(Options { in_flight_max: 1, ..Options::default() });
    let stuck = rig.call(json!({}));
    rig.peer.read().await;
    let waiting = rig.call(json!({}));
    while rig.connection.queued() == 0 {
        tokio::task::yield_now().await;
    }
    let connection = rig.connection.clone();
    let ping = tokio::spawn(async move {
        let meta = CallMeta { correlation_id: "p", deadline: Instant::now() + Duration::from_secs(5) };
        connection.request("ping", RawValue::NULL, meta).await
    });
    let request = rig.peer.read().await;
    assert_eq!(request["method"], "ping");
    rig.peer.answer(&request["id"], json!({})).await;
    assert!(soon(ping).await.unwrap().is_ok());
    rig.connection.cancel_calls();
    assert!(matches!(soon(stuck).await.unwrap(), Err(CallError::Cancelled)));
    assert_eq!(rig.peer.read().await["method"], "$/cancel");
    waiting.abort();
}

#[tokio::test]
async fn dropping_the_last_handle_closes_both_pipes() {
    let Rig { connection, mut peer, driver, service } = Rig::new();
    let second = connection.clone();
    drop(connection);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(!driver.is_finished());
    drop(second);
    assert_eq!(soon(driver).await.unwrap().reason, CloseReason::HostClosed);
    assert_eq!(peer.line().await, "");
    assert_eq!(std::sync::Arc::strong_count(&service), 1, "nothing holds the service any more");
}

/// PROTO-19: a call is dropped after its k-th poll, for each k, in each of its states.
#[tokio::test]
async fn a_call_dropped_at_any_poll_leaves_nothing() {
    for (in_flight_max, answers) in [(1, true), (1, false), (2, true), (2, false)] {
        for k in 0..8 {
            let mut rig = Rig::with(Options { in_flight_max, ..Options::default() });
            // With one turn, the call waits for it first.
            let other = rig.call(json!({"other": 1}));
            let other_id = rig.peer.read().await["id"].clone();
            let params = RawValue::from_string("{}".to_owned()).unwrap();
            let meta = CallMeta { correlation_id: "k", deadline: Instant::now() + Duration::from_secs(5) };
            {
                let mut call = pin!(rig.connection.request("call", &params, meta));
                let mut ended = false;
                for poll in 0..k {
                    let now = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await;
                    if now {
                        ended = true;
                        break;
                    }
                    if poll == 1 {
                        rig.peer.answer(&other_id, json!("other")).await;
                    }
                    if answers && poll >= 2 && rig.connection.counters().calls == 2 {
                        let id = rig.peer.read().await["id"].clone();
                        rig.peer.answer(&id, json!("k")).await;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                assert!(!ended || answers, "nobody has answered");
            }
            if k < 2 {
                rig.peer.answer(&other_id, json!("other")).await;
            }
            assert_eq!(soon(other).await.unwrap().unwrap(), "other");
            assert_eq!((rig.connection.in_flight(), rig.connection.queued()), (0, 0), "k = {k}");
            let counters = rig.connection.counters();
            assert_eq!(counters.calls, counters.answers + counters.cancelled, "k = {k}: {counters:?}");
            rig.works().await;
        }
    }
}

#[tokio::test]
async fn a_notification_dropped_before_it_is_ready_was_not_written() {
    let mut rig = Rig::new();
    drop(rig.connection.notify("initialized", RawValue::NULL, "c"));
    rig.connection.notify("initialized", RawValue::NULL, "d").await.unwrap();
    let note = rig.peer.read().await;
    assert_eq!((&note["method"], &note["_meta"]["correlation_id"]), (&json!("initialized"), &json!("d")));
    assert!(rig.service.faults.lock().unwrap().iter().all(|fault| fault.kind != FaultKind::NotJson));
}
