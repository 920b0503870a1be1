//! What a pass over records finds, and that it takes no more memory than it has to.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::log::batch::tests::{Sample, encode};
use crate::log::records::build::{NewRecord, batch as built, put_varint};
use crate::log::records::in_codec;

const CODECS: std::ops::Range<i16> = 0..5;
const ANY: Demands = Demands { keyed: false, timestamps_ms: (i64::MIN, i64::MAX) };

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
    codec::write(codec, Levels::default(), body, &mut packed).expect("packed");
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
        assert!(examined(&with_body(&plain, 3, body, codec), ANY).is_ok());
        for lie in [-1, 0, 1, 2, 4, i32::MAX] {
            let found = examined(&with_body(&plain, lie, body, codec), ANY);
            assert_eq!(found, Err(Unfit::Malformed), "codec {codec}, {lie} records");
        }
        for body in [&body[..body.len() - 1], &[&body[..], b"x"].concat()] {
            let found = examined(&with_body(&plain, 3, body, codec), ANY);
            assert_eq!(found, Err(Unfit::Malformed), "codec {codec}");
        }
    }
}

#[test]
fn each_record_that_is_wrong_is_seen_in_every_codec() {
    let plain = Batch::take(&mut encode(&[b"a", b"b"], Sample::default())).expect("a batch");
    let demands = Demands { keyed: true, timestamps_ms: (0, 1_000) };
    for codec in CODECS {
        let keyless = |index| WrongRecord { index, why: Wrong::Keyless };
        let findings = examined(&in_codec(&plain, codec), demands).expect("looked at");
        assert_eq!(findings.wrong, [keyless(0), keyless(1)]);

        let keyed = in_codec(&keyed(9, 30_000), codec);
        let findings = examined(&keyed, demands).expect("looked at");
        assert_eq!(findings, Findings { newest_ms: Some(1_000), ..Findings::default() });
        for timestamps_ms in [(0, 999), (1_001, 2_000)] {
            let demands = Demands { timestamps_ms, ..demands };
            let findings = examined(&keyed, demands).expect("looked at");
            assert_eq!(findings.wrong_count, 9);
            let last = WrongRecord { index: 8, why: Wrong::Timestamp(1_000) };
            assert_eq!(findings.wrong.last(), Some(&last));
        }
    }
}

/// A record of these bytes behind its size.
fn record(body: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    put_varint(&mut record, i64::try_from(body.len()).unwrap());
    record.extend_from_slice(body);
    record
}

/// Attributes, deltas, key "k", then what is given; numbers are doubled (zigzag), -1 is 1.
fn keyed_record(rest: &[u8]) -> Vec<u8> {
    record(&[&[0, 0, 0, 2, b'k'], rest].concat())
}

/// A consumer would stumble over it, and so would the cleaner.
#[test]
fn records_are_whole_in_every_part() {
    let shape = keyed(1, 0);
    let good: &[&[u8]] = &[
        &[1, 0],
        &[0, 0],
        &[4, b'v', b'v', 0],
        &[1, 2, 2, b'h', 1],
        &[1, 4, 0, 0, 2, b'h', 4, b'v', b'v'],
    ];
    let bad: &[&[u8]] = &[
        // Nothing behind the key, no headers, a value or a header that is longer than the record.
        &[],
        &[1],
        &[6, b'v', 0],
        &[1, 1],
        &[1, 2],
        &[1, 2, 1, 1],
        &[1, 2, 2, b'h'],
        &[1, 2, 2, b'h', 4, b'v'],
        &[1, 4, 2, b'h', 1],
        // A byte too many, a number that is too long.
        &[1, 0, 0],
        &[1, 2, 2, b'h', 1, 0],
        &[0x81, 0x80, 0x80, 0x80, 0x80, 0, 0],
    ];
    for codec in CODECS {
        for (bodies, is_good) in [(good, true), (bad, false)] {
            for body in bodies {
                let found = examined(&with_body(&shape, 1, &keyed_record(body), codec), ANY);
                assert_eq!(found.is_ok(), is_good, "codec {codec}: {body:?} {found:?}");
            }
        }
        // A key that is longer than the record.
        let body = record(&[0, 0, 0, 8, b'k', 1, 0]);
        assert!(examined(&with_body(&shape, 1, &body, codec), ANY).is_err());
    }
}

