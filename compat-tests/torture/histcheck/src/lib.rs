//! Checks histories of Kafka clients: what they sent, were told and read, while a cluster was being
//! broken. The rules follow Jepsen's test of Kafka; [`Anomaly`] lists them.
//!
//! ```
//! use histcheck::{Anomaly, Checker, Options, jsonl};
//!
//! let mut checker = Checker::new(Options::default());
//! for line in [
//!     r#"{"t":1,"p":1,"type":"invoke","f":"send","key":"a-0","value":7}"#,
//!     r#"{"t":2,"p":1,"type":"ok","f":"send","key":"a-0","value":7,"offset":0}"#,
//! ] {
//!     checker.feed(&jsonl::parse(line).unwrap());
//! }
//! assert_eq!(checker.finish().findings[0].anomaly, Anomaly::Unseen);
//! ```

mod checker;
mod commits;
mod event;
mod json;
pub mod jsonl;
mod partition;
mod replicas;
mod report;
#[cfg(test)]
mod tests;
mod txns;

pub use checker::{Checker, Ends, Options};
pub use event::{Batch, Content, Event, Key, Op, Outcome, Record, Stage};
pub use report::{Anomaly, Counts, Finding, Report};
