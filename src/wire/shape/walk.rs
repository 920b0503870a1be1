//! The walk over the bytes of a request body, driven by its shape.
//!
//! The walk allocates nothing. It goes as deep as the shapes nest, and each step either takes at
//! least one byte of the body or ends the array it stands in.

use super::schema::{Field, Kind, Shape, TEXT_MEMORY};
use super::{Fault, Limits, ShapeError};

/// A map of unknown tagged fields is a B-tree: its first node, and what each entry adds at most.
const TAG_MAP_MEMORY: usize = 416;
const TAG_MEMORY: usize = 100;

/// A cursor in a body.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    rest: &'a [u8],
    /// The size of the whole, to tell positions.
    size: usize,
    version: u8,
    flexible: bool,
    tagged_fields_max: u32,
    /// Bytes that decoding may still allocate.
    memory_left: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(bytes: &'a [u8], version: u8, flexible: bool, limits: &Limits) -> Self {
        Self {
            rest: bytes,
            size: bytes.len(),
            version,
            flexible,
            tagged_fields_max: limits.tagged_fields_max,
            memory_left: limits.decoded_bytes_max(bytes.len()),
        }
    }

    /// Bytes walked over so far.
    pub(super) fn position(&self) -> usize {
        self.size - self.rest.len()
    }

    pub(super) fn error(&self, fault: Fault) -> ShapeError {
        ShapeError { fault, position: self.position() }
    }

    pub(super) fn structure(&mut self, shape: &Shape) -> Result<(), ShapeError> {
        for field in shape.fields {
            if field.lives_in(self.version) {
                self.field(field)?;
            }
        }
        if self.flexible { self.tagged_fields(shape) } else { Ok(()) }
    }

    fn field(&mut self, field: &Field) -> Result<(), ShapeError> {
        let nullable = self.version >= field.nullable;
        match field.kind {
            Kind::Fixed(size) => self.skip(size.into()),
            Kind::Text => {
                let length = self.text_length()?;
                self.skip_sized(length, nullable)
            }
            Kind::Blob => {
                let length = self.length()?;
                self.skip_sized(length, nullable)
            }
            Kind::Struct(shape) if nullable => match self.byte()? {
                1 => self.structure(shape),
                // Kafka's readers take any other byte below 0x80 for "present", kafka-protocol
                // for "null". Nobody sends one, and two opinions on a frame are one too many.
                0xff => Ok(()),
                _ => Err(self.error(Fault::Presence)),
            },
            Kind::Struct(shape) => self.structure(shape),
            Kind::FixedArray(size) => {
                let size = size.into();
                let count = self.count(nullable, size, size)?;
                self.skip(count * size)
            }
            Kind::TextArray => {
                let wire_size_min = if self.flexible { 1 } else { 2 };
                for _ in 0..self.count(nullable, wire_size_min, TEXT_MEMORY)? {
                    let length = self.text_length()?;
                    self.skip_sized(length, false)?;
                }
                Ok(())
            }
            Kind::StructArray(shape) => {
                let wire_size_min = shape.wire_size_min(self.version, self.flexible);
                for _ in 0..self.count(nullable, wire_size_min, shape.memory)? {
                    self.structure(shape)?;
                }
                Ok(())
            }
        }
    }

    /// The tagged fields of one struct. Order and repetition are free, as in Kafka. Unlike Kafka
    /// the walk refuses a known field whose announced size is not the size it has.
    pub(super) fn tagged_fields(&mut self, shape: &Shape) -> Result<(), ShapeError> {
        let count = self.varint()?;
        if count > self.tagged_fields_max {
            return Err(self.error(Fault::TaggedFields));
        }
        let mut map_memory = TAG_MAP_MEMORY;
        for _ in 0..count {
            let number = self.varint()?;
            let size = self.varint()? as usize;
            let Some(known) = shape.tagged.iter().find(|tagged| tagged.number == number) else {
                self.spend(map_memory + TAG_MEMORY)?;
                map_memory = 0;
                self.skip(size)?;
                continue;
            };
            if !known.field.lives_in(self.version) {
                return Err(self.error(Fault::TagVersion));
            }
            let start = self.position();
            self.field(&known.field)?;
            if self.position() - start != size {
                return Err(self.error(Fault::TagSize));
            }
        }
        Ok(())
    }

    /// The count of an array, after which so many elements may be decoded without fear.
    fn count(
        &mut self,
        nullable: bool,
        wire_size_min: usize,
        memory: usize,
    ) -> Result<usize, ShapeError> {
        let Some(count) = self.length()? else {
            return if nullable { Ok(0) } else { Err(self.error(Fault::Null)) };
        };
        // No shape of the table has elements of no size; were there one, its count would be free.
        if count > 0 && count > self.rest.len().checked_div(wire_size_min).unwrap_or(0) {
            return Err(self.error(Fault::Count));
        }
        self.spend(count.saturating_mul(memory))?;
        Ok(count)
    }

    pub(super) fn spend(&mut self, memory: usize) -> Result<(), ShapeError> {
        match self.memory_left.checked_sub(memory) {
            Some(left) => self.memory_left = left,
            None => return Err(self.error(Fault::Memory)),
        }
        Ok(())
    }

    fn skip_sized(&mut self, length: Option<usize>, nullable: bool) -> Result<(), ShapeError> {
        match length {
            Some(length) => self.skip(length),
            None if nullable => Ok(()),
            None => Err(self.error(Fault::Null)),
        }
    }

    /// The length of a string; `None` is null.
    fn text_length(&mut self) -> Result<Option<usize>, ShapeError> {
        if self.flexible {
            let length = self.length()?;
            // As in Kafka: what is read in one version may have to be written in another.
            return match length {
                Some(length) if i16::try_from(length).is_err() => Err(self.error(Fault::Length)),
                length => Ok(length),
            };
        }
        let length = i16::from_be_bytes(self.array()?);
        self.non_negative(length.into())
    }

    /// The length of bytes or the count of an array; `None` is null.
    fn length(&mut self) -> Result<Option<usize>, ShapeError> {
        if self.flexible {
            return Ok((self.varint()? as usize).checked_sub(1));
        }
        let length = i32::from_be_bytes(self.array()?);
        self.non_negative(length)
    }

    fn non_negative(&self, length: i32) -> Result<Option<usize>, ShapeError> {
        match length {
            -1 => Ok(None),
            // Kafka reads any negative length as null, kafka-protocol knows only -1.
            _ => usize::try_from(length).map(Some).map_err(|_| self.error(Fault::Length)),
        }
    }

    /// An unsigned varint of at most 32 bits. Leading zero groups are allowed, as in Kafka.
    fn varint(&mut self) -> Result<u32, ShapeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        match self.byte()? {
            byte @ 0..0x10 => Ok(value | u32::from(byte) << 28),
            _ => Err(self.error(Fault::Varint)),
        }
    }

    fn byte(&mut self) -> Result<u8, ShapeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ShapeError> {
        let Some((array, rest)) = self.rest.split_first_chunk() else {
            return Err(self.error(Fault::Truncated));
        };
        self.rest = rest;
        Ok(*array)
    }

    fn skip(&mut self, size: usize) -> Result<(), ShapeError> {
        self.take(size).map(|_| ())
    }

    pub(super) fn take(&mut self, size: usize) -> Result<&'a [u8], ShapeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(size) else {
            return Err(self.error(Fault::Truncated));
        };
        self.rest = rest;
        Ok(taken)
    }
}
