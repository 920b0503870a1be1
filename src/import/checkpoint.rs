//! The small text files of an Apache Kafka log dir: `meta.properties`, `partition.metadata`, and
//! the checkpoint files, which have a version, a count, and so many lines.

use std::collections::BTreeMap;

use crate::base::ids::{LeaderEpoch, Offset, PartitionIndex};

/// The value of a key in a properties file.
pub(super) fn property<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(['=', ':']));
    let mut values = lines.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim());
    values.next()
}

/// The lines of a checkpoint file; `None` if it is damaged. One without a count has none: Kafka
/// makes the file before it has anything to write (`CheckpointFile`).
fn lines(text: &str) -> Option<Vec<&str>> {
    let mut lines = text.lines();
    let version = lines.next().unwrap_or("0");
    let Some(count) = lines.next() else { return (version.trim() == "0").then(Vec::new) };
    let lines: Vec<&str> = lines.collect();
    let is_whole = version.trim() == "0" && count.trim().parse() == Ok(lines.len());
    is_whole.then_some(lines)
}

/// An offset per partition: `topic partition offset`.
pub(super) fn offsets(text: &str) -> Option<BTreeMap<(String, PartitionIndex), Offset>> {
    let each = lines(text)?.into_iter().map(|line| {
        let mut words = line.split_whitespace();
        let place = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        let offset = words.next()?.parse().ok().filter(|offset| *offset >= 0)?;
        words.next().is_none().then_some((place, offset))
    });
    each.collect()
}

/// Where leader epochs begin: `epoch offset`, both rising.
pub(super) fn epochs(text: &str) -> Option<Vec<(LeaderEpoch, Offset)>> {
    let each = lines(text)?.into_iter().map(|line| {
        let mut words = line.split_whitespace();
        let epoch = words.next()?.parse().ok().filter(|epoch| *epoch >= 0)?;
        let start = words.next()?.parse().ok().filter(|start| *start >= 0)?;
        words.next().is_none().then_some((epoch, start))
    });
    let epochs: Vec<(LeaderEpoch, Offset)> = each.collect::<Option<_>>()?;
    let rises = epochs.windows(2).all(|pair| match pair {
        [(first, from), (next, to)] => first < next && from <= to,
        _ => true,
    });
    rises.then_some(epochs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn properties_are_found() {
        let text = "#Thu Jan 1\nversion=1\ncluster.id=MkU3OEVBNTcwNTJENDM2Qk\nnode.id = 1\n";
        assert_eq!(property(text, "cluster.id"), Some("MkU3OEVBNTcwNTJENDM2Qk"));
        assert_eq!(property(text, "node.id"), Some("1"));
        assert_eq!(property(text, "id"), None);
        assert_eq!(property("version: 0\ntopic_id: abc\n", "topic_id"), Some("abc"));
    }

    #[test]
    fn a_damaged_checkpoint_is_refused() {
        let good = "0\n2\na 0 5\nb 12 0\n";
        let found = offsets(good).expect("whole");
        assert_eq!(found.get(&("b".to_owned(), 12)), Some(&0));
        for empty in ["", "0\n", "0\n0\n"] {
            assert_eq!(offsets(empty), Some(BTreeMap::new()), "{empty:?}");
            assert_eq!(epochs(empty), Some(Vec::new()), "{empty:?}");
        }
        for bad in
            ["1\n", "1\n0\n", "0\n2\na 0 5\n", "0\n1\na 0\n", "0\n1\na 0 -1\n", "0\n1\na 0 5 6\n"]
        {
            assert_eq!(offsets(bad), None, "{bad:?}");
        }
        assert_eq!(epochs("0\n2\n0 0\n3 17\n"), Some(vec![(0, 0), (3, 17)]));
        for bad in ["0\n2\n3 0\n3 17\n", "0\n2\n0 18\n3 17\n", "0\n1\n-1 0\n", "0\n1\n1 0 0\n"] {
            assert_eq!(epochs(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn checkpoints_are_read_as_they_are_written(
            places in proptest::collection::btree_map(("[a-zA-Z0-9._-]{1,9}", 0..9), 0i64.., 0..9),
            steps in proptest::collection::vec((1..9, 0i64..99), 0..9),
        ) {
            let places: BTreeMap<(String, i32), i64> = places;
            let mut text = format!("0\n{}\n", places.len());
            for ((topic, partition), offset) in &places {
                text.push_str(&format!("{topic} {partition} {offset}\n"));
            }
            prop_assert_eq!(offsets(&text), Some(places));
            let (mut epoch, mut start, mut wanted) = (0, 0, Vec::new());
            for (by, records) in steps {
                (epoch, start) = (epoch + by, start + records);
                wanted.push((epoch, start));
            }
            let mut text = format!("0\n{}\n", wanted.len());
            for (epoch, start) in &wanted {
                text.push_str(&format!("{epoch} {start}\n"));
            }
            prop_assert_eq!(epochs(&text), Some(wanted));
        }

        #[test]
        fn garbage_never_panics(text in ".{0,60}") {
            let _ = (offsets(&text), epochs(&text), property(&text, "a"));
        }
    }
}
