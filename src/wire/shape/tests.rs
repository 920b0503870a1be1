//! The guard against hand-made lies, and against what kafka-protocol writes and reads.

#[expect(dead_code, reason = "the responses are for tests/it")]
mod messages;
mod realistic;
mod writer;

use bytes::Bytes;
use messages::{CODECS, Codec};
use proptest::prelude::*;
use writer::{Appetite, Random, Writer};

use super::{Fault, Limits, Opening, check, check_header, find, schema, table};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;
const STREAMS_GROUP_HEARTBEAT: i16 = 88;

const MODEST: Appetite =
    Appetite { elements_max: 4, text_max: 12, unknown_tags_max: 3, body_soft_max: 4096 };

#[track_caller]
fn accepted(key: i16, version: i16, body: &[u8]) {
    assert_eq!(check(key, version, body, &Limits::default()), Ok(()), "{body:02x?}");
}

#[track_caller]
fn refused(key: i16, version: i16, body: &[u8], fault: Fault) {
    let error = check(key, version, body, &Limits::default()).unwrap_err();
    assert_eq!(error.fault, fault, "{error} of {body:02x?}");
}

fn codec(key: i16) -> Option<Codec> {
    let index = CODECS.binary_search_by_key(&key, |codecs| codecs.key).ok()?;
    Some(CODECS[index].request)
}

/// Every key and version of the table, with the codec where kafka-protocol has one.
fn every_request() -> impl Iterator<Item = (&'static schema::Request, u8, Option<Codec>)> {
    table::REQUESTS.iter().flat_map(|request| {
        (request.first..=request.last).map(move |version| {
            let codec = codec(request.key).filter(|codec| {
                (codec.versions.min..=codec.versions.max).contains(&version.into())
            });
            (request, version, codec)
        })
    })
}

#[test]
fn four_bytes_do_not_end_the_process() {
    refused(METADATA, 1, &[0x7f, 0xff, 0xff, 0xff], Fault::Count);
    refused(METADATA, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f], Fault::Count);
}

#[test]
fn null_stands_where_the_version_allows_it() {
    refused(METADATA, 0, &[0xff; 4], Fault::Null);
    accepted(METADATA, 1, &[0xff; 4]);
    refused(METADATA, 1, &[0xff, 0xff, 0xff, 0xfe], Fault::Length);
    refused(METADATA, 1, &[0, 0, 0, 1, 0xff, 0xff], Fault::Null);
    refused(PRODUCE, 3, &[0xff, 0xfe], Fault::Length);
}

#[test]
fn bytes_behind_the_body_are_allowed() {
    accepted(METADATA, 1, &[0, 0, 0, 0, b'x']);
    accepted(API_VERSIONS, 0, b"xx");
}

#[test]
fn varints_have_32_bits() {
    accepted(API_VERSIONS, 3, &[1, 1, 0x80, 0x80, 0x80, 0x80, 0x00]);
    refused(API_VERSIONS, 3, &[1, 1, 0x80, 0x80, 0x80, 0x80, 0x10], Fault::Varint);
    refused(API_VERSIONS, 3, &[1, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0], Fault::Varint);
    refused(API_VERSIONS, 3, &[1, 1, 0x80], Fault::Truncated);
}

#[test]
fn text_is_no_longer_than_older_versions_can_have_it() {
    // A topic's name, of a length that takes three bytes as a varint.
    let metadata = |length: usize| {
        let lead = u32::try_from(length + 1).unwrap();
        let part = |shift: u32| u8::try_from(lead >> shift & 0x7f).unwrap();
        let mut body = vec![2, part(0) | 0x80, part(7) | 0x80, part(14)];
        body.resize(body.len() + length, b'a');
        body.extend([0, 0, 0, 0, 0]);
        body
    };
    accepted(METADATA, 9, &metadata(0x7fff));
    refused(METADATA, 9, &metadata(0x8000), Fault::Length);
}

