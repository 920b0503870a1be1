//! Frames, shapes, bad input.

mod allocation;
mod bad_input;
mod error_metric;
mod golden;
mod shapes;
