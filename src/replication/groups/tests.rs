//! Who stands for election, and who votes, with groups that only note what they are told.

use std::sync::atomic::AtomicUsize;

use futures_util::stream::{self, BoxStream};

use super::*;
use crate::base::env::Env;
use crate::base::ids::{DirectoryId, Endpoint, TopicId};
use crate::base::net::{Net, SimNet, SocketOptions};
use crate::base::task::Stopper;
use crate::log::entry::EntryId;
use crate::peer::{Me, Service};
use crate::replication::codec;
use crate::replication::groups::campaign::Campaigns;
use crate::replication::groups::care::SWEEP;
use crate::replication::wire::Address;

/// A group as the test wants it.
struct Fake {
    id: TopicPartition,
    status: Mutex<Status>,
    last: Option<EntryId>,
    founders: Option<Vec<NodeId>>,
    campaigns: AtomicUsize,
    greeted: Mutex<Vec<NodeId>>,
    founded: Mutex<Vec<Vec<NodeId>>>,
}

fn id(partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId([1; 16]), partition }
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

impl Fake {
    fn status_of(voters: &[i32], leader: Option<i32>) -> Status {
        Status {
            leads: leader == Some(1),
            leader: leader.map(NodeId),
            term: 1,
            candidate: None,
            voters: nodes(voters).into_iter().collect(),
            learners: BTreeSet::new(),
        }
    }

    fn new(partition: i32, voters: &[i32], last_index: u64) -> Self {
        Self {
            id: id(partition),
            status: Mutex::new(Self::status_of(voters, None)),
            last: Some(EntryId { term: 1, index: last_index }),
            founders: None,
            campaigns: AtomicUsize::new(0),
            greeted: Mutex::default(),
            founded: Mutex::default(),
        }
    }

    fn set_leader(&self, leader: Option<i32>) {
        let mut status = self.status.lock().unwrap();
        status.leader = leader.map(NodeId);
        status.leads = leader == Some(1);
    }

    fn set_candidate(&self, term: u64, candidate: i32) {
        let mut status = self.status.lock().unwrap();
        (status.term, status.candidate) = (term, Some(NodeId(candidate)));
    }

    fn campaigns(&self) -> usize {
        self.campaigns.load(Ordering::Relaxed)
    }
}

fn address(id: TopicPartition) -> Address {
    Address { id, lineage: 0 }
}

impl Group for Fake {
    fn address(&self) -> Address {
        address(self.id)
    }

    fn status(&self) -> Status {
        self.status.lock().unwrap().clone()
    }

    fn preference(&self) -> Arc<[NodeId]> {
        Arc::from([])
    }

    fn founders(&self) -> Option<Vec<NodeId>> {
        self.founders.clone()
    }

    fn is_serving(&self) -> bool {
        true
    }

    fn is_running(&self) -> bool {
        true
    }

    fn last_entry(&self) -> Option<EntryId> {
        self.last
    }

    fn has_quorum(&self, has: &dyn Fn(NodeId) -> bool) -> bool {
        let voters = self.status().voters;
        voters.iter().filter(|node| has(**node)).count() * 2 > voters.len()
    }

    fn is_led_without(&self, candidate: NodeId) -> bool {
        self.status().leader.is_some_and(|leader| leader != candidate)
    }

    fn campaign(&self) -> BoxFuture<'static, ()> {
        self.campaigns.fetch_add(1, Ordering::Relaxed);
        std::future::ready(()).boxed()
    }

    fn initialize(&self, members: Vec<NodeId>) -> BoxFuture<'static, ()> {
        self.founded.lock().unwrap().push(members);
        std::future::ready(()).boxed()
    }

    fn greet(&self, node: NodeId) -> BoxFuture<'static, ()> {
        self.greeted.lock().unwrap().push(node);
        std::future::ready(()).boxed()
    }

    fn lay_down(&self) {}

    fn leader_resigned(&self, _node: NodeId) {
        self.set_leader(None);
    }

    fn receive(
        &self,
        _from: NodeId,
        _kind: Kind,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Body, String>> {
        std::future::ready(Ok(vec![body])).boxed()
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        stream::pending().boxed()
    }
}

/// Answers the other node, and counts how often it asks for votes.
struct Receiver {
    groups: Groups,
    asked: Arc<AtomicUsize>,
}

