//! Writes random request bodies by the shapes of the table.

use super::schema::{Field, Kind, Request, Shape};

/// SplitMix64: small, seeded, good enough to wander through shapes.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below the bound, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// How large the parts of a body may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appetite {
    /// Elements of one array at the most.
    pub(crate) elements_max: usize,
    /// Bytes of one text at the most.
    pub(crate) text_max: usize,
    /// Unknown tagged fields of one struct at the most; they come in one struct of two.
    pub(crate) unknown_tags_max: usize,
    /// No more arrays with elements once the body has this size.
    pub(crate) body_soft_max: usize,
}

#[derive(Debug)]
pub(super) struct Writer<'a> {
    random: &'a mut Random,
    appetite: Appetite,
    version: u8,
    flexible: bool,
    /// In a known tagged field; encoders leave it out if it is null or empty.
    tagged: bool,
    out: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn body(
        request: &Request,
        version: u8,
        random: &'a mut Random,
        appetite: Appetite,
    ) -> Vec<u8> {
        let flexible = version >= request.flexible;
        let mut writer =
            Self { random, appetite, version, flexible, tagged: false, out: Vec::new() };
        writer.structure(request.body);
        writer.out
    }

    fn structure(&mut self, shape: &Shape) {
        let version = self.version;
        for field in shape.fields.iter().filter(|field| field.lives_in(version)) {
            self.field(field);
        }
        if self.flexible {
            self.tagged_fields(shape);
        }
    }

    /// Known tags first, as they are the smaller numbers.
    fn tagged_fields(&mut self, shape: &Shape) {
        let known: Vec<_> = shape
            .tagged
            .iter()
            .filter(|tagged| tagged.field.lives_in(self.version) && self.random.one_in(2))
            .collect();
        let max = self.appetite.unknown_tags_max;
        let unknown = if max > 0 && self.random.one_in(2) { self.random.below(max + 1) } else { 0 };
        self.varint(known.len() + unknown);
        for tagged in known {
            self.varint(tagged.number.try_into().unwrap());
            let outer = std::mem::take(&mut self.out);
            self.tagged = true;
            self.field(&tagged.field);
            self.tagged = false;
            let value = std::mem::replace(&mut self.out, outer);
            self.varint(value.len());
            self.out.extend(value);
        }
        for tag in 0..unknown {
            self.varint(100 + tag);
            let size = self.random.below(4);
            self.varint(size);
            self.fixed(size);
        }
    }

    fn field(&mut self, field: &Field) {
        if self.version >= field.nullable && !self.tagged && self.random.one_in(4) {
            return self.null(field.kind);
        }
        match field.kind {
            Kind::Fixed(size) => self.fixed(size.into()),
            Kind::Text => self.text(),
            Kind::Blob => {
                let size = self.random.below(self.appetite.text_max + 1);
                self.count(size);
                self.fixed(size);
            }
            Kind::Struct(shape) => {
                if self.version >= field.nullable {
                    self.out.push(1);
                }
                self.structure(shape);
            }
            Kind::FixedArray(size) => self.array(|writer| writer.fixed(size.into())),
            Kind::TextArray => self.array(Self::text),
            Kind::StructArray(shape) => self.array(|writer| writer.structure(shape)),
        }
    }

    fn null(&mut self, kind: Kind) {
        match kind {
            Kind::Struct(_) => self.out.push(0xff),
            _ if self.flexible => self.out.push(0),
            Kind::Text => self.out.extend((-1i16).to_be_bytes()),
            _ => self.out.extend((-1i32).to_be_bytes()),
        }
    }

    fn array(&mut self, mut element: impl FnMut(&mut Self)) {
        let full = self.out.len() >= self.appetite.body_soft_max;
        let count = if full { 0 } else { self.random.below(self.appetite.elements_max + 1) };
        let count = count.max(usize::from(self.tagged));
        self.count(count);
        for _ in 0..count {
            element(self);
        }
    }

    /// Zeros and ones, so that a boolean comes back as it was.
    fn fixed(&mut self, size: usize) {
        for _ in 0..size {
            let byte = u8::try_from(self.random.below(2)).unwrap();
            self.out.push(byte);
        }
    }

    fn text(&mut self) {
        let size = self.random.below(self.appetite.text_max + 1).max(usize::from(self.tagged));
        if self.flexible {
            self.varint(size + 1);
        } else {
            self.out.extend(i16::try_from(size).unwrap().to_be_bytes());
        }
        for _ in 0..size {
            let letter = b'a' + u8::try_from(self.random.below(26)).unwrap();
            self.out.push(letter);
        }
    }

    fn count(&mut self, count: usize) {
        if self.flexible {
            self.varint(count + 1);
        } else {
            self.out.extend(i32::try_from(count).unwrap().to_be_bytes());
        }
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.push(0x80 | u8::try_from(value & 0x7f).unwrap());
            value >>= 7;
        }
        self.out.push(u8::try_from(value).unwrap());
    }
}
