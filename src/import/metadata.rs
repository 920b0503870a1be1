//! Reading `__cluster_metadata-0`: the newest snapshot, and the log from there on.

use std::io;
use std::path::Path;

use crate::base::disk::Disk;
use crate::base::ids::Offset;
use crate::import::batches::{self, End};
use crate::import::records::{DecodeError, Metadata, Record};
use crate::log::batch::Batch;
use crate::log::records;

/// What is known of a cluster; and what was cut of its log's end.
pub(super) fn read(
    disk: &dyn Disk,
    dir: &Path,
    end: End,
) -> io::Result<(Metadata, Option<String>)> {
    let names = disk.list(dir)?;
    // `<end offset>-<epoch>.checkpoint`; sorted, as the names are.
    let mut snapshot = names.iter().filter_map(|name| {
        let (end, _epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
        Some((end.parse::<Offset>().ok()?, name))
    });
    let mut metadata = Metadata::default();
    let mut next = 0;
    if let Some((end, name)) = snapshot.next_back() {
        let all = |path: &Path, batch: &Batch| replay(&mut metadata, path, batch);
        batches::read(disk, &[dir.join(name)], End::Whole, all)?;
        next = end;
    }
    let cut = batches::read(disk, &batches::segments(disk, dir)?, end, |path, batch| {
        match batch.header().base_offset < next {
            true => Ok(()),
            false => replay(&mut metadata, path, batch),
        }
    })?;
    Ok((metadata, cut))
}

fn replay(metadata: &mut Metadata, path: &Path, batch: &Batch) -> io::Result<()> {
    if batch.header().is_control() {
        return Ok(());
    }
    let path = path.display();
    for record in records::key_values(&batch.to_bytes())? {
        let Some(value) = record.value else { continue };
        let decoded = Record::decode(value).map_err(|error| {
            let offset = record.offset;
            batches::invalid(match error {
                DecodeError::Damaged => format!("{path}: a damaged record at offset {offset}"),
                DecodeError::Version { kind, version } => format!(
                    "{path}: record {offset} is of kind {kind}, version {version}, which is \
                     newer than this version of Ottla knows"
                ),
            })
        })?;
        metadata.replay(decoded);
    }
    Ok(())
}
