//! Records that were written within transactions, offsets as a rule: they count when the marker of
//! their transaction says that it was committed, and are dropped when it was aborted (Kafka's
//! `OffsetMetadataManager`).
//!
//! Of a key the record that stands last in the log counts, whenever it is decided on. So a record
//! that waits counts no more when a later one of its key does.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::ids::Offset;
use crate::log::records::KeyValue;
use crate::log::records::marker::Ending;

/// The records of open transactions by producer.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    by_producer: BTreeMap<i64, Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    offset: Offset,
    key: Bytes,
    value: Option<Bytes>,
    /// A later record of the key counts already.
    is_replaced: bool,
}

impl Undecided {
    /// A record of an open transaction.
    pub(super) fn add(&mut self, producer_id: i64, record: KeyValue) {
        if let Some(key) = record.key {
            let (offset, value) = (record.offset, record.value);
            let waiting = Waiting { offset, key, value, is_replaced: false };
            self.by_producer.entry(producer_id).or_default().push(waiting);
        }
    }

    /// The record of this key at `offset` counts.
    pub(super) fn replace(&mut self, key: &Bytes, offset: Offset) {
        for waiting in self.by_producer.values_mut().flatten() {
            waiting.is_replaced |= waiting.offset < offset && waiting.key == *key;
        }
    }

    /// Ends the transaction of a producer. The keys and values that count from now on.
    pub(super) fn end(&mut self, producer_id: i64, ending: Ending) -> Vec<(Bytes, Option<Bytes>)> {
        let ended = self.by_producer.remove(&producer_id).unwrap_or_default();
        if ending == Ending::Aborted {
            return Vec::new();
        }
        let mut counting = Vec::with_capacity(ended.len());
        for waiting in ended.into_iter().filter(|waiting| !waiting.is_replaced) {
            self.replace(&waiting.key, waiting.offset);
            counting.push((waiting.key, waiting.value));
        }
        counting
    }

    /// Where the first record is that is not decided on.
    pub(super) fn first_offset(&self) -> Option<Offset> {
        self.by_producer.values().filter_map(|waiting| waiting.first()).map(|one| one.offset).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(offset: Offset, key: u8, value: Option<u8>) -> KeyValue {
        let bytes = |byte: u8| Bytes::from(vec![byte]);
        KeyValue { offset, timestamp_ms: 0, key: Some(bytes(key)), value: value.map(bytes) }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Plain(u8, Option<u8>),
        Within(i64, u8, Option<u8>),
        End(i64, bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let value = || proptest::option::weighted(0.8, any::<u8>());
        let step = prop_oneof![
            2 => (0u8..4, value()).prop_map(|(key, value)| Step::Plain(key, value)),
            3 => (0i64..3, 0u8..4, value())
                .prop_map(|(producer, key, value)| Step::Within(producer, key, value)),
            1 => (0i64..3, any::<bool>()).prop_map(|(producer, ok)| Step::End(producer, ok)),
        ];
        proptest::collection::vec(step, 0..60)
    }

    /// How the transaction ends that a producer has open at a step; `None` if it does not.
    fn end_of(steps: &[Step], at: usize, producer: i64) -> Option<bool> {
        steps.iter().skip(at).find_map(|step| match step {
            Step::End(found, committed) if *found == producer => Some(*committed),
            _ => None,
        })
    }

    proptest! {
        /// Of each key counts what stands last in the log, of all that is committed in the end.
        #[test]
        fn the_last_record_that_is_committed_counts(steps in steps()) {
            let mut undecided = Undecided::default();
            let mut found: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
            let mut expected: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
            let mut first_open = None;
            for (at, step) in steps.iter().enumerate() {
                let offset = Offset::try_from(at).expect("small");
                match step {
                    Step::Plain(key, value) => {
                        let record = record(offset, *key, *value);
                        let key = record.key.expect("a key");
                        undecided.replace(&key, offset);
                        found.insert(key.clone(), record.value.clone());
                        expected.insert(key, record.value);
                    }
                    Step::Within(producer, key, value) => {
                        let record = record(offset, *key, *value);
                        let (key, value) = (record.key.clone(), record.value.clone());
                        match end_of(&steps, at, *producer) {
                            Some(true) => {
                                expected.insert(key.expect("a key"), value);
                            }
                            Some(false) => {}
                            None => {
                                first_open.get_or_insert(offset);
                            }
                        }
                        undecided.add(*producer, record);
                    }
                    Step::End(producer, committed) => {
                        let ending = if *committed { Ending::Committed } else { Ending::Aborted };
                        found.extend(undecided.end(*producer, ending));
                    }
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(undecided.first_offset(), first_open);
        }
    }
}
