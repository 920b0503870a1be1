//! Listeners: where the broker listens, what clients are told, and the rules between the two.
//!
//! Texts have Kafka's form, `NAME://host:port`, with IPv6 addresses in brackets. An empty host
//! stays empty here: whoever opens the socket takes every interface, and whoever tells clients
//! an address takes this machine's name, as Kafka does. Likewise port 0 of an advertised listener
//! stands for the port that the listener of that name got.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::keys::Config;
use super::value::{FromValue, Valid, Value, named_enum, split_list};

named_enum! {
    pub enum SecurityProtocol {
        Plaintext = "PLAINTEXT",
        Ssl = "SSL",
        SaslPlaintext = "SASL_PLAINTEXT",
        SaslSsl = "SASL_SSL",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// In capitals; clients never see it, nodes match listeners by it.
    pub name: String,
    pub protocol: SecurityProtocol,
    /// Without brackets; may be empty.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, host, port, .. } = self;
        if host.contains(':') {
            write!(f, "{name}://[{host}]:{port}")
        } else {
            write!(f, "{name}://{host}:{port}")
        }
    }
}

impl Listener {
    /// The protocol is settled later, when the map of protocols is known.
    fn parse(text: &str) -> Option<Self> {
        let (name, address) = text.split_once("://")?;
        let (host, port) = split_host_port(address)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
        if name.is_empty() || !name.chars().all(fits) {
            return None;
        }
        Some(Self {
            name: name.to_ascii_uppercase(),
            protocol: SecurityProtocol::Plaintext,
            host: host.to_owned(),
            port,
        })
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromValue for Vec<Listener> {
    fn from_value(value: &Value) -> Option<Self> {
        let Value::List(items) = value else { return None };
        items.iter().map(|item| Listener::parse(item)).collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// The protocol of each listener name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityProtocolMap(pub BTreeMap<String, SecurityProtocol>);

impl SecurityProtocolMap {
    fn parse(text: &str) -> Result<Self, String> {
        let mut map = BTreeMap::new();
        for item in split_list(text) {
            let (name, protocol) =
                item.split_once(':').ok_or_else(|| format!("{item} is not NAME:PROTOCOL"))?;
            let protocol = protocol.trim().to_ascii_uppercase();
            let protocol = SecurityProtocol::from_name(&protocol).ok_or_else(|| {
                let names = SecurityProtocol::NAMES.join(", ");
                format!("{protocol} is not a protocol; the protocols are {names}")
            })?;
            let name = name.trim().to_ascii_uppercase();
            if map.insert(name.clone(), protocol).is_some_and(|before| before != protocol) {
                return Err(format!("{name} has two protocols"));
            }
        }
        Ok(Self(map))
    }
}

impl FromValue for SecurityProtocolMap {
    fn from_value(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else { return None };
        Self::parse(text).ok()
    }
}

/// The parts of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessRoles {
    pub broker: bool,
    pub controller: bool,
}

impl FromValue for ProcessRoles {
    fn from_value(value: &Value) -> Option<Self> {
        let Value::List(items) = value else { return None };
        let has = |name: &str| items.iter().any(|item| item == name);
        Some(Self { broker: has("broker"), controller: has("controller") })
    }
}

pub(super) const LISTENERS: Valid =
    Valid::Custom { says: "a list of NAME://host:port", check: check_listeners };
pub(super) const PROTOCOL_MAP: Valid =
    Valid::Custom { says: "a list of NAME:PROTOCOL", check: check_protocol_map };
pub(super) const HOST_PORT: Valid =
    Valid::Custom { says: "host:port, or empty", check: check_host_port };

fn check_listeners(_: &str, value: &Value) -> Result<(), String> {
    let Value::List(items) = value else { return Ok(()) };
    match items.iter().find(|item| Listener::parse(item).is_none()) {
        Some(item) => Err(format!(
            "'{item}' is not NAME://host:port (an IPv6 address stands in brackets, \
             the port is 0 to 65535)"
        )),
        None => Ok(()),
    }
}

fn check_protocol_map(_: &str, value: &Value) -> Result<(), String> {
    let Value::Text(text) = value else { return Ok(()) };
    SecurityProtocolMap::parse(text).map(drop)
}

fn check_host_port(_: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Text(text) if text.is_empty() || split_host_port(text).is_some() => Ok(()),
        _ => Err("not host:port (an IPv6 address stands in brackets)".to_owned()),
    }
}

pub(super) fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        // A zone (`%eth0`) is allowed and is not part of the address.
        let address = inner.split('%').next().unwrap_or(inner);
        return address.parse::<Ipv6Addr>().is_ok().then_some((inner, port));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    host.chars().all(fits).then_some((host, port))
}

/// Gives listeners their protocols, separates the controllers' ones, fills the advertised ones,
/// and checks all of them.
pub(super) fn settle(config: &mut Config) -> Result<(), String> {
    let names: Vec<_> =
        config.controller_listener_names.iter().map(|name| name.to_ascii_uppercase()).collect();
    let mut protocols = config.listener_security_protocol_map.clone();
    for name in &names {
        // Kafka, too, has PLAINTEXT between nodes unless something else is said.
        protocols.0.entry(name.clone()).or_insert(SecurityProtocol::Plaintext);
    }
    let mut listeners = std::mem::take(&mut config.listeners);
    assign_protocols("listeners", &mut listeners, &protocols)?;
    assign_protocols("advertised.listeners", &mut config.advertised_listeners, &protocols)?;
    check_distinct("listeners", &listeners)?;
    check_names_distinct("advertised.listeners", &config.advertised_listeners)?;

    // Kafka lets a node without the controller role name the controllers' listeners without
    // having them itself, so a name that no listener has is no error.
    let is_controllers = |listener: &Listener| names.contains(&listener.name);
    (config.controller_listeners, config.listeners) =
        listeners.into_iter().partition(is_controllers);
    (config.advertised_controller_listeners, config.advertised_listeners) =
        std::mem::take(&mut config.advertised_listeners).into_iter().partition(is_controllers);
    if config.process_roles.broker && config.listeners.is_empty() {
        return Err("listeners has none that clients could use".to_owned());
    }
    if let Some(listener) = config.listeners.first().filter(|_| !config.process_roles.broker) {
        return Err(format!(
            "listeners: {listener} is for clients, but process.roles says that this node is no \
             broker; name it in controller.listener.names if it is for other nodes"
        ));
    }
    if config.advertised_listeners.is_empty() {
        config.advertised_listeners.clone_from(&config.listeners);
    }
    check_advertised(config)
}

fn assign_protocols(
    key: &str,
    listeners: &mut [Listener],
    protocols: &SecurityProtocolMap,
) -> Result<(), String> {
    for listener in listeners {
        let name = &listener.name;
        listener.protocol = match protocols.0.get(name) {
            Some(SecurityProtocol::Plaintext) => SecurityProtocol::Plaintext,
            Some(other) => {
                let protocol = other.name();
                return Err(format!(
                    "{key}: the listener {name} speaks {protocol} by \
                     listener.security.protocol.map, but only PLAINTEXT is served so far"
                ));
            }
            None => {
                return Err(format!(
                    "{key}: the listener {name} has no protocol; add {name}:PLAINTEXT to \
                     listener.security.protocol.map"
                ));
            }
        };
    }
    Ok(())
}

fn check_distinct(key: &str, listeners: &[Listener]) -> Result<(), String> {
    check_names_distinct(key, listeners)?;
    for (first, second) in pairs(listeners) {
        // One port may serve an IPv4 and an IPv6 address, as in Kafka.
        let families = match (first.ip(), second.ip()) {
            (Some(a), Some(b)) => a.is_ipv4() != b.is_ipv4(),
            _ => false,
        };
        if first.port != 0 && first.port == second.port && !families {
            return Err(format!("{key}: {first} and {second} have the same port"));
        }
    }
    Ok(())
}

fn check_names_distinct(key: &str, listeners: &[Listener]) -> Result<(), String> {
    match pairs(listeners).find(|(first, second)| first.name == second.name) {
        Some((first, second)) => Err(format!("{key}: {first} and {second} have the same name")),
        None => Ok(()),
    }
}

fn pairs(listeners: &[Listener]) -> impl Iterator<Item = (&Listener, &Listener)> {
    let later = |index: usize| listeners.iter().skip(index + 1);
    listeners
        .iter()
        .enumerate()
        .flat_map(move |(index, first)| later(index).map(move |second| (first, second)))
}

fn check_advertised(config: &Config) -> Result<(), String> {
    for listener in &config.advertised_listeners {
        if listener.ip().is_some_and(|ip| ip.is_unspecified()) {
            return Err(format!(
                "advertised.listeners: clients can not connect to {listener}; set \
                 advertised.listeners to an address that they can reach"
            ));
        }
        if !config.listeners.iter().any(|known| known.name == listener.name) {
            let name = &listener.name;
            return Err(format!("advertised.listeners: no listener has the name {name}"));
        }
    }
    Ok(())
}
