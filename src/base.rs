//! What every layer may use: identifiers, and the five seams through which all IO enters (clock,
//! randomness, disk, network, task spawn). Production and simulation run the same code above it.

pub mod clock;
pub mod disk;
pub mod env;
pub mod ids;
pub mod kv;
pub mod net;
pub mod primitives;
pub mod rng;
pub mod task;
pub mod worker;
