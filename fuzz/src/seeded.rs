//! Inputs for the fuzz targets' functions when ordinary tests run them: the same on every machine, in a bounded loop.

/// Numbers that are the same on every machine (SplitMix64).
pub struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Calls `check` with `inputs` inputs: what `begin` makes, up to `most` of the words, which reach deep, and in a third of
/// them one byte changed.
pub fn run(
    seed: u64,
    inputs: u32,
    begin: impl Fn(&mut Numbers) -> Vec<u8>,
    words: &[&str],
    most: usize,
    check: fn(&[u8]),
) {
    let mut numbers = Numbers(seed);
    for _ in 0..inputs {
        let mut input = begin(&mut numbers);
        for _ in 0..numbers.below(most + 1) {
            input.extend_from_slice(words[numbers.below(words.len())].as_bytes());
        }
        if !input.is_empty() && numbers.below(3) == 0 {
            let place = numbers.below(input.len());
            input[place] = numbers.byte();
        }
        check(&input);
    }
}
