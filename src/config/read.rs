//! Texts in, settings out: TOML, `.properties` and environment variables. What a key means is not
//! known here.

use std::fmt;

use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// One key with its value as text, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File { path: String, line: usize },
    Environment { variable: String },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "file {path}:{line}"),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
        }
    }
}

/// Reads a file in the format that its name tells: `.properties`, or else TOML.
pub(super) fn file(path: &str, text: &str) -> Result<Vec<Setting>, ConfigError> {
    if path.ends_with(".properties") { properties(path, text) } else { toml(path, text) }
}

fn line_of(text: &str, position: usize) -> usize {
    text.bytes().take(position).filter(|byte| *byte == b'\n').count() + 1
}

fn toml(path: &str, text: &str) -> Result<Vec<Setting>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let origin = Origin::File { path: path.to_owned(), line };
        ConfigError::syntax(&origin, &format!("{}{}", error.message(), hint(error.message())))
    })?;
    let mut settings = Vec::new();
    let mut reader = TomlReader { path, text, settings: &mut settings };
    reader.table("", table.get_ref())?;
    Ok(settings)
}

/// TOML reads `a.b` and `a.b.c` as a value and a table of one name, which it does not allow.
fn hint(message: &str) -> &'static str {
    if message.starts_with("duplicate key") || message.starts_with("cannot extend") {
        "; where one key continues another one (max.connections, max.connections.per.ip), \
         write the shorter one in quotes"
    } else {
        ""
    }
}

struct TomlReader<'a> {
    path: &'a str,
    text: &'a str,
    settings: &'a mut Vec<Setting>,
}

impl TomlReader<'_> {
    /// Nested tables are what TOML makes of the dots in a key, so their names are joined again.
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (name, value) in table {
            let name = name.get_ref();
            let key = if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") };
            if let DeValue::Table(inner) = value.get_ref() {
                self.table(&key, inner)?;
                continue;
            }
            let line = line_of(self.text, value.span().start);
            let origin = Origin::File { path: self.path.to_owned(), line };
            let Some(value) = text_of(value.get_ref()) else {
                return Err(ConfigError::syntax(
                    &origin,
                    &format!("{key} needs a string, a number, a boolean or an array of them"),
                ));
            };
            self.settings.push(Setting { key, value, origin });
        }
        Ok(())
    }
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        // Hexadecimal and the like become decimal, which is what the kinds of keys read.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .ok()
            .or_else(|| Some(number.as_str().to_owned())),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| text_of(item.get_ref())).collect();
            items.map(|items| items.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

/// Java's format. A key that comes twice has its last value, as in Java: people append to such
/// files what shall override the rest.
fn properties(path: &str, text: &str) -> Result<Vec<Setting>, ConfigError> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while ends_in_lone_backslash(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let origin = Origin::File { path: path.to_owned(), line: index + 1 };
        let (key, value) =
            key_and_value(&logical).map_err(|reason| ConfigError::syntax(&origin, reason))?;
        settings.retain(|earlier| earlier.key != key);
        settings.push(Setting { key, value, origin });
    }
    Ok(settings)
}

fn ends_in_lone_backslash(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The key ends at the first `=`, `:` or space that no backslash precedes.
fn key_and_value(line: &str) -> Result<(String, String), &'static str> {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_whitespace());
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim();
    Ok((unescape(key)?, unescape(value)?))
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => result.push('\n'),
            Some('r') => result.push('\r'),
            Some('t') => result.push('\t'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                result.push(code.and_then(char::from_u32).ok_or("\\u needs four hex digits")?);
            }
            Some(other) => result.push(other),
            None => {}
        }
    }
    Ok(result)
}

/// Which keys a variable can carry, by its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    Kafka,
    Ours,
}

impl Prefix {
    pub(super) fn of(ours: bool) -> Self {
        if ours { Self::Ours } else { Self::Kafka }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Kafka => "KAFKA_",
            Self::Ours => "OTTLA_",
        }
    }
}

/// Variables of Kafka's scripts and container images that are no broker keys. One that ends in
/// `*` stands for all that begin so.
const KAFKA_SCRIPTS: &[&str] = &[
    "BASE_DIR",
    "CLASSPATH",
    "CLUSTER_ID",
    "DEBUG*",
    "DIST*",
    "GC_LOG*",
    "HEAP_OPTS",
    "HOME",
    "JMX_*",
    "JVM_*",
    "LOG4J_*",
    "MODE",
    "OPTS",
    "TOOLS_LOG4J_LOGLEVEL",
    "VERSION",
];

/// What an environment variable is to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variable {
    /// It carries a key; the prefix tells whose.
    Key(String, Prefix),
    /// It begins like one, but is known to be for something else.
    Other(&'static str),
    /// Not ours to look at.
    Foreign,
}

/// What the variable is, by its name alone.
pub(super) fn variable(name: &str) -> Variable {
    let split = [Prefix::Kafka, Prefix::Ours]
        .into_iter()
        .find_map(|prefix| Some((prefix, name.strip_prefix(prefix.text())?)));
    let Some((prefix, rest)) = split else { return Variable::Foreign };
    // Kubernetes gives every pod such variables for each service, and a service is easily called
    // `kafka` or `ottla`.
    if rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_") {
        return Variable::Other("Kubernetes sets it for a service");
    }
    let script = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => rest.starts_with(start),
        None => rest == *pattern,
    };
    if prefix == Prefix::Kafka && KAFKA_SCRIPTS.iter().any(script) {
        return Variable::Other("Kafka's scripts read it, not its broker");
    }
    Variable::Key(key_of_variable(rest), prefix)
}

/// Kafka's container image: `_` is a dot, `__` an underscore, `___` a dash.
fn key_of_variable(rest: &str) -> String {
    rest.to_ascii_lowercase()
        .replace("___", "-")
        .replace("__", "\0")
        .replace('_', ".")
        .replace('\0', "_")
}

/// The variable that carries a key.
pub(super) fn variable_of_key(key: &str, prefix: Prefix) -> String {
    let rest = key.replace('_', "__").replace('-', "___").replace('.', "_");
    format!("{}{}", prefix.text(), rest.to_ascii_uppercase())
}
