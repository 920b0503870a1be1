//! What a pass over records finds, and that it takes no more memory than it has to.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::log::batch::tests::{Sample, encode};
use crate::log::records::build::{NewRecord, batch as built, put_varint};
use crate::log::records::in_codec;

const CODECS: std::ops::Range<i16> = 0..5;

fn keyed(count: u8, size: usize) -> Batch {
    let record = |number: u8| NewRecord {
        key: vec![number; usize::from(number)].into(),
        value: Some(vec![number; size].into()),
    };
    built(&(0..count).map(record).collect::<Vec<_>>(), 1_000).expect("a batch")
}

/// A batch whose records lie: their number, or what is behind them.
fn with_body(batch: &Batch, count: i32, body: &[u8], codec: i16) -> Batch {
    let mut packed = Output::new(usize::MAX);
    codec::write(codec, codec::GZIP_LEVEL_DEFAULT, body, &mut packed).expect("packed");
    let kept = crate::log::batch::Kept {
        record_count: count,
        base_timestamp_ms: 1_000,
        base_is_delete_horizon: false,
        max_timestamp_ms: 1_000,
    };
    batch.with_some_records(Bytes::new(), &kept).with_records(codec, packed.bytes.into())
}

#[test]
fn counts_that_lie_are_found_in_every_codec() {
    let plain = keyed(3, 10);
    let body = plain.records();
    for codec in CODECS {
        assert!(examined(&with_body(&plain, 3, body, codec)).is_ok());
        for lie in [-1, 0, 1, 2, 4, i32::MAX] {
            let found = examined(&with_body(&plain, lie, body, codec));
            assert_eq!(found, Err(Unfit::Malformed), "codec {codec}, {lie} records");
        }
        for body in [&body[..body.len() - 1], &[&body[..], b"x"].concat()] {
            let found = examined(&with_body(&plain, 3, body, codec));
            assert_eq!(found, Err(Unfit::Malformed), "codec {codec}");
        }
    }
}

#[test]
fn keys_and_timestamps_are_seen_in_every_codec() {
    let plain = Batch::take(&mut encode(&[b"a", b"b"], Sample::default())).expect("a batch");
    for codec in CODECS {
        let batch = in_codec(&plain, codec);
        let findings = examined(&batch).expect("looked at");
        assert!(!findings.all_keyed);
        let findings = examined(&in_codec(&keyed(9, 30_000), codec)).expect("looked at");
        let stamped = Some(Stamped { index: 0, timestamp_ms: 1_000 });
        let expected = Findings { all_keyed: true, oldest: stamped, newest: stamped };
        assert_eq!(findings, expected);
    }
}

#[test]
fn what_is_too_large_in_another_codec_is_refused() {
    let plain = keyed(50, 1_000);
    let packed = in_codec(&plain, 1);
    for codec in CODECS {
        let size = in_codec(&plain, codec).size();
        let level = codec::GZIP_LEVEL_DEFAULT;
        assert!(recompressed(&packed, codec, level, size).is_ok());
        let refused = recompressed(&packed, codec, level, size - 1);
        assert_eq!(refused, Err(Unfit::TooLarge), "codec {codec}");
    }
}

#[test]
fn levels_of_gzip_reach_the_encoder() {
    let text: Vec<u8> =
        (0..40_000u32).flat_map(|i| (i * i % 977).to_string().into_bytes()).collect();
    let record = NewRecord { key: "k".into(), value: Some(text.into()) };
    let plain = built(&[record], 1_000).expect("a batch");
    let size = |level| recompressed(&plain, 1, level, usize::MAX).expect("packed").0.size();
    assert!(size(1) > size(9), "{} {}", size(1), size(9));
    assert_eq!(size(-1), size(6));
}

/// A record of zeroes that never ends is more than anybody may unpack.
#[test]
fn a_bomb_is_refused_in_every_codec() {
    let plain = keyed(1, 10);
    // The head of one record with a value of 2 GB.
    let mut head = Vec::new();
    put_varint(&mut head, i64::from(i32::MAX));
    head.extend_from_slice(&[0, 0, 0, 2, b'k']);
    let bomb_bytes: u32 = 8 * 1024 * 1024;
    for codec in 1..5 {
        let bomb = head.chain(io::repeat(0)).take(bomb_bytes.into());
        let mut packed = Output::new(usize::MAX);
        codec::write(codec, 9, bomb, &mut packed).expect("packed");
        let bomb = plain.with_records(codec, packed.bytes.into());
        let mut source = Source::new(bomb.header(), bomb.records()).expect("it begins well");
        source.left_bytes = usize::try_from(bomb_bytes).unwrap() - 1;
        assert_eq!(source.read_all(), Err(Unfit::TooLarge), "codec {codec}");
        // It would be less than that in another codec, but it is no whole record.
        assert_eq!(recompressed(&bomb, 1, -1, 1024 * 1024), Err(Unfit::Malformed));
        let plain = recompressed(&bomb, 0, -1, 1024 * 1024);
        assert_eq!(plain, Err(Unfit::TooLarge), "codec {codec}");
    }
}

proptest! {
    /// However the records are cut into pieces, the same is found.
    #[test]
    fn pieces_do_not_matter(
        count in 1u8..20,
        size in 0usize..200,
        cuts in proptest::collection::vec(1usize..40, 1..50),
        garbage in proptest::option::of((0usize..2_000, any::<u8>())),
    ) {
        let batch = keyed(count, size);
        let mut bytes = batch.records().to_vec();
        if let Some((at, byte)) = garbage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let mut whole = Walk::new(batch.header());
        let expected = whole.feed(&bytes).and_then(|()| whole.end());
        let mut walk = Walk::new(batch.header());
        let mut rest = &bytes[..];
        let mut fed = Ok(());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() || fed.is_err() {
                break;
            }
            let piece = rest.split_off(..(*cut).min(rest.len())).expect("there is so much");
            fed = walk.feed(piece);
        }
        prop_assert_eq!(fed.and_then(|()| walk.end()), expected);
    }

    #[test]
    fn garbage_never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        codec in 0i16..8,
    ) {
        let batch = keyed(3, 1).with_records(codec, bytes.into());
        let _ = examined(&batch);
        let _ = recompressed(&batch, 4, -1, 1_000);
    }
}
