//! The coordinators: state machines over the partitions of internal topics. The leader of a
//! partition is the coordinator of what hashes to it: it decides, appends records, and answers
//! when they are committed.
//!
//! [`runtime`] is the only driver here; the state machines know neither tasks nor clocks.

pub mod group;
pub mod records;
pub mod reply;
pub mod runtime;
pub mod step;
mod store;
mod transactions;

/// The partition that has the state of a key, out of so many: `Utils.abs(key.hashCode()) %
/// partitions`.
pub fn partition_for(key: &str, partition_count: usize) -> i32 {
    let hash = key
        .encode_utf16()
        .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // The one number without a positive counterpart becomes 0.
    let hash = hash.checked_abs().unwrap_or(0);
    hash.checked_rem(i32::try_from(partition_count).unwrap_or(i32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_in_java() {
        // `"…".hashCode()` as Java computes it.
        for (key, hash) in [
            ("", 0),
            ("a", 97),
            ("g1", 3_242),
            ("group", 98_629_247),
            ("hello world", 1_794_106_052),
            ("é", 233),
            ("😀", 1_772_899),
        ] {
            assert_eq!(partition_for(key, usize::MAX), hash, "{key}");
            assert_eq!(partition_for(key, 50), hash % 50, "{key}");
        }
        // Its hash is `Integer.MIN_VALUE`.
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        assert_eq!(partition_for("g1", 0), 0);
    }
}
