//! Transactions: all records of one are there, or none. What became of a transaction whose end
//! nobody was told is known as soon as one of its records is read.

use std::collections::BTreeMap;

use crate::event::{Key, Outcome, Stage};

#[derive(Clone, Debug, Default)]
pub(crate) struct Txns(BTreeMap<u64, Txn>);

#[derive(Clone, Debug, Default)]
struct Txn {
    sends: Vec<(Key, u64)>,
    end: Option<Outcome>,
}

impl Txns {
    pub(crate) fn send(&mut self, txn: u64, key: &str, value: u64) {
        self.0.entry(txn).or_default().sends.push((key.to_owned(), value));
    }

    pub(crate) fn end(&mut self, txn: u64, stage: Stage, outcome: Outcome) {
        let end = match (stage, outcome) {
            (Stage::Ok, outcome) => Some(outcome),
            // A commit that failed aborts; an abort of which nobody knows can only become one.
            (Stage::Fail, Outcome::Commit) | (Stage::Info | Stage::Invoke, Outcome::Abort) => {
                Some(Outcome::Abort)
            }
            (Stage::Invoke | Stage::Info, Outcome::Commit) | (Stage::Fail, Outcome::Abort) => None,
        };
        let txn = self.0.entry(txn).or_default();
        txn.end = end.or(txn.end);
    }

    /// The outcomes that are known, with the records that they are for.
    pub(crate) fn outcomes(
        &self,
        is_read: impl Fn(&str, u64) -> bool,
    ) -> impl Iterator<Item = (Outcome, &[(Key, u64)])> {
        self.0.values().filter_map(move |txn| {
            let seen = || txn.sends.iter().any(|(key, value)| is_read(key, *value));
            let outcome = txn.end.or_else(|| seen().then_some(Outcome::Commit))?;
            Some((outcome, txn.sends.as_slice()))
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
