//! Producer ids are handed out in blocks, so that not every producer costs a change of the
//! metadata. An id is never handed out twice: what is left of a block when its broker stops is
//! lost.

use std::ops::Range;

use crate::controller::service::Decision;
use crate::metadata::image::Image;
use crate::metadata::records::Record;

/// Ids in a block (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
const BLOCK_COUNT: i64 = 1000;

/// The next block; empty when all ids are used up.
pub fn allocate(image: &Image) -> Decision<Range<i64>> {
    let first = image.next_producer_id;
    match first.checked_add(BLOCK_COUNT) {
        Some(next) => Decision { records: vec![Record::ProducerIds { next }], answer: first..next },
        None => Decision { records: Vec::new(), answer: first..first },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_never_overlap() {
        let mut image = Image::default();
        let mut end = 0;
        for _ in 0..5 {
            let Decision { records, answer } = allocate(&image);
            assert_eq!(answer, end..end + 1000);
            records.iter().for_each(|record| image.replay(record));
            end = answer.end;
        }
        image.replay(&Record::ProducerIds { next: i64::MAX - 10 });
        assert!(allocate(&image).answer.is_empty());
        assert!(allocate(&image).records.is_empty());
    }
}
