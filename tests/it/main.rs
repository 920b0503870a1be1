//! The whole broker over real sockets: one test binary.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests fail loudly, and stand outside the seams"
)]

mod api;
mod cli;
mod cluster;
mod compaction;
mod configs;
mod damage;
mod dirs;
mod flips;
mod full;
mod harness;
mod import;
mod lag;
mod moves;
mod retention;
mod sim;
mod sim_cluster;
mod tidy;
mod transactions;
mod wire;

/// The allocation test reads its peak.
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
