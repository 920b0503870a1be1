//! The broker as a library; `main.rs` is the command.
#![doc = include_str!("ARCHITECTURE.md")]

pub mod base;

pub mod config;
pub mod metrics;

pub mod log;
pub mod metadata;
pub mod peer;

pub mod replication;

pub mod partition;

pub mod controller;
pub mod coordinator;

pub mod api;
pub mod cluster;

pub mod wire;

pub mod import;
pub mod server;

pub mod cli;

pub mod sim;
