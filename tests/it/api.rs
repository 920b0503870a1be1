//! One file per API, over a socket.

mod api_versions;
mod metadata;
