//! A log that is correct, its clients, and what becomes of a history when one thing in it changes.

use proptest::prelude::*;

use super::judge;
use crate::{Batch, Content, Event, Op, Record, Stage};

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A process sends, and is answered so after this many steps more.
    Send {
        process: u32,
        answer: Stage,
    },
    Poll {
        process: u32,
        max: usize,
    },
    Commit {
        answer: Stage,
    },
    Fetch,
    End,
    Leader,
}

fn step() -> impl Strategy<Value = Step> {
    let answer =
        || prop_oneof![8 => Just(Stage::Ok), 1 => Just(Stage::Info), 1 => Just(Stage::Fail)];
    prop_oneof![
        8 => (1..4_u32, answer()).prop_map(|(process, answer)| Step::Send { process, answer }),
        3 => (10..12_u32, 1..8_usize).prop_map(|(process, max)| Step::Poll { process, max }),
        1 => answer().prop_map(|answer| Step::Commit { answer }),
        1 => Just(Step::Fetch),
        1 => Just(Step::End),
        1 => Just(Step::Leader),
    ]
}

const KEY: &str = "a-0";
const FINAL_READERS: [u32; 2] = [30, 31];

/// One partition and one group, which do what they should.
#[derive(Default)]
struct World {
    events: Vec<Event>,
    log: Vec<Record>,
    values: u64,
    epoch: i32,
    positions: [usize; 2],
    committed: i64,
}

impl World {
    fn run(steps: &[Step]) -> Vec<Event> {
        let mut world = Self { committed: -1, ..Self::default() };
        for process in [10, 11] {
            world.push(process, Stage::Ok, Op::Assign { positions: vec![(KEY.into(), 0)] });
        }
        for step in steps {
            world.step(step);
        }
        world.finish()
    }

    fn push(&mut self, process: u32, stage: Stage, op: Op) {
        let time_ns = self.events.len() as u64;
        self.events.push(Event { time_ns, process, stage, op });
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { process, answer } => self.send(process, answer),
            Step::Poll { process, max } => {
                let place = if process == 10 { 0 } else { 1 };
                let from = self.positions[place];
                let records: Vec<Record> = self.log.iter().skip(from).take(max).copied().collect();
                self.positions[place] += records.len();
                self.push(process, Stage::Ok, Op::Poll { key: KEY.into(), records });
            }
            Step::Commit { answer } => {
                let offset = self.log.len() as i64 + i64::from(self.epoch);
                let op = Op::Commit { group: "g".into(), key: KEY.into(), offset };
                self.push(20, Stage::Invoke, op.clone());
                if answer != Stage::Fail {
                    self.committed = offset;
                }
                self.push(20, answer, op);
            }
            Step::Fetch => {
                let op = |offset| Op::Fetch { group: "g".into(), key: KEY.into(), offset };
                self.push(21, Stage::Invoke, op(-1));
                self.push(21, Stage::Ok, op(self.committed));
            }
            Step::End => {
                let op = |offset| Op::End { key: KEY.into(), offset };
                self.push(22, Stage::Invoke, op(-1));
                self.push(22, Stage::Ok, op(self.log.len() as i64));
            }
            Step::Leader => self.epoch += 1,
        }
    }

    fn send(&mut self, process: u32, answer: Stage) {
        let value = self.values;
        self.values += 1;
        let op = |offset| Op::Send { key: KEY.into(), value, offset, txn: None };
        self.push(process, Stage::Invoke, op(None));
        let offset = self.log.len() as i64;
        if answer != Stage::Fail {
            self.log.push(Record { offset, value, epoch: Some(self.epoch) });
        }
        self.push(process, answer, op((answer == Stage::Ok).then_some(offset)));
    }

    fn finish(mut self) -> Vec<Event> {
        self.push(0, Stage::Ok, Op::Final);
        for process in FINAL_READERS {
            self.push(process, Stage::Ok, Op::Assign { positions: vec![(KEY.into(), 0)] });
            let records = self.log.clone();
            self.push(process, Stage::Ok, Op::Poll { key: KEY.into(), records });
        }
        let batch = |record: &Record| Batch {
            base: record.offset,
            last: record.offset,
            epoch: record.epoch.unwrap(),
            crc: u32::try_from(record.value).unwrap(),
            content: Content::Data,
        };
        let batches: Vec<Batch> = self.log.iter().map(batch).collect();
        for node in 1..4 {
            let op = Op::Replica { node, key: KEY.into(), batches: batches.clone() };
            self.push(0, Stage::Ok, op);
        }
        self.events
    }
}

