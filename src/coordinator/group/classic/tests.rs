//! Classic groups without a broker: time is a number, and clients are what a test makes of them.

mod model;
mod rebalance;
mod rig;
mod static_members;
