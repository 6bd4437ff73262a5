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

/// Inputs; a fuzzer on its own machine does billions.
const INPUTS: u32 = 2_000;

/// Numbers that are the same on every machine (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

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
    let mut numbers = Numbers(7);
    for _ in 0..INPUTS {
        let mut input = vec![u8::try_from(numbers.below(256)).unwrap()];
        for _ in 0..numbers.below(24) {
            input.extend_from_slice(WORDS[numbers.below(WORDS.len())].as_bytes());
        }
        if numbers.below(3) == 0 {
            let place = numbers.below(input.len());
            input[place] = u8::try_from(numbers.below(256)).unwrap();
        }
        codec::codec(&input);
    }
    for text in [
        "\x03{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":[1, 2]}\n",
        "\x00{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"get_config\",\"params\":{}}\r\n",
        "\u{7f}{\"id\":7,\"error\":\"text\"}\n{\"id\":7,\"result\":1,\"error\":null}\n",
        "\x10{\"method\":\"log\"}\n\n \n",
    ] {
        codec::codec(text.as_bytes());
    }
}