#[test]
fn only_so_many_wrong_records_are_told_one_by_one() {
    let values = vec![&b"v"[..]; WRONG_RECORDS_MAX + 5];
    let keyless = Batch::take(&mut encode(&values, Sample::default())).expect("a batch");
    let findings = examined(&keyless, Demands { keyed: true, ..ANY }).expect("looked at");
    assert_eq!(findings.wrong.len(), WRONG_RECORDS_MAX);
    assert_eq!(findings.wrong_count, WRONG_RECORDS_MAX + 5);
}

#[test]
fn what_is_too_large_in_another_codec_is_refused() {
    let plain = keyed(50, 1_000);
    let packed = in_codec(&plain, 1);
    for codec in CODECS {
        let size = in_codec(&plain, codec).size();
        let levels = Levels::default();
        assert!(recompressed(&packed, codec, levels, size, ANY).is_ok());
        let refused = recompressed(&packed, codec, levels, size - 1, ANY);
        assert_eq!(refused, Err(Unfit::TooLarge), "codec {codec}");
    }
}

/// Frames of lz4 as Kafka's own clients write them: blocks of 64 KiB that stand alone, without
/// checksums.
#[test]
fn lz4_frames_are_kafkas() {
    for lz4 in [9, 1, 17] {
        let levels = Levels { lz4, ..Levels::default() };
        let (packed, _) = recompressed(&keyed(3, 100), 3, levels, usize::MAX, ANY).expect("packed");
        assert_eq!(packed.records()[..6], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40]);
    }
}

#[test]
fn levels_reach_the_encoders() {
    let mut state = 1_u32;
    let mut word = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{:x} ", (state >> 16) % 700 * 7_919).into_bytes()
    };
    let text: Vec<u8> = (0..20_000).flat_map(&mut word).collect();
    let record = NewRecord { key: "k".into(), value: Some(text.into()) };
    let plain = built(&[record], 1_000).expect("a batch");
    let size = |codec, levels| {
        recompressed(&plain, codec, levels, usize::MAX, ANY).expect("packed").0.size()
    };
    let any = Levels::default();
    let gzip = |level| size(1, Levels { gzip: level, ..any });
    assert!(gzip(1) > gzip(9), "{} {}", gzip(1), gzip(9));
    assert_eq!(gzip(-1), gzip(6));
    let lz4 = |level| size(3, Levels { lz4: level, ..any });
    // The fast one has the number 9.
    assert!(lz4(9) > lz4(1) && lz4(1) > lz4(17), "{} {} {}", lz4(9), lz4(1), lz4(17));
    assert_eq!(lz4(12), lz4(17));
    let zstd = |level| size(4, Levels { zstd: level, ..any });
    assert!(zstd(-131_072) > zstd(1), "{} {}", zstd(-131_072), zstd(1));
    assert!(zstd(3) > zstd(22), "{} {}", zstd(3), zstd(22));
}

/// A record of zeroes that never ends is more than anybody may unpack.
#[test]
fn a_bomb_is_refused_in_every_codec() {
    let plain = keyed(1, 10);
    // The head of one record with a value of 2 GB.
    let mut head = Vec::new();
    put_varint(&mut head, i64::from(i32::MAX));
    head.extend_from_slice(&[0, 0, 0, 2, b'k']);
    put_varint(&mut head, i64::from(i32::MAX) - 100);
    let bomb_bytes: u32 = 8 * 1024 * 1024;
    for codec in 1..5 {
        let bomb = head.chain(io::repeat(0)).take(bomb_bytes.into());
        let mut packed = Output::new(usize::MAX);
        codec::write(codec, Levels::default(), bomb, &mut packed).expect("packed");
        let bomb = plain.with_records(codec, packed.bytes.into());
        let mut source = Source::new(bomb.header(), bomb.records(), ANY).expect("it begins well");
        source.left_bytes = usize::try_from(bomb_bytes).unwrap() - 1;
        assert_eq!(source.read_all(), Err(Unfit::TooLarge), "codec {codec}");
        // It would be less than that in another codec, but it is no whole record.
        let packed = |codec| recompressed(&bomb, codec, Levels::default(), 1024 * 1024, ANY);
        assert_eq!(packed(1), Err(Unfit::Malformed));
        let plain = packed(0);
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
        let mut whole = Walk::new(batch.header(), ANY);
        let expected = whole.feed(&bytes).and_then(|()| whole.end());
        let mut walk = Walk::new(batch.header(), ANY);
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
        let _ = examined(&batch, ANY);
        let _ = recompressed(&batch, 4, Levels::default(), 1_000, ANY);
    }
}
