//! One partition: what was sent to it, what was read from it, and whether that is one log.

use std::collections::{BTreeMap, BTreeSet};

use crate::checker::{Ends, Reader};
use crate::event::{Outcome, Record, Stage};
use crate::report::{Anomaly, Findings};

#[derive(Clone, Debug, Default)]
pub(crate) struct Partition {
    sends: BTreeMap<u64, Send>,
    /// What each process sent, in that order.
    sent: BTreeMap<u32, Vec<u64>>,
    /// All values that acknowledgements and readers have named for an offset.
    values: BTreeMap<i64, BTreeSet<u64>>,
    offsets: BTreeMap<u64, BTreeSet<i64>>,
    epochs: BTreeMap<i64, BTreeSet<i32>>,
    /// The offsets that were read, by all and by those who read after the faults.
    read: BTreeSet<i64>,
    read_finally: BTreeSet<i64>,
    /// The same for values: another record may lie where one was lost.
    values_read: BTreeSet<u64>,
    values_read_finally: BTreeSet<u64>,
    final_readers: BTreeSet<u32>,
    /// The next offset of each assigned process.
    positions: BTreeMap<u32, i64>,
    jumps: Vec<Jump>,
    /// What a process asking for the end must be told at least: the highest offset acknowledged
    /// when it asked.
    asking: BTreeMap<u32, i64>,
    acked_end: i64,
    ends: BTreeMap<u32, i64>,
    trimmed: i64,
    /// Found while the history goes by, because the order matters.
    seen: Vec<(Anomaly, String)>,
}

#[derive(Clone, Debug)]
struct Send {
    fate: Fate,
    acked: Option<i64>,
    is_in_txn: bool,
}

/// What is known of a send besides its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) offset: Option<i64>,
    pub(crate) is_in_txn: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    Acked,
    Failed,
}

/// A consumer got the offset `to` where `from` was the next.
#[derive(Clone, Debug)]
struct Jump {
    process: u32,
    from: i64,
    to: i64,
}

impl Partition {
    pub(crate) fn send(&mut self, process: u32, stage: Stage, value: u64, sent: Sent) {
        let Sent { offset, is_in_txn } = sent;
        if stage == Stage::Invoke {
            self.sends.insert(value, Send { fate: Fate::Unknown, acked: None, is_in_txn });
            self.sent.entry(process).or_default().push(value);
            return;
        }
        let Some(send) = self.sends.get_mut(&value) else { return };
        match stage {
            Stage::Ok => {
                // A record of a transaction counts when that ends.
                if !send.is_in_txn {
                    send.fate = Fate::Acked;
                }
                send.acked = offset;
            }
            Stage::Fail => send.fate = Fate::Failed,
            Stage::Info | Stage::Invoke => {}
        }
        if let Some(offset) = offset.filter(|_| stage == Stage::Ok) {
            self.place(value, offset);
            self.acked_end = self.acked_end.max(offset + 1);
        }
    }

    pub(crate) fn read(&mut self, process: u32, reader: Reader, record: &Record) {
        let Record { offset, value, epoch } = *record;
        self.place(value, offset);
        self.read.insert(offset);
        self.values_read.insert(value);
        if reader == Reader::Final {
            self.read_finally.insert(offset);
            self.values_read_finally.insert(value);
        }
        if let Some(epoch) = epoch {
            self.epochs.entry(offset).or_default().insert(epoch);
        }
        let Some(position) = self.positions.get_mut(&process) else { return };
        let from = *position;
        *position = offset + 1;
        if offset < from {
            let example = format!("process {process} was at {from} and got {offset}");
            self.seen.push((Anomaly::NonmonotonicPoll, example));
        } else if offset > from {
            self.jumps.push(Jump { process, from, to: offset });
        }
    }

    /// What became of a transaction in which this value was sent.
    pub(crate) fn end_txn(&mut self, value: u64, outcome: Outcome) {
        let Some(send) = self.sends.get_mut(&value) else { return };
        send.fate = match outcome {
            // What had failed was left out of it.
            Outcome::Commit if send.fate == Fate::Failed => Fate::Failed,
            Outcome::Commit => Fate::Acked,
            Outcome::Abort => Fate::Failed,
        };
    }

