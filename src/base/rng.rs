//! The randomness seam: a small seeded generator (SplitMix64). Not for secrets.

use std::sync::atomic::{AtomicU64, Ordering};

/// A generator that can be shared: each draw advances one atomic counter.
#[derive(Debug)]
pub struct Rng {
    state: AtomicU64,
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// The same seed gives the same draws.
    pub fn seeded(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// Seeded by the operating system.
    pub fn from_os() -> std::io::Result<Self> {
        let mut seed = [0u8; 8];
        let got = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
        if got < seed.len() {
            return Err(std::io::Error::other("the operating system gave too little randomness"));
        }
        Ok(Self::seeded(u64::from_le_bytes(seed)))
    }

    pub fn next_u64(&self) -> u64 {
        let mut z =
            self.state.fetch_add(GOLDEN_GAMMA, Ordering::Relaxed).wrapping_add(GOLDEN_GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// 16 random bytes with the version and variant bits of a random UUID (RFC 9562, version 4).
    pub fn uuid(&self) -> [u8; 16] {
        let high = (self.next_u64() & !0xf000) | 0x4000;
        let low = (self.next_u64() & !(0b11 << 62)) | (0b10 << 62);
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_draws() {
        let (a, b) = (Rng::seeded(7), Rng::seeded(7));
        let draws: Vec<u64> = (0..100).map(|_| a.next_u64()).collect();
        assert!(draws.iter().all(|d| *d == b.next_u64()));
        assert_ne!(Rng::seeded(8).next_u64(), draws[0]);
    }

    #[test]
    fn a_uuid_has_version_and_variant() {
        let uuid = Rng::seeded(1).uuid();
        assert_eq!(uuid[6] >> 4, 4);
        assert_eq!(uuid[8] >> 6, 0b10);
    }
}
