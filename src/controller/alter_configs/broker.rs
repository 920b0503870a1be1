//! What brokers have that can be changed while they run.
//!
//! Whether a broker is to be emptied is no config in the metadata but a state of the node.

use crate::base::ids::NodeId;
use crate::config::{
    DRAINING, append_list_value, dynamic_list_default, is_dynamic, subtract_list_value,
};
use crate::controller::alter_configs::{Alteration, Change, Op, Settings, difference, invalid};
use crate::controller::refusal::{Reason, Refusal};
use crate::metadata::image::{Configs, Image};
use crate::metadata::records::{Record, Resource};
use crate::metadata::settings::set_for;

/// What holds for a partition, whichever broker leads it.
const MIN_IN_SYNC: &str = "min.insync.replicas";

/// The records of an alteration that any broker takes for any other: one that is to be emptied may
/// be out of reach.
pub(super) fn alter(
    image: &Image,
    settings: &Settings<'_>,
    alteration: &Alteration,
) -> Result<Vec<Record>, Refusal> {
    let of = target(image, settings.node, &alteration.name)?;
    // One broker has one name, however its number was written.
    let resource = Resource::Broker(of.map(|of| of.to_string()).unwrap_or_default());
    let old = image.configs(&resource);
    let mut before = (*old).clone();
    if of.is_some_and(|of| image.draining.contains(&of)) {
        before.insert(DRAINING.to_owned(), "true".to_owned());
    }
    let mut after = if alteration.replaces_all { Configs::new() } else { before.clone() };
    for change in &alteration.changes {
        match applied(&before, change)? {
            Some(value) => after.insert(change.key.clone(), value),
            None => after.remove(&change.key),
        };
    }
    check_keys(&old, &after, of)?;
    check_values(image, settings, of, &after)?;
    let draining = after.remove(DRAINING);
    let mut records = difference(&resource, &old, &after);
    if let Some(node) = of {
        let is_true = |text: String| text.trim().eq_ignore_ascii_case("true");
        let draining = draining.is_some_and(is_true);
        if draining != image.draining.contains(&node) {
            let fenced = image.fenced.contains(&node);
            records.push(Record::BrokerState { node, fenced, draining });
        }
    }
    Ok(records)
}

/// The new value of a key; `None`: it has none any more.
fn applied(before: &Configs, change: &Change) -> Result<Option<String>, Refusal> {
    let operand = change.value.as_deref().unwrap_or_default();
    let (name, combine): (_, fn(&str, &str) -> String) = match change.op {
        Op::Set => return Ok(change.value.clone()),
        Op::Delete => return Ok(None),
        Op::Append => ("append", append_list_value),
        Op::Subtract => ("subtract", subtract_list_value),
        Op::Unknown(op) => return invalid(format!("Unknown operations type {op}")),
    };
    let default = dynamic_list_default(&change.key, name)
        .map_err(|message| Refusal::new(Reason::InvalidConfig, message))?;
    let current = before.get(&change.key).unwrap_or(&default);
    Ok(Some(combine(current, operand)))
}

/// Which keys may be set for this broker, or for all. To take back what was never set is nothing.
fn check_keys(old: &Configs, after: &Configs, of: Option<NodeId>) -> Result<(), Refusal> {
    let is_fixed = |key: &&str| !is_dynamic(key) && old.get(*key) != after.get(*key);
    let fixed: Vec<&str> = after.keys().map(String::as_str).filter(is_fixed).collect();
    if !fixed.is_empty() {
        let keys = fixed.join(", ");
        return invalid(format!("Cannot update these configs dynamically: [{keys}]"));
    }
    if of.is_none() && after.contains_key(DRAINING) {
        return invalid(format!(
            "Cannot update these configs at default cluster level, broker id must be specified: \
             [{DRAINING}]"
        ));
    }
    if of.is_some() && after.contains_key(MIN_IN_SYNC) {
        let message =
            format!("Broker-level {MIN_IN_SYNC} cannot be altered: set it for all brokers.");
        return Err(Refusal::new(Reason::InvalidConfig, message));
    }
    Ok(())
}