    pub(crate) fn is_read(&self, value: u64) -> bool {
        self.values_read.contains(&value)
    }

    pub(crate) fn assign(&mut self, process: u32, reader: Reader, offset: i64) {
        self.positions.insert(process, offset);
        if reader == Reader::Final {
            self.final_readers.insert(process);
        }
    }

    pub(crate) fn unassign(&mut self, process: u32) {
        self.positions.remove(&process);
    }

    pub(crate) fn end(&mut self, process: u32, stage: Stage, offset: i64) {
        if stage == Stage::Invoke {
            self.asking.insert(process, self.acked_end);
            return;
        }
        let asked = self.asking.remove(&process);
        if stage != Stage::Ok {
            return;
        }
        if let Some(acked) = asked.filter(|acked| offset < *acked) {
            let last = acked - 1;
            let example =
                format!("process {process} was told {offset} after {last} was acknowledged");
            self.seen.push((Anomaly::StaleEnd, example));
        }
        let before = self.ends.entry(process).or_insert(offset);
        if offset < *before {
            let example = format!("process {process} was told {offset} after {before}");
            self.seen.push((Anomaly::HwRegress, example));
        }
        *before = (*before).max(offset);
    }

    pub(crate) fn trim(&mut self, offset: i64) {
        self.trimmed = self.trimmed.max(offset);
    }

    /// Sends of which nobody knows whether they took effect.
    pub(crate) fn unsure(&self) -> usize {
        self.sends.values().filter(|send| send.fate == Fate::Unknown).count()
    }

    pub(crate) fn check(
        &mut self,
        key: &str,
        ends: Ends,
        unread: &BTreeSet<i64>,
        findings: &mut Findings,
    ) {
        for (anomaly, example) in std::mem::take(&mut self.seen) {
            // An end that went back says more than that it was too low.
            if anomaly != Anomaly::StaleEnd || ends == Ends::Linearizable {
                findings.add(anomaly, key, example);
            }
        }
        let mut add = |anomaly, example: String| findings.add(anomaly, key, example);
        self.check_values(&mut add);
        self.check_order(&mut add);
        self.check_epochs(&mut add);
        let lost = self.check_lost(&mut add);
        self.check_jumps(&lost, &mut add);
        self.check_gaps(unread, &mut add);
    }

    fn place(&mut self, value: u64, offset: i64) {
        self.values.entry(offset).or_default().insert(value);
        self.offsets.entry(value).or_default().insert(offset);
    }

    /// One value at an offset, one offset for a value, and each of them was sent.
    fn check_values(&self, add: &mut impl FnMut(Anomaly, String)) {
        for (offset, values) in self.values.iter().filter(|(_, values)| values.len() > 1) {
            add(Anomaly::InconsistentOffsets, format!("offset {offset} held {values:?}"));
        }
        for (value, offsets) in &self.offsets {
            if offsets.len() > 1 {
                add(Anomaly::Duplicate, format!("{value} is at {offsets:?}"));
            }
            match self.sends.get(value).map(|send| send.fate) {
                None => add(Anomaly::Phantom, format!("{value} at {offsets:?}")),
                Some(Fate::Failed) if self.is_read(*value) => {
                    add(Anomaly::AbortedRead, format!("{value} at {offsets:?}"));
                }
                Some(Fate::Acked | Fate::Failed | Fate::Unknown) => {}
            }
        }
    }

    /// What a process had acknowledged lies in the order in which it sent it.
    fn check_order(&self, add: &mut impl FnMut(Anomaly, String)) {
        for (process, values) in &self.sent {
            let acked = values.iter().filter_map(|value| {
                let send = self.sends.get(value)?;
                Some((*value, self.offset_of(*value, send)?))
            });
            let mut highest: Option<(u64, i64)> = None;
            for (value, offset) in acked {
                match highest {
                    Some((earlier, at)) if offset < at => {
                        let example = format!(
                            "process {process} sent {earlier} (at {at}) before {value} (at {offset})"
                        );
                        add(Anomaly::NonmonotonicSend, example);
                    }
                    _ => highest = Some((value, offset)),
                }
            }
        }
    }

