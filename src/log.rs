//! The log of one partition: Kafka-format segments and the Raft index beside them, one set of
//! files. Knows bytes, offsets, indexes and terms; knows neither openraft nor the protocol.

pub mod batch;
pub mod cleaner;
pub mod dir;
pub mod entry;
pub mod flusher;
pub mod health;
pub mod import;
pub mod index;
pub mod metas;
pub mod moving;
pub mod partition_log;
pub mod producer_state;
pub mod records;
pub mod recovery;
pub mod repair;
pub mod retention;
pub mod room;
pub mod run;
pub mod segment;
mod sync_pool;
pub mod transaction_index;