/// Values and the rules between them. Of another broker it is not known what it was started with:
/// the settings of this one stand in for them, and what does not hold there has no effect there.
fn check_values(
    image: &Image,
    settings: &Settings<'_>,
    of: Option<NodeId>,
    after: &Configs,
) -> Result<(), Refusal> {
    let (all, own) = set_for(image, of.unwrap_or(settings.node));
    let (all, own) = if of.is_some() { (&*all, after) } else { (after, &*own) };
    let before = match of {
        Some(of) if of != settings.node => {
            let (all, own) = set_for(image, of);
            settings.fixed.with_dynamic(&all, &own).config
        }
        _ => settings.now.config.clone(),
    };
    let mut checked = settings.fixed.check_dynamic(&before, all, own);
    if of.is_none() && checked.is_ok() {
        // What this broker has for itself must not hide what does not hold on others.
        let of_others = settings.fixed.with_dynamic(all, &Configs::new());
        checked = of_others.warnings.into_iter().next().map_or(Ok(()), Err);
    }
    // Kafka's own code for it.
    checked.map_err(|message| Refusal::new(Reason::InvalidRequest, message))
}

/// The broker that is meant; `None` stands for all.
fn target(image: &Image, node: NodeId, name: &str) -> Result<Option<NodeId>, Refusal> {
    match name.parse::<i32>() {
        _ if name.is_empty() => Ok(None),
        Ok(id) if id == node.0 || image.brokers.contains_key(&NodeId(id)) => Ok(Some(NodeId(id))),
        Ok(_) => invalid(format!("Unexpected broker id, expected {node}, but received {name}")),
        Err(_) => invalid(format!("Node id must be an integer, but it is: {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LOG_DIRS_THROTTLE};
    use crate::controller::alter_configs::ResourceKind;
    use crate::controller::placement::tests::image_with;

    fn run(image: &mut Image, name: &str, changes: &[(&str, Op, &str)]) -> Result<(), String> {
        let changes = changes.iter().map(|(key, op, value)| Change {
            key: (*key).to_owned(),
            op: *op,
            value: (*op != Op::Delete).then(|| (*value).to_owned()),
        });
        let (changes, kind) = (changes.collect(), ResourceKind::Broker);
        let name = name.to_owned();
        let alteration = Alteration { kind, name, changes, replaces_all: false };
        let fixed = Config::load(None, &[]).unwrap();
        let (all, own) = set_for(image, NodeId(1));
        let now = fixed.with_dynamic(&all, &own);
        let settings = Settings { node: NodeId(1), fixed: &fixed, now: &now };
        let records = alter(image, &settings, &alteration);
        let records = records.map_err(|refusal| refusal.message.unwrap())?;
        records.iter().for_each(|record| image.replay(record));
        Ok(())
    }

    #[test]
    fn a_broker_is_drained_by_a_config() {
        let mut image = image_with(&[None; 3]);
        let broker = NodeId(2);
        let known = [broker].into_iter().collect();
        assert_eq!(run(&mut image, "2", &[(DRAINING, Op::Set, "true")]), Ok(()));
        assert_eq!(image.draining, known);
        let rate = ("leader.replication.throttled.rate", Op::Set, "1000");
        assert_eq!(run(&mut image, "2", &[rate]), Ok(()));
        assert_eq!(image.draining, known);
        let resource = Resource::Broker("2".to_owned());
        assert_eq!(image.configs(&resource).get(rate.0).map(String::as_str), Some("1000"));
        assert_eq!(run(&mut image, "2", &[(DRAINING, Op::Delete, "")]), Ok(()));
        assert!(image.draining.is_empty());
        assert_eq!(run(&mut image, "2", &[(rate.0, Op::Delete, "")]), Ok(()));
        assert!(image.configs(&resource).is_empty());
    }

    #[test]
    fn refusals_are_kafkas() {
        let mut image = image_with(&[None; 3]);
        // Whether or not it was set.
        assert_eq!(run(&mut image, "1", &[(LOG_DIRS_THROTTLE, Op::Delete, "")]), Ok(()));
        for (name, key, op, value, text) in [
            ("9", DRAINING, Op::Set, "true", "Unexpected broker id, expected 1, but received 9"),
            ("x", DRAINING, Op::Set, "true", "Node id must be an integer, but it is: x"),
            (
                "",
                DRAINING,
                Op::Set,
                "true",
                "Cannot update these configs at default cluster level, \
                 broker id must be specified: [ottla.broker.draining]",
            ),
            (
                "2",
                "min.insync.replicas",
                Op::Set,
                "2",
                "Broker-level min.insync.replicas cannot be altered: set it for all brokers.",
            ),
            ("2", "foo", Op::Append, "3", "Unknown config name: foo"),
            ("2", "node.id", Op::Set, "3", "Cannot update these configs dynamically: [node.id]"),
            (
                "2",
                DRAINING,
                Op::Append,
                "x",
                "Config value append is not allowed for config key: ottla.broker.draining",
            ),
        ] {
            assert_eq!(run(&mut image, name, &[(key, op, value)]), Err(text.to_owned()));
        }
        let bad = ("follower.replication.throttled.rate", Op::Set, "-1");
        assert!(run(&mut image, "", &[bad]).unwrap_err().starts_with("Invalid value -1"));
    }

    #[test]
    fn values_and_the_rules_between_them_are_kafkas() {
        let mut image = image_with(&[None; 3]);
        let local = "log.local.retention.ms";
        for (key, value, text) in [
            (
                "log.retention.ms",
                "abc",
                "Invalid value abc for configuration log.retention.ms: Not a number of type LONG",
            ),
            (
                "log.retention.ms",
                "0",
                "Invalid value 0 for configuration log.retention.ms: \
                 log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
            ),
            (
                "log.segment.bytes",
                "1000",
                "Invalid value 1000 for configuration log.segment.bytes: \
                 Value must be at least 1048576",
            ),
            ("log.cleaner.threads", "0", "Log cleaner threads should be at least 1"),
            (
                "log.cleaner.threads",
                "5",
                "Log cleaner threads cannot be increased to more than double the current value 1",
            ),
            (
                "log.cleaner.dedupe.buffer.size",
                "1048576",
                "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
            ),
            ("max.connections", "0", "Invalid max.connections 0"),
            (
                local,
                "604800001",
                "Invalid value 604800001 for configuration log.local.retention.ms: \
                 Value must not be more than log.retention.ms property value: 604800000",
            ),
            (
                local,
                "-1",
                "Invalid value -1 for configuration log.local.retention.ms: \
                 Value must not be -1 as log.retention.ms value is set as 604800000.",
            ),
            ("log.cleaner.min.compaction.lag.ms", "9223372036854775807", ""),
        ] {
            for broker in ["", "1", "2"] {
                let set = run(&mut image, broker, &[(key, Op::Set, value)]);
                assert_eq!(set.err().unwrap_or_default(), text, "{key}={value}");
            }
        }
        let max = ("log.cleaner.max.compaction.lag.ms", Op::Set, "5");
        assert!(run(&mut image, "1", &[max]).unwrap_err().starts_with("conflict topic config"));
        // What a broker has decides whether a number is too large for it.
        assert_eq!(run(&mut image, "1", &[("log.cleaner.threads", Op::Set, "2")]), Ok(()));
        assert_eq!(run(&mut image, "1", &[("log.cleaner.threads", Op::Set, "4")]), Ok(()));
        assert!(run(&mut image, "2", &[("log.cleaner.threads", Op::Set, "4")]).is_err());
        // One that was set before, by another version, is no hindrance.
        let (resource, key) = (Resource::Broker("1".to_owned()), "foo".to_owned());
        image.replay(&Record::Config { resource, key, value: Some("x".to_owned()) });
        assert_eq!(run(&mut image, "1", &[("log.cleaner.threads", Op::Set, "5")]), Ok(()));
    }

    #[test]
    fn what_one_broker_has_hides_nothing_from_the_others() {
        let mut image = image_with(&[None; 3]);
        let lag = |which, value| [(which, Op::Set, value)];
        let (min, max) = ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms");
        assert_eq!(run(&mut image, "01", &lag(max, "100")), Ok(()));
        // However its number was written.
        let own = image.configs(&Resource::Broker("1".to_owned()));
        assert_eq!(own.get(max).map(String::as_str), Some("100"));
        assert_eq!(run(&mut image, "", &lag(min, "10")), Ok(()));
        assert!(run(&mut image, "", &lag(max, "5")).is_err());
        assert_eq!(run(&mut image, "", &lag(max, "50")), Ok(()));
    }

    #[test]
    fn a_list_is_changed_item_by_item() {
        let mut image = image_with(&[None; 3]);
        let policy = |image: &Image, broker: &str| {
            let configs = image.configs(&Resource::Broker(broker.to_owned()));
            configs.get("log.cleanup.policy").cloned()
        };
        let change = |op, value| [("log.cleanup.policy", op, value)];
        run(&mut image, "", &change(Op::Append, "compact")).unwrap();
        assert_eq!(policy(&image, "").as_deref(), Some("delete,compact"));
        run(&mut image, "", &change(Op::Subtract, "delete")).unwrap();
        assert_eq!(policy(&image, "").as_deref(), Some("compact"));
        // As in Kafka, it begins with the default and not with what all brokers have.
        run(&mut image, "2", &change(Op::Append, "compact")).unwrap();
        assert_eq!(policy(&image, "2").as_deref(), Some("delete,compact"));
    }
}
