//! What brokers have that can be changed while they run.
//!
//! Whether a broker is to be emptied is no config in the metadata but a state of the node.

use crate::base::ids::NodeId;
use crate::config::{DRAINING, is_dynamic, validate_dynamic};
use crate::controller::alter_configs::{Alteration, Op, difference, invalid};
use crate::controller::refusal::{Reason, Refusal};
use crate::metadata::image::{Configs, Image};
use crate::metadata::records::{Record, Resource};

/// The records of an alteration that any broker takes for any other: one that is to be emptied may
/// be out of reach.
pub(super) fn alter(
    image: &Image,
    node: NodeId,
    alteration: &Alteration,
) -> Result<Vec<Record>, Refusal> {
    let of = target(image, node, &alteration.name)?;
    let is_unknown = |key: &str| !is_dynamic(key) || (key == DRAINING && of.is_none());
    let keys = alteration.changes.iter().map(|change| change.key.as_str());
    let unknown: Vec<&str> = keys.filter(|key| is_unknown(key)).collect();
    if !unknown.is_empty() {
        let keys = unknown.join(", ");
        return invalid(format!("Cannot update these configs dynamically: [{keys}]"));
    }
    let resource = Resource::Broker(alteration.name.clone());
    let old = image.configs(&resource);
    let mut new = if alteration.replaces_all { Configs::new() } else { (*old).clone() };
    let mut is_draining = of.map(|of| !alteration.replaces_all && image.draining.contains(&of));
    for change in &alteration.changes {
        let value = match change.op {
            Op::Set => change.value.clone(),
            Op::Delete => None,
            Op::Append | Op::Subtract => {
                let name = if change.op == Op::Append { "APPEND" } else { "SUBTRACT" };
                let key = &change.key;
                let message = format!("Can't {name} to key {key} because its type is not LIST.");
                return Err(Refusal::new(Reason::InvalidConfig, message));
            }
            Op::Unknown(op) => return invalid(format!("Unknown operations type {op}")),
        };
        if let Some(value) = &value {
            validate_dynamic(&change.key, value)
                .map_err(|message| Refusal::new(Reason::InvalidConfig, message))?;
        }
        match value {
            value if change.key == DRAINING => {
                let is_true = |text: String| text.trim().eq_ignore_ascii_case("true");
                is_draining = Some(value.is_some_and(is_true));
            }
            Some(value) => {
                new.insert(change.key.clone(), value);
            }
            None => {
                new.remove(&change.key);
            }
        }
    }
    let mut records = difference(&resource, &old, &new);
    if let (Some(node), Some(draining)) = (of, is_draining)
        && draining != image.draining.contains(&node)
    {
        let fenced = image.fenced.contains(&node);
        records.push(Record::BrokerState { node, fenced, draining });
    }
    Ok(records)
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
    use crate::config::LOG_DIRS_THROTTLE;
    use crate::controller::alter_configs::{Change, ResourceKind};
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
        let records = alter(image, NodeId(1), &alteration);
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
                "Cannot update these configs dynamically: [ottla.broker.draining]",
            ),
            ("2", "node.id", Op::Set, "3", "Cannot update these configs dynamically: [node.id]"),
            (
                "2",
                DRAINING,
                Op::Append,
                "x",
                "Can't APPEND to key ottla.broker.draining because its type is not LIST.",
            ),
        ] {
            assert_eq!(run(&mut image, name, &[(key, op, value)]), Err(text.to_owned()));
        }
        let bad = ("follower.replication.throttled.rate", Op::Set, "-1");
        assert!(run(&mut image, "", &[bad]).unwrap_err().starts_with("Invalid value -1"));
    }
}
