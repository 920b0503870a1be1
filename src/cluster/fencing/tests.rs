//! Who is fenced, and when.

use std::collections::BTreeMap;

use super::*;
use crate::metadata::records::BrokerRecord;

const OWN: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

struct Scene {
    image: Image,
    fencing: Fencing,
    alive: BTreeMap<NodeId, u64>,
    heard: BTreeMap<NodeId, u64>,
    now: Duration,
}

fn scene() -> Scene {
    let mut image = Image::default();
    for node in [OWN, OTHER] {
        let broker = BrokerRecord { incarnation: 5, ..BrokerRecord::new(node) };
        image.replay(&Record::Broker(broker));
    }
    let (fencing, alive) = (Fencing::default(), BTreeMap::new());
    Scene { image, fencing, alive, heard: BTreeMap::new(), now: Duration::ZERO }
}

impl Scene {
    /// What is written now; the next look.
    fn look(&mut self) -> (Vec<Record>, Option<Duration>) {
        let alive = self.alive.clone();
        let alive = |node| alive.get(&node).copied();
        let heard = self.heard.clone();
        let heard = |node| heard.get(&node).copied();
        let view = View { own: OWN, alive: &alive, heard: &heard, now: self.now };
        self.fencing.observe(&self.image, &view);
        let records = self.fencing.records(&self.image, &view);
        records.iter().for_each(|record| self.image.replay(record));
        (records, self.fencing.next_look(&self.image, &view))
    }

    fn is_fenced_after_look(&mut self) -> bool {
        self.look();
        self.image.fenced.contains(&OTHER)
    }
}

#[test]
fn a_silent_node_has_time_and_is_then_fenced() {
    let mut scene = scene();
    assert_eq!(scene.look(), (Vec::new(), Some(GRACE)));
    scene.now = GRACE;
    let fenced = Record::BrokerState { node: OTHER, fenced: true, draining: false };
    assert_eq!(scene.look(), (vec![fenced], None));
    assert_eq!(scene.look(), (Vec::new(), None));
}

#[test]
fn a_node_that_was_heard_is_fenced_at_once() {
    let mut scene = scene();
    scene.alive.insert(OTHER, 5);
    assert!(!scene.is_fenced_after_look());
    scene.alive.clear();
    assert!(scene.is_fenced_after_look());
    scene.alive.insert(OTHER, 5);
    assert!(!scene.is_fenced_after_look());
}

#[test]
fn a_new_leader_does_not_wait_for_who_it_knows_has_gone() {
    let mut scene = scene();
    scene.heard.insert(OTHER, 4);
    assert!(!scene.is_fenced_after_look());
    scene.heard.insert(OTHER, 5);
    assert!(scene.is_fenced_after_look());
}

#[test]
fn a_new_start_counts_once_it_is_registered() {
    let mut scene = scene();
    scene.alive.insert(OTHER, 5);
    assert!(!scene.is_fenced_after_look());
    scene.alive.insert(OTHER, 6);
    assert!(scene.is_fenced_after_look());
    let broker = BrokerRecord { incarnation: 6, ..BrokerRecord::new(OTHER) };
    scene.image.replay(&Record::Broker(broker));
    assert!(!scene.is_fenced_after_look());
    // Registered before it is heard: it has its time anew.
    let broker = BrokerRecord { incarnation: 7, ..BrokerRecord::new(OTHER) };
    scene.image.replay(&Record::Broker(broker));
    scene.now = GRACE * 3;
    assert!(!scene.is_fenced_after_look());
    scene.now = GRACE * 4;
    assert!(scene.is_fenced_after_look());
}

#[test]
fn fencing_keeps_that_a_node_drains() {
    let mut scene = scene();
    scene.image.replay(&Record::BrokerState { node: OTHER, fenced: false, draining: true });
    scene.now = GRACE;
    scene.look();
    scene.now = GRACE * 2;
    scene.look();
    assert!(scene.image.fenced.contains(&OTHER) && scene.image.draining.contains(&OTHER));
}

#[test]
fn the_leader_does_not_fence_itself() {
    let mut scene = scene();
    scene.look();
    scene.now = GRACE * 9;
    scene.look();
    assert!(!scene.image.fenced.contains(&OWN));
}
