//! One row of a table of keys, and the macro that turns rows into a table and a typed struct.

use super::value::{ConfigKind, Valid, Value, parse};

/// Everything known about one key. Reading, checking, `explain` and `DescribeConfigs` all go by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: ConfigKind,
    pub(super) default: Option<&'static str>,
    pub(super) valid: Valid,
    /// The meaning, in sentences; the first one stands alone.
    pub(super) doc: &'static str,
    /// Ours, not Kafka's: the prefix of its environment variable is `OTTLA_`.
    pub(super) ours: bool,
    /// Kafka can change it while the broker runs.
    pub(super) dynamic: bool,
    /// Of a topic key: the broker keys that set its default, first one first.
    pub(super) synonyms: &'static [Synonym],
    /// Of a broker key that sets the default of a topic key: the topic key's name.
    pub(super) topic_key: Option<&'static str>,
}

/// A broker key that sets the default of a topic key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Synonym {
    pub(super) name: &'static str,
    /// One of its units is so many of the topic key's.
    pub(super) unit: i64,
    pub(super) default: SynonymDefault,
    /// `None`: the check of the topic key.
    pub(super) valid: Option<Valid>,
}

impl Synonym {
    /// The same with a check of its own.
    pub(super) const fn checked(self, valid: Valid) -> Self {
        Self { valid: Some(valid), ..self }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum SynonymDefault {
    Inherited,
    Unset,
    Text(&'static str),
}

/// A broker key that means the same as the topic key and has the same default.
pub(super) const fn same(name: &'static str) -> Synonym {
    Synonym { name, unit: 1, default: SynonymDefault::Inherited, valid: None }
}

/// A broker key without a default: when it is not given, the next one in the row counts.
pub(super) const fn unset(name: &'static str, unit: i64) -> Synonym {
    Synonym { name, unit, default: SynonymDefault::Unset, valid: None }
}

/// A broker key in hours, for a topic key in milliseconds.
pub(super) const fn hours(name: &'static str, default: &'static str) -> Synonym {
    let default = SynonymDefault::Text(default);
    Synonym { name, unit: 3_600_000, default, valid: None }
}

pub(super) const fn key(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    valid: Valid,
) -> Key {
    Key { default: Some(default), ..optional(name, kind, valid) }
}

/// A key that has no value unless one is given.
pub(super) const fn optional(name: &'static str, kind: ConfigKind, valid: Valid) -> Key {
    Key {
        name,
        kind,
        default: None,
        valid,
        doc: "",
        ours: false,
        dynamic: false,
        synonyms: &[],
        topic_key: None,
    }
}

impl Key {
    pub(super) const fn ours(self) -> Self {
        Self { ours: true, ..self }
    }

    pub(super) const fn dynamic(self) -> Self {
        Self { dynamic: true, ..self }
    }

    pub(super) const fn from(self, synonyms: &'static [Synonym]) -> Self {
        Self { synonyms, ..self }
    }

    pub(super) const fn doc(self, doc: &'static str) -> Self {
        Self { doc, ..self }
    }

    /// The broker key that one of a topic key's synonyms is.
    pub(super) fn broker_key(&self, synonym: Synonym) -> Self {
        Self {
            name: synonym.name,
            kind: if synonym.unit == 1 { self.kind } else { ConfigKind::Int },
            default: match synonym.default {
                SynonymDefault::Inherited => self.default,
                SynonymDefault::Unset => None,
                SynonymDefault::Text(text) => Some(text),
            },
            valid: match synonym.valid {
                Some(valid) => valid,
                None => self.valid,
            },
            doc: match synonym.unit {
                60_000 => "The same in minutes. A key in a finer unit goes first.",
                3_600_000 => "The same in hours. A key in a finer unit goes first.",
                _ => self.doc,
            },
            // In Kafka, too, the ones that stand in for the first are fixed at start.
            dynamic: self.synonyms.first().is_some_and(|first| first.name == synonym.name),
            synonyms: &[],
            topic_key: Some(self.name),
            ..*self
        }
    }

    pub(super) fn parse(&self, text: &str) -> Result<Value, String> {
        parse(self.name, self.kind, self.valid, text)
    }

    pub(super) fn default_value(&self) -> Option<Value> {
        self.default.map(|text| {
            self.parse(text)
                .unwrap_or_else(|error| panic!("invariant: a default is valid: {error}"))
        })
    }

    pub(super) fn sensitive(&self) -> bool {
        self.kind == ConfigKind::Password
    }

    /// The doc's first sentence.
    pub(super) fn summary(&self) -> &'static str {
        self.doc.split_inclusive(". ").next().unwrap_or(self.doc).trim_end()
    }
}

/// Makes, from one row per key, the table `$TABLE` and the struct with one typed field per row.
/// The doc comment of a row is the field's and the key's. Fields in the braces of the struct have
/// no key of their own; they start at their default and are computed later.
macro_rules! config_table {
    (
        $(#[$meta:meta])*
        pub struct $Struct:ident { $($(#[$extra_meta:meta])* pub $extra:ident: $extra_type:ty,)* }
        static $TABLE:ident;
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $key:expr;)*
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Struct {
            $($(#[doc = $doc])+ pub $field: $type,)*
            $($(#[$extra_meta])* pub $extra: $extra_type,)*
        }

        pub(super) static $TABLE: &[Key] =
            &[$($key.doc(concat!($($doc),+).trim_ascii_start())),*];

        impl $Struct {
            /// Fills every field with what `value` has for its key, else from `base`.
            fn build(value: &dyn Fn(&str) -> Option<Value>, base: Option<&Self>) -> Self {
                Self {
                    $($field: {
                        const NAME: &str = $key.name;
                        match (value(NAME), base) {
                            (None, Some(base)) => base.$field.clone(),
                            (value, _) => field(NAME, value.as_ref()),
                        }
                    },)*
                    $($extra: Default::default(),)*
                }
            }
        }
    };
}
pub(super) use config_table;
