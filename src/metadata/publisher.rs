//! Replays committed records and hands the new image to everyone who reads.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use tokio::sync::watch;

use crate::metadata::features::{self, UnknownFeature};
use crate::metadata::image::Image;
use crate::metadata::records::{self, DecodeError};

/// The writing end: one per node, owned by the metadata group's state machine.
#[derive(Debug)]
pub struct Publisher {
    image: watch::Sender<Arc<Image>>,
}

/// The reading end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Images {
    image: watch::Receiver<Arc<Image>>,
}

/// Records that can not be applied: this node must not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayError {
    Damaged(DecodeError),
    Unknown(UnknownFeature),
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(error) => error.fmt(f),
            Self::Unknown(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReplayError {}

impl From<DecodeError> for ReplayError {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error)
    }
}

impl From<UnknownFeature> for ReplayError {
    fn from(error: UnknownFeature) -> Self {
        Self::Unknown(error)
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self { image: watch::Sender::new(Arc::default()) }
    }
}

impl Publisher {
    pub fn images(&self) -> Images {
        Images { image: self.image.subscribe() }
    }

    /// Applies the records of the entry at `offset` together.
    pub fn apply(&self, encoded: &[u8], offset: u64) -> Result<(), ReplayError> {
        let records = records::decode(encoded)?;
        let mut image = Image::clone(&self.image.borrow());
        records.iter().for_each(|record| image.replay(record));
        image.offset = offset;
        features::check(&image)?;
        self.image.send_replace(Arc::new(image));
        Ok(())
    }

    /// The image's offset (8 bytes) and the records that make it.
    pub fn snapshot(&self) -> Bytes {
        let image = self.image.borrow();
        let mut out = image.offset.to_be_bytes().to_vec();
        out.extend_from_slice(&records::encode(&image.records()));
        out.into()
    }

    /// Starts over from a snapshot.
    pub fn restore(&self, mut snapshot: &[u8]) -> Result<(), ReplayError> {
        let mut image = Image::default();
        image.offset = snapshot.try_get_u64().map_err(DecodeError::from)?;
        records::decode(snapshot)?.iter().for_each(|record| image.replay(record));
        features::check(&image)?;
        self.image.send_replace(Arc::new(image));
        Ok(())
    }
}

impl Images {
    /// The image of now.
    pub fn current(&self) -> Arc<Image> {
        Arc::clone(&self.image.borrow())
    }

    /// Waits for an image that has the entry at `offset`. Cancel safe.
    pub async fn reached(&self, offset: u64) {
        let mut image = self.image.clone();
        // An error means that the publisher is gone, and with it the broker.
        let _ = image.wait_for(|image| image.offset >= offset).await;
    }

    /// Waits for another image than the last one seen through this handle. Cancel safe. `None` when
    /// the publisher is gone.
    pub async fn changed(&mut self) -> Option<Arc<Image>> {
        self.image.changed().await.ok()?;
        Some(Arc::clone(&self.image.borrow_and_update()))
    }
}
