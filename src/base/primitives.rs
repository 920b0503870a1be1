//! Kafka's primitive types on the wire, for the frames that are read and written by hand. Lengths
//! are held against the bytes that are there before anything is reserved.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Reads primitives; every method gives `None` at the end of the bytes or on a bad length.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
    /// Compact lengths and tagged fields (KIP-482).
    flexible: bool,
}

impl Reader {
    pub fn new(bytes: Bytes, flexible: bool) -> Self {
        Self { rest: bytes, flexible }
    }

    pub fn i8(&mut self) -> Option<i8> {
        self.rest.try_get_i8().ok()
    }

    pub fn i16(&mut self) -> Option<i16> {
        self.rest.try_get_i16().ok()
    }

    pub fn i32(&mut self) -> Option<i32> {
        self.rest.try_get_i32().ok()
    }

    pub fn i64(&mut self) -> Option<i64> {
        self.rest.try_get_i64().ok()
    }

    pub fn uuid(&mut self) -> Option<[u8; 16]> {
        let mut uuid = [0; 16];
        self.rest.try_copy_to_slice(&mut uuid).ok()?;
        Some(uuid)
    }

    /// An unsigned varint of at most five bytes.
    pub fn uvarint(&mut self) -> Option<u32> {
        let mut value: u64 = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.rest.try_get_u8().ok()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).ok();
            }
        }
        None
    }

    /// A length; `Some(None)` is null.
    fn length(&mut self, short: bool) -> Option<Option<usize>> {
        let length = match (self.flexible, short) {
            (true, _) => i64::from(self.uvarint()?) - 1,
            (false, true) => i64::from(self.i16()?),
            (false, false) => i64::from(self.i32()?),
        };
        match length {
            -1 => Some(None),
            _ => usize::try_from(length).ok().map(Some),
        }
    }

    fn take(&mut self, size: usize) -> Option<Bytes> {
        (size <= self.rest.len()).then(|| self.rest.split_to(size))
    }

    /// A string; the outer `None` is an error, the inner one null.
    pub fn nullable_string(&mut self) -> Option<Option<String>> {
        match self.length(true)? {
            None => Some(None),
            Some(size) => {
                let bytes = self.take(size)?;
                std::str::from_utf8(&bytes).ok().map(|text| Some(text.to_owned()))
            }
        }
    }

    pub fn string(&mut self) -> Option<String> {
        self.nullable_string()?
    }

    /// Bytes as a slice of the buffer; the outer `None` is an error, the inner one null.
    pub fn nullable_bytes(&mut self) -> Option<Option<Bytes>> {
        match self.length(false)? {
            None => Some(None),
            Some(size) => self.take(size).map(Some),
        }
    }

    /// Reads an array; null counts as empty. `element_size_min` is what an element has at least.
    pub fn array<T>(
        &mut self,
        element_size_min: usize,
        element: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.nullable_array(element_size_min, element).map(Option::unwrap_or_default)
    }

    /// The same; the outer `None` is an error, the inner one null.
    pub fn nullable_array<T>(
        &mut self,
        element_size_min: usize,
        mut element: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Option<Vec<T>>> {
        let Some(count) = self.length(false)? else { return Some(None) };
        if count > self.rest.len() / element_size_min.max(1) {
            return None;
        }
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Some(Some(elements))
    }

    /// Reads tagged fields; `known` gets those of its interest.
    pub fn tagged(&mut self, mut known: impl FnMut(u32, Bytes)) -> Option<()> {
        if !self.flexible {
            return Some(());
        }
        for _ in 0..self.uvarint()? {
            let (tag, size) = (self.uvarint()?, self.uvarint()?);
            let value = self.take(usize::try_from(size).ok()?)?;
            known(tag, value);
        }
        Some(())
    }

    /// Reads tagged fields that say nothing to us.
    pub fn skip_tagged(&mut self) -> Option<()> {
        self.tagged(|_, _| {})
    }
}

/// Writes primitives.
#[derive(Debug)]
pub struct Writer {
    pub out: BytesMut,
    flexible: bool,
}

impl Writer {
    pub fn new(out: BytesMut, flexible: bool) -> Self {
        Self { out, flexible }
    }

    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value.to_le_bytes()[0]);
    }

    fn length(&mut self, length: Option<usize>, short: bool) {
        let number = length.map_or(-1, |length| i32::try_from(length).unwrap_or(i32::MAX));
        match (self.flexible, short) {
            (true, _) => self.uvarint(number.wrapping_add(1).cast_unsigned()),
            (false, true) => self.out.put_i16(i16::try_from(number).unwrap_or(i16::MAX)),
            (false, false) => self.out.put_i32(number),
        }
    }

    pub fn nullable_string(&mut self, text: Option<&str>) {
        self.length(text.map(str::len), true);
        self.out.put_slice(text.unwrap_or_default().as_bytes());
    }

    pub fn string(&mut self, text: &str) {
        self.nullable_string(Some(text));
    }

    pub fn array_length(&mut self, count: usize) {
        self.length(Some(count), false);
    }

    pub fn null_array(&mut self) {
        self.length(None, false);
    }

    pub fn nullable_bytes(&mut self, bytes: Option<&[u8]>) {
        self.length(bytes.map(<[u8]>::len), false);
        self.out.put_slice(bytes.unwrap_or_default());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.nullable_bytes(Some(bytes));
    }

    /// An array, element by element.
    pub fn array<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut element: impl FnMut(&mut Self, T),
    ) {
        self.array_length(items.len());
        for item in items {
            element(self, item);
        }
    }

    /// Tagged fields, by ascending tag.
    pub fn tagged(&mut self, fields: &[(u32, &[u8])]) {
        if !self.flexible {
            return;
        }
        self.uvarint(u32::try_from(fields.len()).unwrap_or(u32::MAX));
        for (tag, value) in fields {
            self.uvarint(*tag);
            self.uvarint(u32::try_from(value.len()).unwrap_or(u32::MAX));
            self.out.put_slice(value);
        }
    }

    /// The length of bytes that follow some other way.
    pub fn bytes_length(&mut self, size: usize) {
        self.length(Some(size), false);
    }

    /// No tagged fields.
    pub fn no_tagged(&mut self) {
        self.tagged(&[]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn primitives_round_trip(
            flexible: bool, number: u32,
            text in proptest::option::of("[a-z]{0,200}"),
            items in proptest::collection::vec(any::<i32>(), 0..50),
        ) {
            let mut writer = Writer::new(BytesMut::new(), flexible);
            writer.uvarint(number);
            writer.nullable_string(text.as_deref());
            writer.array_length(items.len());
            items.iter().for_each(|item| writer.out.put_i32(*item));
            writer.no_tagged();
            let mut reader = Reader::new(writer.out.freeze(), flexible);
            prop_assert_eq!(reader.uvarint(), Some(number));
            prop_assert_eq!(reader.nullable_string(), Some(text));
            prop_assert_eq!(reader.array(4, Reader::i32), Some(items));
            prop_assert_eq!(reader.skip_tagged(), Some(()));
            prop_assert!(reader.rest.is_empty());
        }

        #[test]
        fn lies_end_the_reading(
            flexible: bool,
            bytes in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let mut reader = Reader::new(bytes.into(), flexible);
            let _ = reader.array(1, |reader| {
                reader.string()?;
                reader.nullable_bytes()?;
                reader.skip_tagged()
            });
        }
    }
}
