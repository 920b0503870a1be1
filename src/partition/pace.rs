//! How work in the background makes room for those who wait for the disk.

use std::time::Duration;

/// While others wait for syncs, so many times as long as a step of work took is left to them.
const GIVE_WAY_FACTOR: u32 = 3;

/// As good as for ever: who waits so long hears of other settings.
const AGES: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long so many bytes are to take; at no bytes per second that has no end.
#[expect(clippy::cast_precision_loss, reason = "a duration need not be exact")]
pub(super) fn time_of(bytes: u64, bytes_per_second: f64) -> Duration {
    if bytes == 0 {
        return Duration::ZERO;
    }
    let time = Duration::try_from_secs_f64(bytes as f64 / bytes_per_second);
    time.unwrap_or(AGES).min(AGES)
}

/// How far one piece of work is.
#[derive(Debug)]
pub(super) struct Pace {
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
    pub(super) fn new(rounds: u64) -> Self {
        Self { rounds, done_bytes: 0 }
    }

    /// How long to rest after a step. Who falls behind gives way to nobody: there would be more and
    /// more to do.
    pub(super) fn give_way(&mut self, stride: Stride) -> Duration {
        self.done_bytes += stride.bytes;
        let somebody_waits = std::mem::replace(&mut self.rounds, stride.rounds) != stride.rounds;
        let keeps_up = stride.grown_bytes <= self.done_bytes;
        match somebody_waits && keeps_up {
            true => stride.took * GIVE_WAY_FACTOR,
            false => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDE: Stride =
        Stride { bytes: 1_000, took: Duration::from_millis(2), rounds: 5, grown_bytes: 0 };

    #[test]
    fn a_rate_of_nothing_has_no_end() {
        assert_eq!(time_of(1_000, 500.0), Duration::from_secs(2));
        for rate in [0.0, -1.0, f64::MIN_POSITIVE, f64::NAN] {
            assert_eq!(time_of(1, rate), AGES, "{rate}");
            assert_eq!(time_of(0, rate), Duration::ZERO, "{rate}");
        }
    }

    #[test]
    fn who_waits_for_the_disk_gets_most_of_it() {
        let mut pace = Pace::new(5);
        assert_eq!(pace.give_way(STRIDE), Duration::ZERO);
        assert_eq!(pace.give_way(Stride { rounds: 6, ..STRIDE }), 3 * STRIDE.took);
        assert_eq!(pace.give_way(Stride { rounds: 6, ..STRIDE }), Duration::ZERO);
        assert_eq!(pace.give_way(Stride { rounds: 9, ..STRIDE }), 3 * STRIDE.took);
    }

    #[test]
    fn who_falls_behind_gives_way_to_nobody() {
        let mut pace = Pace::new(5);
        let grows = |rounds, grown_bytes| Stride { rounds, grown_bytes, ..STRIDE };
        assert_eq!(pace.give_way(grows(6, 1_001)), Duration::ZERO);
        assert_eq!(pace.give_way(grows(7, 2_000)), 3 * STRIDE.took);
        assert_eq!(pace.give_way(grows(8, 9_000)), Duration::ZERO);
    }
}
