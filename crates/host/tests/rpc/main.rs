//! The function of the fuzz target `codec` in a bounded, seeded loop, so that CI runs the same code on every change.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../../../../fuzz/src/codec.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate exports it")]
mod codec;

#[path = "../../../../fuzz/src/seeded.rs"]
#[expect(unreachable_pub, reason = "several tests share it")]
mod seeded;

/// Inputs; a fuzzer on its own machine does billions.
const INPUTS: u32 = 2_000;

/// Whole members and pieces that reach deep.
const WORDS: &[&str] = &[
    "{\"jsonrpc\":\"2.0\",",
    "\"id\":1,",
    "\"id\":\"a\",",
    "\"method\":\"log\",",
    "\"params\":{\"a\":[1,2]},",
    "\"result\":null",
    "\"error\":{\"code\":-31001,\"message\":\"\\u00e9\"}",
    "\"_meta\":{\"correlation_id\":\"c\",\"deadline_ms\":5}",
    "\"me\\u0074hod\":\"call\"",
    "}",
    "}\n",
    "\r\n",
    "\n",
    ",",
    " ",
    "[[[[[[[[[[[[[[[[",
    "{\"\":",
    "1e999",
    "\\ud800",
    "\"",
    "é",
    "\0",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

#[test]
fn the_codec_holds_for_any_bytes() {
    // The first byte chooses how the rest is cut.
    seeded::run(7, INPUTS, |numbers| vec![numbers.byte()], WORDS, 23, codec::codec);
    for text in [
        "\x03{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":[1, 2]}\n",
        "\x00{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"get_config\",\"params\":{}}\r\n",
        "\u{7f}{\"id\":7,\"error\":\"text\"}\n{\"id\":7,\"result\":1,\"error\":null}\n",
        "\x10{\"method\":\"log\"}\n\n \n",
    ] {
        codec::codec(text.as_bytes());
    }
}
