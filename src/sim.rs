//! A seeded world for tests: a disk that loses power, a
//! network, clients, and a check of what was promised.
//! Nothing here is part of the broker.

pub mod checker;
pub mod client;
pub mod cluster;
mod committer;
pub mod disk;
pub mod moves;
pub mod world;
mod writer;
