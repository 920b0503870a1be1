//! How nodes become a cluster and stay one: forming and joining before there is an identity,
//! registration at every start, and what the metadata leader sees to: who votes on metadata, and
//! who counts as reachable.
//!
//! What is decided is pure; `entry`, `registration` and `keeper` drive it.

pub mod admission;
pub mod card;
pub mod entry;
pub mod fencing;
pub mod forming;
pub mod keeper;
pub mod membership;
pub mod nodes;
pub mod registration;
pub mod service;
