//! The keys that a single group can have, and the rules for altering them. The broker's settings
//! are their defaults and their bounds.

use std::collections::BTreeMap;

use super::Config;
use super::key::{Key, key, same};
use super::value::ConfigKind::Int;
use super::value::Valid::AtLeast;

/// A group's own heartbeat interval and session timeout.
pub const HEARTBEAT_INTERVAL_MS: &str = "consumer.heartbeat.interval.ms";
pub const SESSION_TIMEOUT_MS: &str = "consumer.session.timeout.ms";

/// Every group key, by name. Each has one broker key as its default.
pub(super) static GROUP_KEYS: &[Key] = &[
    key(HEARTBEAT_INTERVAL_MS, Int, "5000", AtLeast(1))
        .from(&[same("group.consumer.heartbeat.interval.ms")])
        .doc("How often members of this consumer group report, in milliseconds."),
    key(SESSION_TIMEOUT_MS, Int, "45000", AtLeast(1))
        .from(&[same("group.consumer.session.timeout.ms")])
        .doc("A member of this consumer group that is silent for so many milliseconds is removed."),
];

/// Checks all overrides of a group; the error is Kafka's message.
pub fn validate_group_overrides(
    overrides: &BTreeMap<String, String>,
    config: &Config,
) -> Result<(), String> {
    let unknown = overrides.keys().find(|name| find(name).is_none());
    if let Some(name) = unknown {
        return Err(format!("Unknown group config name: {name}"));
    }
    let heartbeat_ms = number(overrides, HEARTBEAT_INTERVAL_MS)?;
    let session_ms = number(overrides, SESSION_TIMEOUT_MS)?;
    let min = config.group_consumer_min_heartbeat_interval_ms;
    let max = config.group_consumer_max_heartbeat_interval_ms;
    check_bounds(HEARTBEAT_INTERVAL_MS, heartbeat_ms, (min, max))?;
    let min = config.group_consumer_min_session_timeout_ms;
    let max = config.group_consumer_max_session_timeout_ms;
    check_bounds(SESSION_TIMEOUT_MS, session_ms, (min, max))?;
    let heartbeat_ms = heartbeat_ms.unwrap_or(config.group_consumer_heartbeat_interval_ms);
    let session_ms = session_ms.unwrap_or(config.group_consumer_session_timeout_ms);
    if session_ms <= heartbeat_ms {
        return Err(format!("{SESSION_TIMEOUT_MS} must be greater than {HEARTBEAT_INTERVAL_MS}"));
    }
    Ok(())
}

fn find(name: &str) -> Option<&'static Key> {
    GROUP_KEYS.iter().find(|key| key.name == name)
}

fn number(overrides: &BTreeMap<String, String>, name: &str) -> Result<Option<i32>, String> {
    let (Some(key), Some(text)) = (find(name), overrides.get(name)) else { return Ok(None) };
    key.parse(text)?;
    Ok(text.trim().parse().ok())
}

fn check_bounds(name: &str, value: Option<i32>, (min, max): (i32, i32)) -> Result<(), String> {
    // The broker's key for a bound has the bound's name after the kind of group.
    let bound = |bound: &str| name.replacen("consumer.", &format!("group.consumer.{bound}."), 1);
    match value {
        Some(value) if value < min => {
            Err(format!("{name} must be greater than or equal to {}", bound("min")))
        }
        Some(value) if value > max => {
            Err(format!("{name} must be less than or equal to {}", bound("max")))
        }
        _ => Ok(()),
    }
}