#[test]
fn tagged_fields_are_counted() {
    let body = |count: u8| {
        let mut body = vec![1, 1, count];
        (0..count).for_each(|tag| body.extend([tag, 0]));
        body
    };
    accepted(API_VERSIONS, 3, &body(64));
    refused(API_VERSIONS, 3, &body(65), Fault::TaggedFields);
    refused(API_VERSIONS, 3, &[1, 1, 1, 0, 2, b'x'], Fault::Truncated);
}

#[test]
fn known_tagged_fields_have_their_size_and_version() {
    let fetch = |tagged: &[u8]| {
        let mut body = vec![0; 25];
        body.extend([1, 1, 1]);
        body.extend(tagged);
        body
    };
    accepted(FETCH, 12, &fetch(&[0]));
    accepted(FETCH, 12, &fetch(&[1, 0, 2, 2, b'c']));
    accepted(FETCH, 12, &fetch(&[1, 0, 1, 0]));
    refused(FETCH, 12, &fetch(&[1, 0, 9, 2, b'c']), Fault::TagSize);
    refused(FETCH, 12, &fetch(&[1, 1, 13, 0]), Fault::TagVersion);
}

#[test]
fn a_nullable_struct_is_there_or_not() {
    let describe = |presence: u8| [1, 0, 0, 0, 9, presence, 2, b'a', 0, 0, 0, 0, 0, 0];
    accepted(DESCRIBE_TOPIC_PARTITIONS, 0, &describe(1));
    accepted(DESCRIBE_TOPIC_PARTITIONS, 0, &[1, 0, 0, 0, 9, 0xff, 0]);
    refused(DESCRIBE_TOPIC_PARTITIONS, 0, &describe(0), Fault::Presence);
    refused(DESCRIBE_TOPIC_PARTITIONS, 0, &describe(0xfe), Fault::Presence);
}

#[test]
fn memory_is_bounded_by_the_size_on_the_wire() {
    // Topics without a name: two bytes on the wire, a struct of 72 bytes in memory.
    let topics = |count: u32| {
        let mut body = count.to_be_bytes().to_vec();
        body.resize(4 + 2 * count as usize, 0);
        body
    };
    accepted(METADATA, 1, &topics(10_000));
    refused(METADATA, 1, &topics(20_000), Fault::Memory);
}

#[test]
fn unknown_keys_and_versions() {
    refused(4, 0, b"", Fault::UnknownKey);
    refused(-1, 0, b"", Fault::UnknownKey);
    refused(METADATA, -1, b"", Fault::UnknownVersion);
    refused(METADATA, 99, b"", Fault::UnknownVersion);
    refused(METADATA, 0x100, b"", Fault::UnknownVersion);
}

#[test]
fn header_tells_where_the_body_begins() {
    let limits = Limits::default();
    let opening =
        |api_key, api_version| Opening { api_key, api_version, correlation_id: 0x0102_0304 };

    let plain = [0, 3, 0, 1, 1, 2, 3, 4, 0, 2, b'm', b'e', 9, 9];
    let header = check_header(&plain, &limits).unwrap();
    assert_eq!(header.opening, opening(METADATA, 1));
    assert_eq!((header.client_id, header.body_start), (Some("me"), 12));

    let flexible = [0, 3, 0, 9, 1, 2, 3, 4, 0xff, 0xff, 1, 0, 1, 7, 9];
    let header = check_header(&flexible, &limits).unwrap();
    assert_eq!(header.opening, opening(METADATA, 9));
    assert_eq!((header.client_id, header.body_start), (None, 14));
}

#[test]
fn header_errors_keep_what_an_answer_needs() {
    let limits = Limits::default();
    let fault = |frame: &[u8]| {
        let error = check_header(frame, &limits).unwrap_err();
        (error.opening.map(|opening| opening.correlation_id), error.error.fault)
    };
    assert_eq!(fault(&[0, 18, 0, 77, 0, 0, 0, 5]), (Some(5), Fault::UnknownVersion));
    assert_eq!(fault(&[9, 9, 0, 0, 0, 0, 0, 5]), (Some(5), Fault::UnknownKey));
    assert_eq!(fault(&[0, 18, 0, 0, 0, 0, 0]), (None, Fault::Truncated));
    assert_eq!(fault(&[0, 18, 0, 0, 0, 0, 0, 5]), (Some(5), Fault::Truncated));
    assert_eq!(fault(&[0, 18, 0, 0, 0, 0, 0, 5, 0xff, 0xfe]), (Some(5), Fault::Length));
    assert_eq!(fault(&[0, 18, 0, 0, 0, 0, 0, 5, 0, 1, 0xff]), (Some(5), Fault::Text));
    let tags = [0, 18, 0, 3, 0, 0, 0, 5, 0xff, 0xff, 65];
    assert_eq!(fault(&tags), (Some(5), Fault::TaggedFields));
}

