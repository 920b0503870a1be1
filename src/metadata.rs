//! What the cluster knows of itself: records are the only changes, an immutable image is the only
//! thing that is read (KRaft's shape).

pub mod features;
pub mod image;
pub mod publisher;
pub mod records;
pub mod settings;
