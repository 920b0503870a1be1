//! A classic group of consumers becomes a consumer group when a member joins by the new protocol
//! (KIP-848): its members stay, with what they have, and are told to join again.

use kafka_protocol::ResponseError as Code;

use crate::coordinator::group::Groups;
use crate::coordinator::group::classic::{ClassicGroup, ClassicMember};
use crate::coordinator::group::consumer::embedded::{Assigned, Subscription, by_id};
use crate::coordinator::group::consumer::{ConsumerGroup, MemberState, Refused};
use crate::coordinator::group::timers::TimerKind;
use crate::coordinator::records::{
    ClassicMetadata, CurrentValue, EpochedPartitions, GroupValue, MemberValue, Partitions, Record,
    TargetEpochValue,
};
use crate::coordinator::step::Step;
use crate::metadata::image::Image;

/// What becomes of a classic group.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// The group as these records make it.
    pub(super) group: ConsumerGroup,
    records: Vec<Record>,
}

impl Upgrade {
    fn add(&mut self, record: Record) {
        self.group.replay(record.clone());
        self.records.push(record);
    }

    pub(super) fn plan(name: &str, classic: &ClassicGroup, image: &Image) -> Result<Self, Refused> {
        let mut plan = Self { group: ConsumerGroup::default(), records: Vec::new() };
        let mut all_assigned = Vec::new();
        let group = || name.to_owned();
        for member in classic.members.values() {
            let value = member_value(classic, member).ok_or_else(|| malformed(name))?;
            let value = Some(value);
            plan.add(Record::Member { group: group(), member: member.id.clone(), value });
            all_assigned.push((member.id.clone(), assigned(name, member, image)?));
        }
        let (epoch, metadata_hash) = (classic.generation, plan.group.compute_metadata_hash(image));
        let value = Some(GroupValue { epoch, metadata_hash });
        plan.add(Record::Group { group: group(), value });
        let value = Some(TargetEpochValue { epoch, timestamp_ms: 0 });
        plan.add(Record::TargetEpoch { group: group(), value });
        for (member, mut assigned) in all_assigned {
            // A leader may have assigned a partition twice: it stays with one of the two.
            for (topic, partitions) in &mut assigned {
                partitions.retain(|partition| plan.group.owner(*topic, *partition).is_none());
            }
            assigned.retain(|_, partitions| !partitions.is_empty());
            let value = Some(current(epoch, &assigned));
            plan.add(Record::Current { group: group(), member: member.clone(), value });
            plan.add(Record::TargetMember { group: group(), member, value: Some(assigned) });
        }
        Ok(plan)
    }
}

impl Groups {
    /// Whether the group can be a consumer group (`validateOnlineUpgrade`).
    pub(super) fn plan_upgrade(
        &self,
        name: &str,
        classic: &ClassicGroup,
        image: &Image,
    ) -> Result<Upgrade, Refused> {
        if !self.settings.config.group_consumer_migration_policy.may_upgrade() {
            return Err(cannot(name, "online upgrade is disabled."));
        }
        if !classic.uses_consumer_protocol() {
            return Err(cannot(name, "the group does not use the consumer embedded protocol."));
        }
        let size_max = self.settings.config.group_consumer_max_size;
        if i32::try_from(classic.members.len()).is_ok_and(|size| size > size_max) {
            let why = "the group size exceeds the consumer group maximum size.";
            return Err(cannot(name, why));
        }
        Upgrade::plan(name, classic, image)
    }

    pub(super) fn upgrade(&mut self, step: &mut Step, name: &str, upgrade: Upgrade) {
        tracing::info!(group = name, "classic group becomes a consumer group");
        self.send_to_rejoin(step, name);
        self.emit(step, Record::ClassicGroup { group: name.to_owned(), value: None });
        let members = upgrade.group.members;
        self.emit_all(step, upgrade.records);
        for (member, of) in members {
            if let Some(classic) = of.value.classic {
                let kind = TimerKind::Session { member };
                self.set_consumer_timer(step, name, kind, classic.session_timeout_ms);
            }
        }
    }
}

fn cannot(name: &str, why: &str) -> Refused {
    let message = format!("Cannot upgrade classic group {name} to consumer group because {why}");
    Refused::new(Code::GroupIdNotFound, message)
}

fn malformed(name: &str) -> Refused {
    cannot(name, "the embedded consumer protocol is malformed.")
}

fn member_value(classic: &ClassicGroup, member: &ClassicMember) -> Option<MemberValue> {
    let metadata = match &classic.protocol {
        Some(protocol) => member.metadata(protocol),
        None => member.protocols.first()?.1.clone(),
    };
    let subscription = Subscription::decode(metadata)?;
    Some(MemberValue {
        instance_id: member.instance_id.clone(),
        rack_id: subscription.rack_id,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topic_names: subscription.topics.into_iter().collect(),
        topic_regex: Some(String::new()),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        assignor: None,
        classic: Some(ClassicMetadata {
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols.clone(),
        }),
    })
}

fn assigned(name: &str, member: &ClassicMember, image: &Image) -> Result<Partitions, Refused> {
    // It may not have synced yet.
    if member.assignment.is_empty() {
        return Ok(Partitions::new());
    }
    let assigned = Assigned::decode(member.assignment.clone()).ok_or_else(|| malformed(name))?;
    if assigned.has_user_data {
        let why = "an unsupported custom assignor is in use. Please refer to the documentation \
                   or switch to a default assignor before re-attempting the upgrade.";
        return Err(cannot(name, why));
    }
    Ok(by_id(&assigned.partitions, image))
}

fn current(epoch: i32, assigned: &Partitions) -> CurrentValue {
    let at_epoch = assigned.iter().map(|(topic, partitions)| {
        (*topic, partitions.iter().map(|partition| (*partition, epoch)).collect())
    });
    CurrentValue {
        member_epoch: epoch,
        previous_member_epoch: epoch,
        state: MemberState::Stable.value(),
        assigned: at_epoch.collect(),
        pending_revocation: EpochedPartitions::new(),
    }
}
