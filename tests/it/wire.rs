//! Frames, shapes, bad input.

mod allocation;
mod golden;
mod shapes;
