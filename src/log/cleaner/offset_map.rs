//! The latest offset of each key, in bounded memory (Kafka's `SkimpyOffsetMap`): keys are known by
//! 128 bits of a keyed hash, because the keys themselves may be of any size.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

use crate::base::ids::Offset;

/// Of a slot: two halves of the hash, and one more than the offset; 0 is an empty slot.
type Slot = [u64; 3];
const SLOT_BYTES: usize = size_of::<Slot>();
/// Of a hundred slots as many are used at most: the fuller, the longer is the search.
const LOAD_PERCENT_MAX: usize = 90;

/// The map; it never grows.
#[derive(Debug)]
pub(super) struct OffsetMap {
    slots: Vec<Slot>,
    count: usize,
    seed: (u64, u64),
    latest: Offset,
}

/// No further key fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl OffsetMap {
    /// A map that takes `bytes_max` at most, and no more than `keys_max` keys need.
    pub(super) fn new(bytes_max: usize, keys_max: usize, seed: (u64, u64)) -> Self {
        let wanted = keys_max.saturating_mul(100) / LOAD_PERCENT_MAX + 2;
        let slots = wanted.min(bytes_max / SLOT_BYTES).max(2);
        Self { slots: vec![[0; 3]; slots], count: 0, seed, latest: -1 }
    }

    /// The offset up to which everything has been put.
    pub(super) fn latest(&self) -> Offset {
        self.latest
    }

    /// Everything up to `offset` is in, whether it had a key or not.
    pub(super) fn reached(&mut self, offset: Offset) {
        self.latest = self.latest.max(offset);
    }

    /// Notes where a key was last.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        let hash = self.hash(key);
        let is_full = self.count >= self.slots.len() * LOAD_PERCENT_MAX / 100;
        let slot = self.slot(hash);
        let is_new = slot[2] == 0;
        if is_new && is_full {
            return Err(Full);
        }
        *slot = [hash.0, hash.1, offset.unsigned_abs() + 1];
        self.count += usize::from(is_new);
        self.reached(offset);
        Ok(())
    }

    /// Where a key was last.
    pub(super) fn get(&self, key: &[u8]) -> Option<Offset> {
        let hash = self.hash(key);
        let found = self.probe(hash).find(|slot| holds(slot, hash))?;
        found[2].checked_sub(1).and_then(|offset| Offset::try_from(offset).ok())
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        hasher.write(key);
        let hash = hasher.finish128();
        (hash.h1, hash.h2)
    }

    fn start(&self, hash: (u64, u64)) -> usize {
        let slots = self.slots.len() as u64;
        usize::try_from(hash.0 % slots).unwrap_or(0)
    }

    /// All slots from the hash's own on.
    fn probe(&self, hash: (u64, u64)) -> impl Iterator<Item = &Slot> {
        let (before, from) = self.slots.split_at(self.start(hash));
        from.iter().chain(before)
    }

    /// The slot of a key, or the empty one that it would have.
    fn slot(&mut self, hash: (u64, u64)) -> &mut Slot {
        let start = self.start(hash);
        let (before, from) = self.slots.split_at_mut(start);
        let mut slots = from.iter_mut().chain(before);
        slots.find(|slot| holds(slot, hash)).expect("invariant: some slots are always empty")
    }
}

fn holds(slot: &Slot, hash: (u64, u64)) -> bool {
    slot[2] == 0 || (slot[0], slot[1]) == hash
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_until_it_is_full(
            slots in 2_usize..40,
            puts in proptest::collection::vec((0_u8..30, 0_i64..1_000), 0..200),
            seed: (u64, u64),
        ) {
            let mut map = OffsetMap::new(slots * SLOT_BYTES, 1_000, seed);
            let mut model = BTreeMap::new();
            for (key, offset) in puts {
                match map.put(&[key], offset) {
                    Ok(()) => drop(model.insert(key, offset)),
                    Err(Full) => {
                        prop_assert!(!model.contains_key(&key));
                        prop_assert_eq!(model.len(), slots * LOAD_PERCENT_MAX / 100);
                    }
                }
            }
            for key in 0..30 {
                prop_assert_eq!(map.get(&[key]), model.get(&key).copied());
            }
        }
    }

    #[test]
    fn few_keys_take_little_memory() {
        let map = OffsetMap::new(128 * 1024 * 1024, 10, (1, 2));
        assert!(map.slots.len() < 20);
        let mut map = OffsetMap::new(128 * 1024 * 1024, 10, (1, 2));
        for key in 0..10_u8 {
            assert_eq!(map.put(&[key], i64::from(key)), Ok(()));
        }
        assert_eq!(map.latest(), 9);
    }
}
