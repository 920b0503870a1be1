//! What a request looks like on the wire, as data: the types that the generated table is made of.
//!
//! Versions fit in a byte. A field lives in the versions `first..=last`; [`END`] stands for "no
//! last one" and, as first nullable or first flexible version, for "never".

use std::mem::size_of;

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

/// Later than every version.
pub(super) const END: u8 = u8::MAX;

/// One API key.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) key: i16,
    pub(super) first: u8,
    pub(super) last: u8,
    /// From here on lengths are varints and every struct ends in tagged fields (KIP-482).
    pub(super) flexible: u8,
    pub(super) body: &'static Shape,
}

/// One struct.
#[derive(Debug)]
pub(super) struct Shape {
    /// Bytes of one such struct in memory after decoding.
    pub(super) memory: usize,
    pub(super) fields: &'static [Field],
    pub(super) tagged: &'static [Tagged],
}

/// One field, or a run of neighbours of fixed size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) first: u8,
    pub(super) last: u8,
    /// The first version in which the field may be null.
    pub(super) nullable: u8,
    pub(super) kind: Kind,
}

/// A field that a flexible struct may carry behind its plain ones.
#[derive(Debug)]
pub(super) struct Tagged {
    pub(super) number: u32,
    pub(super) field: Field,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(u8),
    Text,
    /// Bytes or record batches.
    Blob,
    Struct(&'static Shape),
    /// An array whose elements have so many bytes, on the wire as in memory.
    FixedArray(u8),
    TextArray,
    StructArray(&'static Shape),
}

impl Request {
    pub(super) fn has(&self, version: u8) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

impl Field {
    pub(super) fn lives_in(&self, version: u8) -> bool {
        (self.first..=self.last).contains(&version)
    }

    /// The fewest bytes this field takes on the wire.
    fn wire_size_min(&self, version: u8, flexible: bool) -> usize {
        match self.kind {
            Kind::Fixed(size) => size.into(),
            Kind::Struct(_) if version >= self.nullable => 1,
            Kind::Struct(shape) => shape.wire_size_min(version, flexible),
            _ if flexible => 1,
            Kind::Text => 2,
            Kind::Blob | Kind::FixedArray(_) | Kind::TextArray | Kind::StructArray(_) => 4,
        }
    }
}

impl Shape {
    /// The fewest bytes one such struct takes on the wire.
    pub(super) fn wire_size_min(&self, version: u8, flexible: bool) -> usize {
        let fields = self.fields.iter().filter(|field| field.lives_in(version));
        let plain: usize = fields.map(|field| field.wire_size_min(version, flexible)).sum();
        plain + usize::from(flexible)
    }
}

/// Text and bytes are handles into the frame.
pub(super) const TEXT_MEMORY: usize = size_of::<StrBytes>();
const _: () = assert!(size_of::<Option<StrBytes>>() <= TEXT_MEMORY);
const _: () = assert!(size_of::<Option<Bytes>>() <= TEXT_MEMORY);

pub(super) const fn request(
    key: i16,
    first: u8,
    last: u8,
    flexible: u8,
    body: &'static Shape,
) -> Request {
    Request { key, first, last, flexible, body }
}

/// A struct that kafka-protocol decodes into `T`.
pub(super) const fn shape<T>(fields: &'static [Field], tagged: &'static [Tagged]) -> Shape {
    Shape { memory: size_of::<T>(), fields, tagged }
}

/// A struct that kafka-protocol does not know; its size in memory is an upper estimate.
pub(super) const fn sketch(
    memory: usize,
    fields: &'static [Field],
    tagged: &'static [Tagged],
) -> Shape {
    Shape { memory, fields, tagged }
}

pub(super) const fn field(first: u8, last: u8, kind: Kind) -> Field {
    Field { first, last, nullable: END, kind }
}

pub(super) const fn nullable(first: u8, last: u8, nullable: u8, kind: Kind) -> Field {
    Field { first, last, nullable, kind }
}

pub(super) const fn tag(number: u32, field: Field) -> Tagged {
    Tagged { number, field }
}
