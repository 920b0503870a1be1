//! The front-end: listeners, connections, frames, dispatch. Only this layer writes to clients.

pub mod connection;
pub mod dispatch;
pub mod frame;
pub mod listener;
mod send;
pub mod shape;
