//! What a history is made of: one event for each thing that a client began or was told.

/// A partition, as `topic-number`.
pub type Key = String;

/// One line of a history. All times are of one clock, so they tell what came before what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub time_ns: u64,
    /// A client. What it does, it does in the order of the history.
    pub process: u32,
    pub stage: Stage,
    pub op: Op,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Invoke,
    Ok,
    /// It has certainly not happened.
    Fail,
    /// Nobody knows whether it has happened.
    Info,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A record. No value is sent twice to one key. The offset is known when it is acknowledged,
    /// though not always. As part of a transaction it is there when that is committed.
    Send { key: Key, value: u64, offset: Option<i64>, txn: Option<u64> },
    /// The end of a transaction. No two have the same number.
    EndTxn { txn: u64, outcome: Outcome },
    /// Records as they were returned, to a reader of what is committed.
    Poll { key: Key, records: Vec<Record> },
    /// The process reads these partitions from these offsets on, and no others.
    Assign { positions: Vec<(Key, i64)> },
    /// A group tells the process what to read, and may change that at any time.
    Subscribe,
    /// A group's offset is stored.
    Commit { group: String, key: Key, offset: i64 },
    /// A group's offset is asked for; negative if there is none.
    Fetch { group: String, key: Key, offset: i64 },
    /// The end of a partition is asked for: the offset after the last record that can be read.
    End { key: Key, offset: i64 },
    /// Records below the offset may be deleted from when this is invoked.
    Trim { key: Key, offset: i64 },
    /// The faults are over. Whoever is assigned partitions from now on reads all there is.
    Final,
    /// What lies in a replica's files.
    Replica { node: i32, key: Key, batches: Vec<Batch> },
    /// A fault, or its end: it does not change what is correct.
    Nemesis { what: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Commit,
    Abort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub value: u64,
    /// The term of the leader that wrote it, if the client tells.
    pub epoch: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub base: i64,
    pub last: i64,
    pub epoch: i32,
    pub crc: u32,
    pub content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Data,
    /// Markers, which consumers do not see.
    Control,
}
