//! What a value may be: its kind, the check on it, and Kafka's own words when it is wrong.
//!
//! The texts are what clients of Kafka see in an `INVALID_CONFIG` answer (Kafka's `ConfigDef.java`
//! makes them), so they are kept letter by letter; the tests hold them.

use std::fmt;
use std::path::PathBuf;

/// Kafka's types of values; the number is the one that `DescribeConfigs` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigKind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl ConfigKind {
    pub fn id(self) -> i8 {
        self as i8
    }

    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// The name as `explain` prints it.
impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().to_ascii_lowercase())
    }
}

/// A value that has its kind. `Display` gives the form that `DescribeConfigs` shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(v) => write!(f, "{v}"),
            Self::Int(v) => write!(f, "{v}"),
            Self::Double(v) => f.write_str(&java_double(*v)),
            Self::Text(v) => f.write_str(v),
            Self::List(v) => f.write_str(&v.join(",")),
        }
    }
}

/// A number as Java writes it: `2.0`, and `1.5E7` where it is large or small.
fn java_double(value: f64) -> String {
    let plain = 1e-3..1e7;
    if value == 0.0 || !value.is_finite() || plain.contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// The check on a value beyond its kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Valid {
    Any,
    AtLeast(i64),
    /// Both ends belong to it. Holds for doubles, too.
    Between(i64, i64),
    /// As `Between`, or this one other value.
    BetweenOr(i64, i64, i64),
    OneOf(&'static [&'static str]),
    /// Anything else: `says` is what `explain` prints, `check` gives the reason of a refusal.
    Custom {
        says: &'static str,
        check: fn(&str, &Value) -> Result<(), String>,
    },
}

/// What `explain` prints as the valid range.
impl fmt::Display for Valid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::AtLeast(min) => write!(f, "at least {min}"),
            Self::Between(min, max) => write!(f, "{min} to {max}"),
            Self::BetweenOr(min, max, other) => write!(f, "{min} to {max}, or {other}"),
            Self::OneOf(names) => f.write_str(&names.join(" | ")),
            Self::Custom { says, .. } => f.write_str(says),
        }
    }
}

/// Gives `text` its kind and checks it; the error is Kafka's message.
pub(super) fn parse(
    name: &str,
    kind: ConfigKind,
    valid: Valid,
    text: &str,
) -> Result<Value, String> {
    let value = parse_kind(kind, text).map_err(|reason| wrong(name, text, &reason))?;
    check(name, valid, &value)?;
    Ok(value)
}

fn wrong(name: &str, shown: &str, reason: &str) -> String {
    format!("Invalid value {shown} for configuration {name}: {reason}")
}

fn parse_kind(kind: ConfigKind, text: &str) -> Result<Value, String> {
    let not_a_number = || format!("Not a number of type {}", kind.name());
    let trimmed = text.trim();
    let whole = |min: i64, max: i64| match trimmed.parse::<i64>() {
        Ok(v) if (min..=max).contains(&v) => Ok(Value::Int(v)),
        _ => Err(not_a_number()),
    };
    match kind {
        ConfigKind::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
        ConfigKind::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
        ConfigKind::Boolean => Err("Expected value to be either true or false".to_owned()),
        ConfigKind::Short => whole(i16::MIN.into(), i16::MAX.into()),
        ConfigKind::Int => whole(i32::MIN.into(), i32::MAX.into()),
        ConfigKind::Long => whole(i64::MIN, i64::MAX),
        // Kafka lets NaN through, although no comparison with it is ever true.
        ConfigKind::Double => match trimmed.parse::<f64>() {
            Ok(v) if !v.is_nan() => Ok(Value::Double(v)),
            _ => Err(not_a_number()),
        },
        ConfigKind::String | ConfigKind::Class => Ok(Value::Text(trimmed.to_owned())),
        ConfigKind::Password => Ok(Value::Text(text.to_owned())),
        ConfigKind::List => Ok(Value::List(split_list(trimmed))),
    }
}

/// The items of a comma-separated list, each once, in the order of their first appearance. Empty
/// items all stay, for the check of the key to find.
pub(super) fn split_list(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let mut items: Vec<String> = Vec::new();
    for item in text.split(',').map(str::trim) {
        if item.is_empty() || !items.iter().any(|seen| seen == item) {
            items.push(item.to_owned());
        }
    }
    items
}

