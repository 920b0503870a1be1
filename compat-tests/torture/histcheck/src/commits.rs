//! The committed offset of one group and partition: a register. Whoever asks must get what was
//! committed last, or what is being committed meanwhile.

use std::collections::BTreeMap;

use crate::event::Stage;
use crate::report::{Anomaly, Findings};

/// There is no committed offset yet.
const NONE: i64 = -1;

#[derive(Clone, Debug)]
struct Commit {
    offset: i64,
    invoked_ns: u64,
    /// `None` while, or if, nobody knows whether it took effect.
    acked_ns: Option<u64>,
}

#[derive(Clone, Debug)]
struct Fetched {
    offset: i64,
    invoked_ns: u64,
    answered_ns: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Commits {
    commits: Vec<Commit>,
    fetches: Vec<Fetched>,
    /// What each process is doing: the place of its commit, the time at which it asked.
    committing: BTreeMap<u32, usize>,
    fetching: BTreeMap<u32, u64>,
}

impl Commits {
    pub(crate) fn commit(&mut self, process: u32, time_ns: u64, stage: Stage, offset: i64) {
        if stage == Stage::Invoke {
            self.committing.insert(process, self.commits.len());
            self.commits.push(Commit { offset, invoked_ns: time_ns, acked_ns: None });
            return;
        }
        let Some(place) = self.committing.remove(&process) else { return };
        match stage {
            Stage::Ok => {
                if let Some(commit) = self.commits.get_mut(place) {
                    commit.acked_ns = Some(time_ns);
                }
            }
            // It never was. The others keep their places.
            Stage::Fail => {
                if let Some(commit) = self.commits.get_mut(place) {
                    commit.invoked_ns = u64::MAX;
                }
            }
            Stage::Info | Stage::Invoke => {}
        }
    }

    pub(crate) fn fetch(&mut self, process: u32, time_ns: u64, stage: Stage, offset: i64) {
        if stage == Stage::Invoke {
            self.fetching.insert(process, time_ns);
            return;
        }
        let Some(invoked_ns) = self.fetching.remove(&process) else { return };
        if stage == Stage::Ok {
            self.fetches.push(Fetched {
                offset: offset.max(NONE),
                invoked_ns,
                answered_ns: time_ns,
            });
        }
    }

    pub(crate) fn check(&self, group: &str, key: &str, findings: &mut Findings) {
        for fetched in &self.fetches {
            if self.allows(fetched) {
                continue;
            }
            let Fetched { offset, invoked_ns, .. } = fetched;
            let acked = self.acked_before(*invoked_ns).last().map_or(NONE, |last| last.offset);
            let example = format!(
                "group {group} was at {offset} at {invoked_ns} ns, after {acked} was acknowledged"
            );
            findings.add(Anomaly::CommitLost, key, example);
        }
    }

    /// The commits that were acknowledged before this time, in the order of that.
    fn acked_before(&self, time_ns: u64) -> impl Iterator<Item = &Commit> {
        let before = |commit: &&Commit| commit.acked_ns.is_some_and(|acked| acked < time_ns);
        let mut commits: Vec<&Commit> = self.commits.iter().filter(before).collect();
        commits.sort_by_key(|commit| commit.acked_ns);
        commits.into_iter()
    }

    /// Whether some commit gave this offset and none has certainly replaced it since.
    fn allows(&self, fetched: &Fetched) -> bool {
        // A commit that began after this one was acknowledged, and was acknowledged itself before
        // the question, has replaced it. The latest of those beginnings is all that matters.
        let replaced_ns =
            self.acked_before(fetched.invoked_ns).map(|commit| commit.invoked_ns).max();
        let Some(replaced_ns) = replaced_ns else {
            return fetched.offset == NONE || self.given(fetched, 0);
        };
        self.given(fetched, replaced_ns)
    }

    fn given(&self, fetched: &Fetched, replaced_ns: u64) -> bool {
        self.commits.iter().any(|commit| {
            let stands = commit.acked_ns.is_none_or(|acked| acked >= replaced_ns);
            commit.offset == fetched.offset && commit.invoked_ns < fetched.answered_ns && stands
        })
    }
}
