//! Reading `__cluster_metadata-0`: the newest snapshot, and the log from there on.

use std::io;
use std::path::Path;

use bytes::Bytes;

use crate::base::disk::Disk;
use crate::base::ids::Offset;
use crate::import::records::{DecodeError, Metadata, Record};
use crate::log::batch::{Batch, BatchHeader};
use crate::log::records;

/// What is known of a cluster. `may_be_torn`: the log may end with a batch that is damaged.
pub(super) fn read(disk: &dyn Disk, dir: &Path, may_be_torn: bool) -> io::Result<Metadata> {
    let names = disk.list(dir)?;
    // `<end offset>-<epoch>.checkpoint`; sorted, as the names are.
    let mut snapshot = names.iter().filter_map(|name| {
        let (end, _epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
        Some((end.parse::<Offset>().ok()?, name))
    });
    let mut metadata = Metadata::default();
    let mut next = 0;
    if let Some((end, name)) = snapshot.next_back() {
        let path = dir.join(name);
        let bytes = Bytes::from(disk.read(&path)?);
        replay(&mut metadata, bytes, &path, |_| true)?.map_err(invalid)?;
        next = end;
    }
    for name in names.iter().filter(|name| name.ends_with(".log")) {
        let path = dir.join(name);
        let bytes = Bytes::from(disk.read(&path)?);
        let from = next;
        match replay(&mut metadata, bytes, &path, |header| header.base_offset >= from)? {
            Ok(()) => {}
            Err(_) if may_be_torn => break,
            Err(text) => return Err(invalid(text)),
        }
    }
    Ok(metadata)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Replays the wanted batches of a file. The inner error is about a damaged batch.
fn replay(
    metadata: &mut Metadata,
    mut rest: Bytes,
    path: &Path,
    wanted: impl Fn(&BatchHeader) -> bool,
) -> io::Result<Result<(), String>> {
    let path = path.display();
    while !rest.is_empty() {
        let whole = rest.clone();
        let batch = match Batch::take(&mut rest) {
            Ok(batch) => batch,
            Err(error) => return Ok(Err(format!("{path}: a damaged batch ({error:?})"))),
        };
        if batch.header().is_control() || !wanted(batch.header()) {
            continue;
        }
        for record in records::key_values(&whole.slice(..batch.size()))? {
            let Some(value) = record.value else { continue };
            let decoded = Record::decode(value).map_err(|error| {
                let offset = record.offset;
                invalid(match error {
                    DecodeError::Damaged => format!("{path}: a damaged record at offset {offset}"),
                    DecodeError::Version { kind, version } => format!(
                        "{path}: record {offset} is of kind {kind}, version {version}, which is \
                         newer than this version of Ottla knows"
                    ),
                })
            })?;
            metadata.replay(decoded);
        }
    }
    Ok(Ok(()))
}
