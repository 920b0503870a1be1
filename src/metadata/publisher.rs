//! Replays committed records and hands the new image to everyone who reads.

use std::sync::Arc;

use tokio::sync::watch;

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

impl Default for Publisher {
    fn default() -> Self {
        Self { image: watch::Sender::new(Arc::default()) }
    }
}

impl Publisher {
    pub fn images(&self) -> Images {
        Images { image: self.image.subscribe() }
    }

    /// Applies the records of one entry together.
    pub fn apply(&self, encoded: &[u8]) -> Result<(), DecodeError> {
        let records = records::decode(encoded)?;
        let mut image = Image::clone(&self.image.borrow());
        records.iter().for_each(|record| image.replay(record));
        self.image.send_replace(Arc::new(image));
        Ok(())
    }

    /// The image as records.
    pub fn snapshot(&self) -> bytes::Bytes {
        records::encode(&self.image.borrow().records())
    }

    /// Starts over from a snapshot.
    pub fn restore(&self, snapshot: &[u8]) -> Result<(), DecodeError> {
        let mut image = Image::default();
        records::decode(snapshot)?.iter().for_each(|record| image.replay(record));
        self.image.send_replace(Arc::new(image));
        Ok(())
    }
}

impl Images {
    /// The image of now.
    pub fn current(&self) -> Arc<Image> {
        Arc::clone(&self.image.borrow())
    }

    /// Waits for another image than the last one seen through this handle. Cancel safe. `None` when
    /// the publisher is gone.
    pub async fn changed(&mut self) -> Option<Arc<Image>> {
        self.image.changed().await.ok()?;
        Some(Arc::clone(&self.image.borrow_and_update()))
    }
}
