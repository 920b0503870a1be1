//! Metrics: their names, once, with help texts, and the recorder behind the endpoint.

pub mod cleaner;
pub mod damage;
pub mod elections;
pub mod flush;
pub mod moves;
pub mod names;
pub mod peers;
pub mod recorder;
pub mod requests;
pub mod retention;
