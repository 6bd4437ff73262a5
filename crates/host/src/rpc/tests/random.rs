//! Random interleavings of calls, cancellations and deadlines against a peer that answers in random order, twice, late,
//! in pieces, or not at all; on both kinds of runtime.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt as _;

use super::rig::{Rig, soon};
use crate::rpc::{CallError, Options};

/// What becomes of one call.
#[derive(Debug, Clone, Copy)]
enum Plan {
    Answer,
    AnswerTwice,
    Error,
    NeverAnswer,
    Cancel,
    CancelAndAnswer,
}

fn plan() -> impl Strategy<Value = (Plan, u16)> {
    let plan = prop_oneof![
        4 => Just(Plan::Answer),
        1 => Just(Plan::AnswerTwice),
        1 => Just(Plan::Error),
        1 => Just(Plan::NeverAnswer),
        1 => Just(Plan::Cancel),
        1 => Just(Plan::CancelAndAnswer),
    ];
    (plan, any::<u16>())
}

/// The lines that the peer writes for one request, in whatever order the random number says.
fn lines(plan: Plan, id: &Value, number: usize) -> Vec<String> {
    let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"number": number}}).to_string();
    let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": number, "message": "x"}}).to_string();
    match plan {
        Plan::Answer | Plan::CancelAndAnswer => vec![answer],
        Plan::AnswerTwice => vec![answer.clone(), answer],
        Plan::Error => vec![error],
        Plan::NeverAnswer | Plan::Cancel => vec![],
    }
}

async fn play(plans: Vec<(Plan, u16)>, piece: usize, in_flight_max: usize) {
    let mut rig = Rig::with(Options { in_flight_max, ..Options::default() });
    let time = |plan| match plan {
        Plan::NeverAnswer => Duration::from_millis(20),
        _ => Duration::from_secs(10),
    };
    let calls: Vec<_> = plans
        .iter()
        .enumerate()
        .map(|(number, (plan, _))| rig.call_for(json!({ "number": number }), time(*plan)))
        .collect();
    let mut waiting: Vec<(usize, Value)> = Vec::new();
    while calls.iter().any(|call| !call.is_finished()) {
        // What comes within a moment is answered together, in random order.
        let is_there = tokio::time::timeout(Duration::from_millis(2), rig.peer.stdin.fill_buf()).await;
        if is_there.is_ok() {
            let request = rig.peer.read().await;
            if request["method"] == "call" {
                let number = usize::try_from(request["params"]["number"].as_u64().unwrap()).unwrap();
                waiting.push((number, request["id"].clone()));
            }
            continue;
        }
        waiting.sort_by_key(|(number, _)| plans[*number].1);
        let mut bytes = String::new();
        for (number, id) in waiting.drain(..) {
            let plan = plans[number].0;
            if matches!(plan, Plan::Cancel | Plan::CancelAndAnswer) {
                calls[number].abort();
            }
            for line in lines(plan, &id, number) {
                bytes += &line;
                bytes.push('\n');
            }
        }
        for piece in bytes.as_bytes().chunks(piece) {
            rig.peer.write(piece).await;
        }
    }
    for (number, (call, (plan, _))) in calls.into_iter().zip(&plans).enumerate() {
        let outcome = soon(call).await;
        let fits = match (plan, &outcome) {
            (Plan::Answer | Plan::AnswerTwice, Ok(Ok(result))) => result["number"] == number,
            (Plan::Error, Ok(Err(CallError::Plugin(error)))) => error.code == number as i64,
            (Plan::NeverAnswer, Ok(Err(CallError::Timeout))) => true,
            (Plan::Cancel | Plan::CancelAndAnswer, Err(_)) => true,
            // It may have been answered before it was cancelled.
            (Plan::CancelAndAnswer, Ok(Ok(result))) => result["number"] == number,
            _ => false,
        };
        assert!(fits, "{number} {plan:?}: {outcome:?}");
    }
    assert_eq!((rig.connection.in_flight(), rig.connection.queued()), (0, 0));
    rig.works().await;
    let counters = rig.connection.counters();
    // A call that timed out in the queue was never written.
    assert!(counters.calls <= counters.answers + counters.timeouts + counters.cancelled, "{counters:?}");
    assert_eq!(counters.malformed_lines, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn each_call_gets_its_own_outcome(
        plans in proptest::collection::vec(plan(), 1..40),
        piece in 1usize..300,
        in_flight_max in prop_oneof![Just(1usize), Just(3), Just(64)],
        threads in 0usize..3,
    ) {
        let runtime = if threads == 0 {
            tokio::runtime::Builder::new_current_thread().enable_all().build()
        } else {
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
        };
        runtime.unwrap().block_on(play(plans, piece, in_flight_max));
    }
}