#[test]
fn the_table_covers_what_kafka_protocol_reads() {
    assert!(table::REQUESTS.is_sorted_by_key(|request| request.key));
    for codecs in CODECS {
        for version in codecs.request.versions.min..=codecs.request.versions.max {
            assert!(find(codecs.key, version).is_ok(), "{} v{version}", codecs.key);
        }
    }
    assert!(find(STREAMS_GROUP_HEARTBEAT, 0).is_ok());
}

#[test]
fn defaults_pass() {
    for (request, version, codec) in every_request() {
        if let Some(codec) = codec {
            accepted(request.key, version.into(), &(codec.default)(version.into()));
        }
    }
}

#[test]
fn elements_have_a_size() {
    fn walk(shape: &schema::Shape, version: u8, flexible: bool) {
        assert!(shape.wire_size_min(version, flexible) > 0);
        let tagged = shape.tagged.iter().map(|tagged| &tagged.field);
        for field in shape.fields.iter().chain(tagged) {
            match field.kind {
                _ if !field.lives_in(version) => {}
                schema::Kind::Struct(shape) | schema::Kind::StructArray(shape) => {
                    walk(shape, version, flexible);
                }
                _ => {}
            }
        }
    }
    for (request, version, _) in every_request() {
        for field in request.body.fields.iter().filter(|field| field.lives_in(version)) {
            if let schema::Kind::Struct(shape) | schema::Kind::StructArray(shape) = field.kind {
                walk(shape, version, version >= request.flexible);
            }
        }
    }
}

/// The guard and the decoder agree on where each field lies: what the table writes is read to its
/// last byte, and comes back the same.
#[test]
fn table_and_kafka_protocol_agree() {
    let mut random = Random(1);
    for (request, version, codec) in every_request() {
        for _ in 0..20 {
            let body = Writer::body(request, version, &mut random, MODEST);
            accepted(request.key, version.into(), &body);
            let Some(codec) = codec else { continue };
            let mut bytes = Bytes::from(body.clone());
            let again = (codec.recode)(&mut bytes, version.into());
            let again = again.unwrap_or_else(|error| panic!("{} v{version}: {error}", request.key));
            assert!(bytes.is_empty(), "{} v{version} leaves bytes", request.key);
            assert_eq!(again, body, "{} v{version}", request.key);
        }
    }
}

#[test]
fn every_cut_is_refused() {
    let mut random = Random(2);
    for (request, version, _) in every_request() {
        let body = Writer::body(request, version, &mut random, MODEST);
        for size in 0..body.len() {
            let cut = &body[..size];
            assert!(check(request.key, version.into(), cut, &Limits::default()).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What the guard lets through does no harm to the decoder, even if the decoder refuses it.
    #[test]
    fn mutated_bodies_do_no_harm(
        seed: u64,
        request in 0..table::REQUESTS.len(),
        version: proptest::sample::Index,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let request = &table::REQUESTS[request];
        let versions = usize::from(request.last - request.first) + 1;
        let version = request.first + u8::try_from(version.index(versions)).unwrap();
        let mut body = Writer::body(request, version, &mut Random(seed), MODEST);
        for (index, byte) in changes {
            if !body.is_empty() {
                let index = index.index(body.len());
                body[index] = byte;
            }
        }
        let passed = check(request.key, version.into(), &body, &Limits::default()).is_ok();
        if let Some(codec) = codec(request.key).filter(|_| passed) {
            let _ = (codec.decode)(&mut Bytes::from(body), version.into());
        }
    }

    #[test]
    fn random_headers_do_no_harm(frame in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = check_header(&frame, &Limits::default());
    }
}