impl Service for Receiver {
    fn handle(
        &self,
        from: Option<NodeId>,
        kind: Kind,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Body, String>> {
        let from = from.expect("nodes have identities");
        self.asked.fetch_add(usize::from(kind == Kind::Campaign), Ordering::Relaxed);
        self.groups.receive(from, kind, body)
    }
}

struct Node {
    groups: Groups,
    asked: Arc<AtomicUsize>,
    _stopper: Stopper,
}

/// Nodes 1 and 2, which hear each other.
async fn two_nodes() -> [Node; 2] {
    let env = Env { net: Net::Sim(SimNet::default()), ..Env::real().unwrap() };
    let mut made = Vec::new();
    let mut endpoints = BTreeMap::new();
    for node in nodes(&[1, 2]) {
        let directory = DirectoryId([7; 16]);
        let me = Me { node, cluster_id: "c".to_owned(), directory, incarnation: 1 };
        let peers = Peers::new(env.clone(), me);
        let groups = Groups::new(node, peers.clone());
        let port = if node == NodeId(1) { 9001 } else { 9002 };
        let listener = env.net.bind("127.0.0.1", port, SocketOptions::default()).await.unwrap();
        let (listener_name, host) = ("CONTROLLER".to_owned(), "127.0.0.1".to_owned());
        endpoints.insert(node, Endpoint { listener: listener_name, host, port });
        let (asked, stopper) = (Arc::<AtomicUsize>::default(), Stopper::default());
        let service = Receiver { groups: groups.clone(), asked: Arc::clone(&asked) };
        peers.serve(listener, Arc::new(service), stopper.stopping());
        made.push(Node { groups, asked, _stopper: stopper });
    }
    for node in &made {
        node.groups.peers().set_nodes(endpoints.clone());
    }
    for node in &made {
        let liveness = node.groups.peers().liveness();
        let mut changes = liveness.subscribe();
        while !nodes(&[1, 2]).into_iter().all(|node| liveness.is_alive(node)) {
            changes.changed().await.unwrap();
        }
    }
    made.try_into().ok().unwrap()
}

/// One node that hears nobody.
fn lonely_groups() -> Groups {
    Groups::new(NodeId(1), Peers::without_identity(Env::real().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn a_majority_is_asked_and_those_that_are_gone_are_not() {
    let [one, two] = two_nodes().await;
    let mine = Arc::new(Fake::new(0, &[1, 2, 3], 5));
    one.groups.add(Arc::clone(&mine) as Arc<dyn Group>);
    let theirs = Arc::new(Fake::new(0, &[1, 2, 3], 5));
    two.groups.add(Arc::clone(&theirs) as Arc<dyn Group>);
    // Node 3 is not there: one more vote is a majority.
    Campaigns::new(NodeId(1)).round(&one.groups, one.groups.shared.all()).await;
    assert_eq!((mine.campaigns(), two.asked.load(Ordering::Relaxed)), (1, 1));
    // A leader that the other node sees is not disturbed.
    theirs.set_leader(Some(2));
    Campaigns::new(NodeId(1)).round(&one.groups, one.groups.shared.all()).await;
    assert_eq!((mine.campaigns(), two.asked.load(Ordering::Relaxed)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn voters_take_turns() {
    let [_one, two] = two_nodes().await;
    let group = Arc::new(Fake::new(0, &[1, 2, 3], 5));
    two.groups.add(Arc::clone(&group) as Arc<dyn Group>);
    let mut campaigns = Campaigns::new(NodeId(2));
    let begun = Instant::now();
    // Node 1 is alive and comes first.
    let next = campaigns.round(&two.groups, two.groups.shared.all()).await;
    assert!(next > begun && next < begun + SWEEP);
    tokio::time::sleep_until(next).await;
    let later = campaigns.round(&two.groups, two.groups.shared.all()).await;
    assert!(later > next, "it has been this node's turn");
    // Node 1 has no such group and does not vote.
    assert_eq!(group.campaigns(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_election_that_is_under_way_is_not_disturbed() {
    let [one, two] = two_nodes().await;
    let mine = Arc::new(Fake::new(0, &[1, 2, 3], 5));
    for node in [&one, &two] {
        node.groups.add(Arc::clone(&mine) as Arc<dyn Group>);
    }
    let mut campaigns = Campaigns::new(NodeId(1));
    // Node 2 was voted for, and then another time: each has its time to win.
    for term in 2..6 {
        mine.set_candidate(term, 2);
        let before = Instant::now();
        let next = campaigns.round(&one.groups, one.groups.shared.all()).await;
        assert!(next > before && mine.campaigns() == 0, "term {term}");
        tokio::time::sleep((next - before) / 2).await;
    }
    // It did not win.
    let next = campaigns.round(&one.groups, one.groups.shared.all()).await;
    tokio::time::sleep_until(next).await;
    campaigns.round(&one.groups, one.groups.shared.all()).await;
    assert_eq!(mine.campaigns(), 1);
    // A candidate that has gone is not waited for.
    mine.set_candidate(9, 3);
    Campaigns::new(NodeId(1)).round(&one.groups, one.groups.shared.all()).await;
    assert_eq!(mine.campaigns(), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_campaigns_without_a_majority() {
    let groups = lonely_groups();
    let alone = Arc::new(Fake::new(0, &[1], 5));
    let cut_off = Arc::new(Fake::new(1, &[1, 2, 3], 5));
    let elsewhere = Arc::new(Fake::new(2, &[2], 5));
    for group in [&alone, &cut_off, &elsewhere] {
        groups.add(Arc::clone(group) as Arc<dyn Group>);
    }
    let mut campaigns = Campaigns::new(NodeId(1));
    for _ in 0..3 {
        let next = campaigns.round(&groups, groups.shared.all()).await;
        tokio::time::sleep_until(next).await;
    }
    assert!(alone.campaigns() > 0);
    assert_eq!((cut_off.campaigns(), elsewhere.campaigns()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_vacancy_ends_with_a_leader_and_with_the_group() {
    let groups = lonely_groups();
    let group = Arc::new(Fake::new(0, &[1], 5));
    groups.add(Arc::clone(&group) as Arc<dyn Group>);
    let mut campaigns = Campaigns::new(NodeId(1));
    let idle = async |campaigns: &mut Campaigns| {
        let before = Instant::now();
        campaigns.round(&groups, groups.shared.all()).await >= before + SWEEP
    };
    assert!(!idle(&mut campaigns).await);
    group.set_leader(Some(1));
    assert!(idle(&mut campaigns).await);
    group.set_leader(None);
    assert!(!idle(&mut campaigns).await);
    assert_eq!(group.campaigns(), 2);
    groups.remove(id(0));
    campaigns.forget(id(0));
    assert!(idle(&mut campaigns).await);
    assert_eq!(group.campaigns(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_group_is_made_and_not_campaigned_for() {
    let groups = lonely_groups();
    let group = Arc::new(Fake { founders: Some(nodes(&[1, 2])), ..Fake::new(0, &[], 0) });
    groups.add(Arc::clone(&group) as Arc<dyn Group>);
    Campaigns::new(NodeId(1)).round(&groups, groups.shared.all()).await;
    assert_eq!(*group.founded.lock().unwrap(), [nodes(&[1, 2])]);
    assert_eq!(group.campaigns(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_about_to_stop_campaigns_for_nothing() {
    let groups = lonely_groups();
    let group = Arc::new(Fake::new(0, &[1], 5));
    groups.add(Arc::clone(&group) as Arc<dyn Group>);
    groups.retire();
    Campaigns::new(NodeId(1)).round(&groups, groups.shared.all()).await;
    assert_eq!(group.campaigns(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_resigns_is_none() {
    let groups = lonely_groups();
    let group = Arc::new(Fake::new(4, &[1, 2], 5));
    groups.add(Arc::clone(&group) as Arc<dyn Group>);
    groups.changed().await;
    group.set_leader(Some(2));
    let mut body = bytes::BytesMut::new();
    wire::put_group(&mut body, address(id(4)));
    let body = body.freeze();
    assert!(groups.receive(NodeId(2), Kind::Resign, body.slice(..7)).await.is_err());
    assert!(group.status().leader.is_some());
    groups.receive(NodeId(2), Kind::Resign, body).await.unwrap();
    assert_eq!(group.status().leader, None);
    assert_eq!(groups.changed().await, BTreeSet::from([id(4)]));
}

#[tokio::test(start_paused = true)]
async fn votes_go_to_who_has_as_much_and_disturb_no_leader() {
    let groups = lonely_groups();
    let vacant = Arc::new(Fake::new(0, &[1, 2], 5));
    let led = Arc::new(Fake::new(1, &[1, 2, 3], 5));
    led.set_leader(Some(1));
    for group in [&vacant, &led] {
        groups.add(Arc::clone(group) as Arc<dyn Group>);
    }
    let bid_of = |lineage: u32, partition: i32, last: Option<EntryId>| {
        let mut body = bytes::BytesMut::new();
        wire::put_group(&mut body, Address { id: id(partition), lineage });
        let mut log_id = Vec::new();
        codec::put_log_id(&mut log_id, last.map(codec::log_id).as_ref());
        body.extend_from_slice(&log_id);
        body.freeze()
    };
    let bid = |partition: i32, last: Option<EntryId>| bid_of(0, partition, last);
    let last = |term, index| Some(EntryId { term, index });
    let bids = [
        // Of those who have gone on from elsewhere.
        (bid_of(1, 0, last(9, 9)), 0),
        (bid(0, last(1, 5)), 1),
        (bid(0, last(1, 4)), 0),
        (bid(0, last(2, 1)), 1),
        (bid(0, None), 0),
        (bid(1, last(9, 9)), 0),
        // Not here.
        (bid(2, last(9, 9)), 0),
    ];
    let (asked, expected): (Vec<Bytes>, Vec<u8>) = bids.into_iter().unzip();
    let body = Bytes::from(asked.concat());
    let cut = body.slice(..body.len() - 1);
    let answer = groups.receive(NodeId(2), Kind::Campaign, body).await.unwrap();
    assert_eq!(answer.concat(), expected);
    assert!(groups.receive(NodeId(2), Kind::Campaign, cut).await.is_err());
    // Who asks while this node leads is told so.
    while led.greeted.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*led.greeted.lock().unwrap(), nodes(&[2, 2]));
    assert!(vacant.greeted.lock().unwrap().is_empty());
}
