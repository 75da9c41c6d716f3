//! Numbers that look random and come from a seed (SplitMix64).

use std::hash::{BuildHasher, RandomState};

/// The seed of this run: `CALVE_TEST_SEED`, else a new one. Printed, so that a failure tells it.
pub fn seed() -> u64 {
    let seed = match std::env::var("CALVE_TEST_SEED") {
        Ok(text) => text.parse().expect("CALVE_TEST_SEED is a whole number"),
        Err(_) => RandomState::new().hash_one("seed"),
    };
    println!("CALVE_TEST_SEED={seed}");
    seed
}

/// A source of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Equal seeds give equal numbers; `stream` tells several sources of one seed apart.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, but not including, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `times`, on average.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// A position in something of this length, which is not 0.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below the length")
    }

    /// A source of its own, for another thread.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }
}