fn check(name: &str, valid: Valid, value: &Value) -> Result<(), String> {
    match (valid, value) {
        (Valid::Custom { check, .. }, _) => check(name, value).map_err(|reason| match value {
            Value::List(items) => wrong(name, &format!("[{}]", items.join(", ")), &reason),
            _ => wrong(name, &value.to_string(), &reason),
        }),
        (_, Value::List(items)) => check_list(name, valid, items),
        (Valid::OneOf(names), Value::Text(text)) => check_name(name, names, text),
        (Valid::BetweenOr(min, max, other), Value::Int(v)) => {
            let reason = format!("Value must be between {min} and {max} or equal to {other}");
            let fits = *v == other || (min..=max).contains(v);
            if fits { Ok(()) } else { Err(wrong(name, &value.to_string(), &reason)) }
        }
        (Valid::AtLeast(min), _) => check_range(name, value, Some(min), None),
        (Valid::Between(min, max), _) => check_range(name, value, Some(min), Some(max)),
        _ => Ok(()),
    }
}

fn check_list(name: &str, valid: Valid, items: &[String]) -> Result<(), String> {
    if items.iter().any(String::is_empty) {
        return Err(format!("Configuration '{name}' values must not be empty."));
    }
    match valid {
        Valid::OneOf(names) => items.iter().try_for_each(|item| check_name(name, names, item)),
        _ => Ok(()),
    }
}

fn check_name(name: &str, names: &[&str], text: &str) -> Result<(), String> {
    if names.contains(&text) {
        return Ok(());
    }
    Err(wrong(name, text, &format!("String must be one of: {}", names.join(", "))))
}

fn check_range(
    name: &str,
    value: &Value,
    min: Option<i64>,
    max: Option<i64>,
) -> Result<(), String> {
    // A bound is a small whole number, which an `f64` holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "bounds of doubles are 0 and 1")]
    let below = |bound: i64| match value {
        Value::Int(v) => *v < bound,
        Value::Double(v) => *v < bound as f64,
        _ => false,
    };
    #[expect(clippy::cast_precision_loss, reason = "bounds of doubles are 0 and 1")]
    let above = |bound: i64| match value {
        Value::Int(v) => *v > bound,
        Value::Double(v) => *v > bound as f64,
        _ => false,
    };
    if let Some(min) = min.filter(|bound| below(*bound)) {
        return Err(wrong(name, &value.to_string(), &format!("Value must be at least {min}")));
    }
    if let Some(max) = max.filter(|bound| above(*bound)) {
        return Err(wrong(name, &value.to_string(), &format!("Value must be no more than {max}")));
    }
    Ok(())
}

/// Turns a checked value into the type of its field. `None` means that the check of the key lets
/// through what the field can not hold, which is a mistake in the table.
pub(super) trait FromValue: Sized {
    fn from_value(value: &Value) -> Option<Self>;

    /// The field when there is no value at all: neither given nor by default.
    fn absent() -> Option<Self> {
        None
    }
}

pub(super) fn field<T: FromValue>(name: &str, value: Option<&Value>) -> T {
    let found = match value {
        Some(value) => T::from_value(value),
        None => T::absent(),
    };
    found.unwrap_or_else(|| panic!("invariant: the check of {name} admits what its field holds"))
}

/// An empty text counts as no value, so that an environment variable can take one back.
impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) if text.is_empty() => Some(None),
            value => T::from_value(value).map(Some),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bool(v) = value { Some(*v) } else { None }
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Double(v) = value { Some(*v) } else { None }
    }
}

macro_rules! from_whole_number {
    ($($type:ty),*) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                if let Value::Int(v) = value { Self::try_from(*v).ok() } else { None }
            }
        }
    )*};
}
from_whole_number!(i16, i32, i64, u32, u64);

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(v) = value { Some(v.clone()) } else { None }
    }
}

impl FromValue for Vec<String> {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::List(v) = value { Some(v.clone()) } else { None }
    }
}

impl FromValue for Vec<PathBuf> {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::List(v) = value { Some(v.iter().map(PathBuf::from).collect()) } else { None }
    }
}

/// An enum whose members have names in configuration values.
macro_rules! named_enum {
    ($(#[$meta:meta])* pub enum $Enum:ident { $($Member:ident = $name:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $Enum { $($Member),* }

        impl $Enum {
            /// In the order in which Kafka's messages list them.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$Member => $name),* }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$Member),)* _ => None }
            }
        }

        impl $crate::config::value::FromValue for $Enum {
            fn from_value(value: &$crate::config::value::Value) -> Option<Self> {
                match value {
                    $crate::config::value::Value::Text(name) => Self::from_name(name),
                    _ => None,
                }
            }
        }
    };
}
pub(super) use named_enum;
