//! How fast work in the background goes: no faster than it may, and little of the time while
//! somebody waits for the disk.

use std::time::Duration;

/// While others wait for syncs, so many times as long as a step of work took is left to them.
const GIVE_WAY_FACTOR: u32 = 3;

/// The speed of one piece of work.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second_max: f64,
    /// Rounds of syncs when the last step was over.
    rounds: u64,
    done_bytes: u64,
}

/// A step of the work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stride {
    /// Read and written.
    pub(super) bytes: u64,
    pub(super) took: Duration,
    /// Rounds of syncs that others have had by now.
    pub(super) rounds: u64,
    /// What has become new work since this one began.
    pub(super) grown_bytes: u64,
}

impl Pace {
    pub(super) fn new(bytes_per_second_max: f64, rounds: u64) -> Self {
        Self { bytes_per_second_max, rounds, done_bytes: 0 }
    }

    /// How long to rest after a step. Who falls behind gives way to nobody: there would be more and
    /// more to do.
    pub(super) fn rest(&mut self, stride: Stride) -> Duration {
        self.done_bytes += stride.bytes;
        let somebody_waits = std::mem::replace(&mut self.rounds, stride.rounds) != stride.rounds;
        let keeps_up = stride.grown_bytes <= self.done_bytes;
        #[expect(clippy::cast_precision_loss, reason = "a duration need not be exact")]
        let seconds = stride.bytes as f64 / self.bytes_per_second_max;
        let least = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        match somebody_waits && keeps_up {
            true => least.max(stride.took * GIVE_WAY_FACTOR),
            false => least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDE: Stride =
        Stride { bytes: 1_000, took: Duration::from_millis(2), rounds: 5, grown_bytes: 0 };

    #[test]
    fn the_limit_holds_when_nobody_waits() {
        let mut pace = Pace::new(100_000.0, 5);
        assert_eq!(pace.rest(STRIDE), Duration::from_millis(10));
        assert_eq!(Pace::new(f64::MAX, 5).rest(STRIDE), Duration::ZERO);
    }

    #[test]
    fn who_waits_for_the_disk_gets_most_of_it() {
        let mut pace = Pace::new(f64::MAX, 5);
        assert_eq!(pace.rest(Stride { rounds: 6, ..STRIDE }), 3 * STRIDE.took);
        assert_eq!(pace.rest(Stride { rounds: 6, ..STRIDE }), Duration::ZERO);
        assert_eq!(pace.rest(Stride { rounds: 9, ..STRIDE }), 3 * STRIDE.took);
    }

    #[test]
    fn who_falls_behind_gives_way_to_nobody() {
        let mut pace = Pace::new(f64::MAX, 5);
        let grows = |rounds, grown_bytes| Stride { rounds, grown_bytes, ..STRIDE };
        assert_eq!(pace.rest(grows(6, 1_001)), Duration::ZERO);
        assert_eq!(pace.rest(grows(7, 2_000)), 3 * STRIDE.took);
        assert_eq!(pace.rest(grows(8, 9_000)), Duration::ZERO);
    }
}