    fn offset_of(&self, value: u64, send: &Send) -> Option<i64> {
        if send.fate != Fate::Acked {
            return None;
        }
        send.acked.or_else(|| self.offsets.get(&value)?.first().copied())
    }

    fn check_epochs(&self, add: &mut impl FnMut(Anomaly, String)) {
        let mut before: Option<(i64, i32)> = None;
        for (offset, epochs) in &self.epochs {
            if epochs.len() > 1 {
                add(
                    Anomaly::InconsistentOffsets,
                    format!("offset {offset} was of epochs {epochs:?}"),
                );
                continue;
            }
            let Some(epoch) = epochs.first().copied() else { continue };
            if let Some((at, earlier)) = before.filter(|(_, earlier)| epoch < *earlier) {
                let example = format!("{offset} is of epoch {epoch}, {at} of {earlier}");
                add(Anomaly::EpochRegress, example);
            }
            before = Some((*offset, epoch));
        }
    }

    /// What the judging readers read: those after the faults, if there are any.
    fn judging(&self) -> &BTreeSet<i64> {
        if self.final_readers.is_empty() { &self.read } else { &self.read_finally }
    }

    fn judging_values(&self) -> &BTreeSet<u64> {
        if self.final_readers.is_empty() { &self.values_read } else { &self.values_read_finally }
    }

    /// Records that were acknowledged or read, and are not there. Returns where they were.
    fn check_lost(&self, add: &mut impl FnMut(Anomaly, String)) -> BTreeSet<i64> {
        let there = self.judging_values();
        let end = self.judging().last().map_or(0, |last| last + 1);
        let mut lost = BTreeSet::new();
        let mut judge = |offset: Option<i64>, what: String| {
            let Some(offset) = offset.filter(|offset| *offset < end) else {
                return add(Anomaly::Unseen, what);
            };
            lost.insert(offset);
            add(Anomaly::LostWrite, what);
        };
        for (value, send) in self.sends.iter().filter(|(_, send)| send.fate == Fate::Acked) {
            let known = self.offsets.get(value);
            let trimmed = known.is_some_and(|known| known.iter().any(|at| *at < self.trimmed));
            if !trimmed && !there.contains(value) {
                let at = send.acked.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
                judge(send.acked, format!("{value} was acknowledged (offset {at})"));
            }
        }
        for value in self.values_read.difference(there) {
            // Those that were acknowledged are named above.
            let is_unacked = self.sends.get(value).is_some_and(|send| send.fate != Fate::Acked);
            let at = self.offsets.get(value).and_then(|offsets| offsets.first().copied());
            if let Some(offset) = at.filter(|offset| is_unacked && *offset >= self.trimmed) {
                judge(Some(offset), format!("{value} had been read at {offset}"));
            }
        }
        lost
    }

    /// Consumers that jumped over what others got.
    fn check_jumps(&self, lost: &BTreeSet<i64>, add: &mut impl FnMut(Anomaly, String)) {
        for Jump { process, from, to } in &self.jumps {
            let from = (*from).max(self.trimmed);
            if from >= *to {
                continue;
            }
            let mut passed = self.read.range(from..*to).filter(|offset| !lost.contains(offset));
            if let Some(first) = passed.next() {
                let count = passed.count() + 1;
                let example = format!(
                    "process {process} went from {from} to {to}, over {count} from {first}"
                );
                add(Anomaly::PollSkip, example);
            }
        }
    }

    /// Offsets below the end that nothing accounts for.
    fn check_gaps(&self, unread: &BTreeSet<i64>, add: &mut impl FnMut(Anomaly, String)) {
        let judging = self.judging();
        let (Some(first), Some(last)) = (judging.first(), judging.last()) else { return };
        // Those who read after the faults began at the beginning.
        let first = if self.final_readers.is_empty() { *first } else { 0 };
        let accounted = |offset: &i64| {
            self.values.contains_key(offset) || unread.contains(offset) || *offset < self.trimmed
        };
        let mut offset = first;
        while offset <= *last {
            if accounted(&offset) {
                offset += 1;
                continue;
            }
            let from = offset;
            while !accounted(&offset) {
                offset += 1;
            }
            add(Anomaly::OffsetGap, format!("nothing at {from} to {}", offset - 1));
        }
    }
}
