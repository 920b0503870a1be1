//! The table of scenarios. Each breaks the cluster in its way while clients work, again and again;
//! what must hold afterwards is the same for all (`verdict`).

mod crashes;
mod moves;
pub(crate) use moves::lead;
mod networks;
mod pauses;

use crate::broker::Broker;
use crate::rig::{Disk, Net};
use crate::run::{Form, Needs, Run};

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) needs: Needs,
    pub(crate) rank: Rank,
    pub(crate) run: Fault,
}

/// Breaks something, and waits until it is whole again.
pub(crate) type Fault = fn(&mut Run) -> Result<(), String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Part of every run.
    Core,
    /// Left out of the short form.
    Long,
    /// It asks more than Apache Kafka promises or can do here.
    OttlaCore,
    OttlaLong,
}

impl Scenario {
    pub(crate) fn is_for(&self, broker: Broker) -> bool {
        broker == Broker::Ottla || matches!(self.rank, Rank::Core | Rank::Long)
    }

    pub(crate) fn is_short(&self) -> bool {
        matches!(self.rank, Rank::Core | Rank::OttlaCore)
    }

    /// Why it can not run here.
    pub(crate) fn obstacle(&self) -> Option<String> {
        self.needs.net.obstacle().or_else(|| self.needs.disk.obstacle())
    }
}

const LOOPBACK: Needs = Needs { nodes: 3, net: Net::Loopback, disk: Disk::Folder };
const FIVE: Needs = Needs { nodes: 5, ..LOOPBACK };
const HOSTS: Needs = Needs { net: Net::Namespaces, ..LOOPBACK };
const ALONE: Needs = Needs { nodes: 1, ..DISKS };
const DISKS: Needs = Needs { disk: Disk::Image, ..LOOPBACK };

const EVERYTHING: Needs = Needs { disk: Disk::Image, ..HOSTS };

const fn scenario(
    name: &'static str,
    what: &'static str,
    needs: Needs,
    rank: Rank,
    run: Fault,
) -> Scenario {
    Scenario { name, what, needs, rank, run }
}

pub(crate) const ALL: &[Scenario] = &[
    scenario("kill-leader", "kill -9 of a leader", LOOPBACK, Rank::Core, crashes::kill_leader),
    scenario(
        "kill-follower",
        "kill -9 of a follower",
        LOOPBACK,
        Rank::Long,
        crashes::kill_follower,
    ),
    scenario(
        "kill-controller",
        "kill -9 of the controller",
        LOOPBACK,
        Rank::Long,
        crashes::kill_controller,
    ),
    scenario("kill-all", "kill -9 of all nodes at once", LOOPBACK, Rank::Core, crashes::kill_all),
    scenario(
        "leader-alone",
        "followers freeze, then the leader is killed",
        LOOPBACK,
        Rank::Core,
        crashes::leader_alone,
    ),
    scenario(
        "majority-loss",
        "two of three nodes are down",
        LOOPBACK,
        Rank::Long,
        crashes::majority_loss,
    ),
    scenario(
        "rolling-restart",
        "SIGTERM of one node after the other",
        LOOPBACK,
        Rank::Core,
        crashes::rolling_restart,
    ),
    scenario("pause-leader", "SIGSTOP of a leader", LOOPBACK, Rank::Core, pauses::leader),
    scenario("pause-follower", "SIGSTOP of a follower", LOOPBACK, Rank::Long, pauses::follower),
    scenario("pause-all", "SIGSTOP of all nodes", LOOPBACK, Rank::Long, pauses::all),
    scenario(
        "slow-follower",
        "each sync of a follower's disk takes half a second",
        LOOPBACK,
        Rank::OttlaLong,
        pauses::slow_follower,
    ),
    scenario(
        "isolate-leader",
        "a leader and its peers do not hear each other; clients reach all",
        HOSTS,
        Rank::OttlaCore,
        networks::isolate_leader,
    ),
    scenario(
        "isolate-follower",
        "the same with a follower",
        HOSTS,
        Rank::Long,
        networks::isolate_follower,
    ),
    scenario(
        "deaf-leader",
        "a leader does not hear its peers, though they hear it",
        HOSTS,
        Rank::OttlaCore,
        networks::deaf_leader,
    ),
    scenario(
        "mute-leader",
        "a leader is not heard by its peers, though it hears them",
        HOSTS,
        Rank::OttlaCore,
        networks::mute_leader,
    ),
    scenario(
        "ring",
        "of five nodes, each hears its neighbours alone",
        Needs { nodes: 5, ..HOSTS },
        Rank::OttlaLong,
        networks::ring,
    ),
    scenario(
        "loss",
        "packets between a leader and its peers are lost",
        HOSTS,
        Rank::Long,
        networks::loss,
    ),
    scenario("vanish", "a leader's cable is pulled", HOSTS, Rank::Long, networks::vanish),
    scenario(
        "power-cut-alone",
        "the power of the only node is cut, fifty times",
        ALONE,
        Rank::OttlaLong,
        crashes::power_cut_alone,
    ),
    scenario(
        "power-cut-one",
        "the power of one node is cut",
        DISKS,
        Rank::Long,
        crashes::power_cut_one,
    ),
    scenario(
        "power-cut-majority",
        "the power of two nodes is cut",
        DISKS,
        Rank::OttlaLong,
        crashes::power_cut_majority,
    ),
    scenario(
        "power-cut-all",
        "the power of all nodes is cut",
        DISKS,
        Rank::OttlaCore,
        crashes::power_cut_all,
    ),
    scenario(
        "mixed",
        "one fault after the other, of all kinds",
        EVERYTHING,
        Rank::OttlaLong,
        mixed,
    ),
    scenario(
        "lost-disk",
        "a node's disk is lost; another node takes its place",
        LOOPBACK,
        Rank::OttlaLong,
        moves::lost_disk,
    ),
    scenario(
        "reassign",
        "replicas move between five nodes, which are killed meanwhile",
        FIVE,
        Rank::Long,
        moves::reassign,
    ),
    scenario(
        "leader-storm",
        "leaders change every second",
        LOOPBACK,
        Rank::Core,
        moves::leader_storm,
    ),
];

/// What can follow upon anything else.
const MIXED: &[Fault] = &[
    crashes::kill_leader,
    crashes::kill_follower,
    crashes::kill_controller,
    crashes::kill_all,
    crashes::leader_alone,
    crashes::majority_loss,
    crashes::power_cut_one,
    crashes::power_cut_majority,
    crashes::power_cut_all,
    pauses::leader,
    pauses::follower,
    pauses::all,
    networks::isolate_leader,
    networks::isolate_follower,
    networks::deaf_leader,
    networks::mute_leader,
    networks::loss,
    networks::vanish,
    moves::leader_storm,
];

fn mixed(run: &mut Run) -> Result<(), String> {
    let rounds = run.rounds(5, 40);
    let form = std::mem::replace(&mut run.settings.form, Form::Once);
    for _ in 0..rounds {
        let fault = run.rng.pick(MIXED).ok_or("no faults")?;
        fault(run)?;
    }
    run.settings.form = form;
    Ok(())
}