/// One change to a history. All of them are wrong whatever the history.
#[derive(Clone, Copy, Debug)]
enum Mutation {
    Drop,
    Double,
    Swap,
    ShiftRead,
    ShiftAck,
    OtherValue,
    LowerEpoch,
    LowerEnd,
    OlderCommit,
    OtherCrc,
    ShorterReplica,
}

const MUTATIONS: [Mutation; 11] = [
    Mutation::Drop,
    Mutation::Double,
    Mutation::Swap,
    Mutation::ShiftRead,
    Mutation::ShiftAck,
    Mutation::OtherValue,
    Mutation::LowerEpoch,
    Mutation::LowerEnd,
    Mutation::OlderCommit,
    Mutation::OtherCrc,
    Mutation::ShorterReplica,
];

impl Mutation {
    /// Changes the history, or tells that there is nothing in it to change.
    fn apply(self, events: &mut [Event], at: prop::sample::Index) -> Option<()> {
        match self {
            Self::LowerEnd => return lower_end(events, at),
            Self::OlderCommit => return older_commit(events, at),
            Self::ShiftAck => return shift_ack(events, at),
            Self::OtherCrc => batches(events)?[..].last_mut()?.crc ^= 1,
            Self::ShorterReplica => drop(batches(events)?.pop()?),
            _ => {}
        }
        let records = final_read(events)?;
        // Not the last one, whose loss looks like an end to all that read less.
        let place = at.index(records.len().checked_sub(2)?.max(1));
        match self {
            Self::Drop => drop(records.remove(place)),
            Self::Double => records.insert(place, records[place]),
            Self::Swap => {
                let (left, right) = (records[place].value, records[place + 1].value);
                records[place].value = right;
                records[place + 1].value = left;
            }
            Self::ShiftRead => records[place].offset += 1_000_000,
            Self::OtherValue => records[place].value += 1_000_000,
            Self::LowerEpoch => records[place + 1].epoch = Some(records[place].epoch? - 1),
            _ => {}
        }
        Some(())
    }
}

/// What the second of the final readers read.
fn final_read(events: &mut [Event]) -> Option<&mut Vec<Record>> {
    events.iter_mut().rev().find_map(|event| match &mut event.op {
        Op::Poll { records, .. } if records.len() > 2 => Some(records),
        _ => None,
    })
}

fn batches(events: &mut [Event]) -> Option<&mut Vec<Batch>> {
    events.iter_mut().rev().find_map(|event| match &mut event.op {
        Op::Replica { batches, .. } => Some(batches),
        _ => None,
    })
}

fn pick(
    events: &mut [Event],
    at: prop::sample::Index,
    wanted: fn(&Event) -> bool,
) -> Option<&mut Event> {
    let mut found: Vec<&mut Event> = events.iter_mut().filter(|event| wanted(event)).collect();
    let place = at.index(found.len().max(1));
    (place < found.len()).then(|| found.swap_remove(place))
}

fn shift_ack(events: &mut [Event], at: prop::sample::Index) -> Option<()> {
    let acked = |event: &Event| matches!(event.op, Op::Send { offset: Some(_), .. });
    let Op::Send { offset: Some(offset), .. } = &mut pick(events, at, acked)?.op else {
        return None;
    };
    *offset += 1;
    Some(())
}

fn lower_end(events: &mut [Event], at: prop::sample::Index) -> Option<()> {
    let told = |event: &Event| {
        event.stage == Stage::Ok && matches!(event.op, Op::End { offset, .. } if offset > 0)
    };
    let Op::End { offset, .. } = &mut pick(events, at, told)?.op else { return None };
    *offset = -1;
    Some(())
}

fn older_commit(events: &mut [Event], at: prop::sample::Index) -> Option<()> {
    let told = |event: &Event| {
        event.stage == Stage::Ok && matches!(event.op, Op::Fetch { offset, .. } if offset >= 0)
    };
    let Op::Fetch { offset, .. } = &mut pick(events, at, told)?.op else { return None };
    *offset += 1_000_000;
    Some(())
}

proptest! {
    #[test]
    fn a_correct_log_has_no_finding(steps in prop::collection::vec(step(), 0..200)) {
        let report = judge(&World::run(&steps));
        prop_assert_eq!(report.findings, []);
    }

    #[test]
    fn any_change_is_found(
        steps in prop::collection::vec(step(), 20..100),
        mutation in prop::sample::select(&MUTATIONS[..]),
        at in any::<prop::sample::Index>(),
    ) {
        let mut events = World::run(&steps);
        prop_assume!(mutation.apply(&mut events, at).is_some());
        let report = judge(&events);
        prop_assert!(!report.findings.is_empty(), "{:?}", mutation);
    }
}
