//! What must hold of the codec for any bytes. The fuzz target and an ordinary test call the same function.

use ringfence::rpc::codec::{Line, Lines, Message, parse};
use ringfence_api::Wire;

/// Shorter than real ones, so that a fuzzer reaches the end of a line.
const LINE_MAX_BYTES: usize = 256;

/// However bytes are cut into reads, the same lines come out; none is longer than allowed; what is read as a message is
/// JSON, and says the same to a whole parser. The first byte says how the rest is cut.
pub fn codec(data: &[u8]) {
    let (cut, text) = data.split_first().map_or((1, data), |(first, rest)| (usize::from(*first) + 1, rest));
    let whole = lines(text, text.len().max(1));
    assert_eq!(lines(text, cut), whole);
    for line in whole.iter().flatten() {
        assert!(line.len() < LINE_MAX_BYTES);
        for wire in [Wire::JsonRpc, Wire::Legacy] {
            match parse(line, wire) {
                Ok(message) => agree(line, &message),
                // Whoever is blamed was named.
                Err(bad) => assert!(
                    bad.answers.is_none() || line.windows(4).any(|window| window == b"\"id\""),
                    "{bad:?}"
                ),
            }
        }
    }
}

fn lines(text: &[u8], cut: usize) -> Vec<Option<Vec<u8>>> {
    let mut lines = Lines::new(LINE_MAX_BYTES);
    let mut seen = Vec::new();
    for piece in text.chunks(cut) {
        lines.extend(piece);
        while let Some(line) = lines.next() {
            seen.push(match line {
                Line::Whole(line) => Some(line.to_vec()),
                Line::TooLong(_) => None,
            });
        }
        assert!(lines.held_bytes() <= LINE_MAX_BYTES + 128 * 1024);
    }
    seen
}

/// The whole parser, which keeps the last of two members, sees what the codec saw.
fn agree(line: &[u8], message: &Message<'_>) {
    // Numbers have no bounds here, and have some there.
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else {
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok());
        return;
    };
    match message {
        Message::Request(request) => {
            assert_eq!(value["method"], *request.method);
            let id: serde_json::Value = serde_json::from_str(request.id.as_json()).expect("an id is JSON");
            assert_eq!(value["id"], id);
        }
        Message::Notification(note) => assert_eq!(value["method"], *note.method),
        Message::Answer(answer) => {
            assert!(value.get("method").is_none());
            assert!(answer.id.is_none() || value["id"].as_u64() == answer.id);
            if let Ok(result) = &answer.outcome {
                assert_eq!(
                    serde_json::from_str::<serde_json::Value>(result.get()).ok().as_ref(),
                    value.get("result")
                );
            }
        }
    }
}
