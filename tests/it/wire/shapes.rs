//! The guard's table, its writer of random requests and the list of all codecs, which the unit
//! tests of the guard use as well; the library does not show them.

#![allow(dead_code, reason = "each user takes a part")]

#[path = "../../../src/wire/shape/tests/messages.rs"]
pub(super) mod messages;
#[path = "../../../src/wire/shape/schema.rs"]
mod schema;
#[rustfmt::skip]
#[path = "../../../src/wire/shape/table.rs"]
mod table;
#[rustfmt::skip]
#[path = "../../../src/wire/shape/table_high.rs"]
mod table_high;
#[rustfmt::skip]
#[path = "../../../src/wire/shape/table_low.rs"]
mod table_low;
#[path = "../../../src/wire/shape/tests/writer.rs"]
pub(super) mod writer;

use messages::{CODECS, Codecs};
use writer::{Appetite, Random, Writer};

/// The codecs of a key, if kafka-protocol knows it.
pub(super) fn codecs(key: i16) -> Option<&'static Codecs> {
    CODECS.iter().find(|codecs| codecs.key == key)
}

/// A request body.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) key: i16,
    pub(super) version: i16,
    pub(super) bytes: Vec<u8>,
}

/// A body of a random request in a random version.
pub(super) fn random_body(random: &mut Random, appetite: Appetite) -> Body {
    let request = &table::REQUESTS[random.below(table::REQUESTS.len())];
    let version = random.below(usize::from(request.last - request.first) + 1);
    let version = request.first + u8::try_from(version).unwrap();
    let bytes = Writer::body(request, version, random, appetite);
    Body { key: request.key, version: version.into(), bytes }
}
