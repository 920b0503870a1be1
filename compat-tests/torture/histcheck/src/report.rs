//! What the checker has to say.

use std::collections::BTreeMap;
use std::fmt;

use crate::event::Key;

/// Things that must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// A record was acknowledged, or read, and readers who came past its offset do not find it.
    LostWrite,
    /// A record was acknowledged, or read, and all readers end before its offset.
    Unseen,
    /// One offset held several records.
    InconsistentOffsets,
    /// One record lies at several offsets.
    Duplicate,
    /// A record that nobody sent.
    Phantom,
    /// A record was read whose send had failed.
    AbortedRead,
    /// A consumer went back without having been told to.
    NonmonotonicPoll,
    /// A consumer jumped over records that were there.
    PollSkip,
    /// Records of one producer lie in another order than they were sent in.
    NonmonotonicSend,
    /// An offset that no record and no marker accounts for.
    OffsetGap,
    /// A group's offset is older than one that was acknowledged before.
    CommitLost,
    /// The end of a partition went back for one client.
    HwRegress,
    /// The end of a partition lay before a record that had been acknowledged already.
    StaleEnd,
    /// A later record is of an earlier leader.
    EpochRegress,
    /// Two replicas hold different batches.
    ReplicaDivergence,
}

impl Anomaly {
    pub const ALL: [Self; 15] = [
        Self::LostWrite,
        Self::Unseen,
        Self::InconsistentOffsets,
        Self::Duplicate,
        Self::Phantom,
        Self::AbortedRead,
        Self::NonmonotonicPoll,
        Self::PollSkip,
        Self::NonmonotonicSend,
        Self::OffsetGap,
        Self::CommitLost,
        Self::HwRegress,
        Self::StaleEnd,
        Self::EpochRegress,
        Self::ReplicaDivergence,
    ];

    /// The anomaly of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|anomaly| anomaly.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::LostWrite => "lost-write",
            Self::Unseen => "unseen",
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::Duplicate => "duplicate",
            Self::Phantom => "phantom",
            Self::AbortedRead => "aborted-read",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::PollSkip => "poll-skip",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::OffsetGap => "offset-gap",
            Self::CommitLost => "commit-lost",
            Self::HwRegress => "hw-regress",
            Self::StaleEnd => "stale-end",
            Self::EpochRegress => "epoch-regress",
            Self::ReplicaDivergence => "replica-divergence",
        }
    }
}

/// One anomaly of one partition, however often it occurred there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub anomaly: Anomaly,
    pub key: Key,
    pub count: usize,
    /// The first few.
    pub examples: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, examples) = (self.anomaly.name(), self.examples.join("; "));
        write!(f, "{name} {} ({}): {examples}", self.key, self.count)
    }
}

/// How much of it there was: a history in which nothing happened proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sends_ok: usize,
    pub sends_failed: usize,
    /// Those that never ended too.
    pub sends_unsure: usize,
    pub records_read: usize,
    pub commits_ok: usize,
    pub offsets_fetched: usize,
    pub ends_seen: usize,
    pub replicas: usize,
    pub faults: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sends {} ok, {} failed, {} unsure; {} records read; {} commits, {} offsets fetched; \
             {} ends; {} replicas; {} faults",
            self.sends_ok,
            self.sends_failed,
            self.sends_unsure,
            self.records_read,
            self.commits_ok,
            self.offsets_fetched,
            self.ends_seen,
            self.replicas,
            self.faults,
        )
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub counts: Counts,
}

/// Gathers occurrences into findings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(BTreeMap<(Anomaly, Key), (usize, Vec<String>)>);

impl Findings {
    const EXAMPLES_MAX: usize = 3;

    pub(crate) fn add(&mut self, anomaly: Anomaly, key: &str, example: impl fmt::Display) {
        let (count, examples) = self.0.entry((anomaly, key.to_owned())).or_default();
        *count += 1;
        if examples.len() < Self::EXAMPLES_MAX {
            examples.push(example.to_string());
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Finding> {
        self.0
            .into_iter()
            .map(|((anomaly, key), (count, examples))| Finding { anomaly, key, count, examples })
            .collect()
    }
}
