//! Rounds one by one, and a model of several nodes that lose messages,
//! their processes and their data.

use proptest::prelude::*;

use super::*;

fn address(number: usize) -> PeerAddress {
    PeerAddress { host: format!("h{number}"), port: 1 }
}

fn candidate(wanted: Option<i32>, data: u8) -> Candidate {
    let (wanted, directory) = (wanted.map(NodeId), DirectoryId([data; 16]));
    Candidate { wanted, directory, is_controller: true }
}

/// One round of a node that is at the first of three addresses.
fn round(own: Candidate, answers: [Answer; 2]) -> Verdict {
    let mut forming = Forming::new(own, vec![address(0), address(1), address(2)]);
    let number = forming.begin();
    forming.answered(number, &address(0), Answer::Empty(own));
    for (place, answer) in answers.into_iter().enumerate() {
        forming.answered(number, &address(place + 1), answer);
    }
    forming.verdict()
}

fn member(cluster: &str) -> Answer {
    Answer::Member { cluster_id: cluster.to_owned() }
}

#[test]
fn a_node_alone_founds_at_once() {
    let mut forming = Forming::new(candidate(None, 1), Vec::new());
    forming.begin();
    assert_eq!(forming.verdict(), Verdict::Found);
    assert!(forming.has_founded());
}

#[test]
fn the_first_one_founds() {
    let others = |a, b| [Answer::Empty(a), Answer::Empty(b)];
    let (two, three) = (candidate(Some(2), 2), candidate(Some(3), 3));
    assert_eq!(round(candidate(Some(1), 9), others(two, three)), Verdict::Found);
    let wait = Verdict::Wait("waiting for node 2 to form the cluster".to_owned());
    assert_eq!(round(candidate(Some(4), 1), others(two, three)), wait);
    // Who has no id comes after those that have one, and then the directory counts.
    assert_eq!(round(candidate(None, 1), others(two, three)), wait);
    let (seven, eight) = (candidate(None, 7), candidate(None, 8));
    assert_eq!(round(candidate(None, 6), others(seven, eight)), Verdict::Found);
    // The same id twice: one founds, and the other is refused by the cluster.
    assert_eq!(round(candidate(Some(2), 1), others(two, three)), Verdict::Found);
    assert_ne!(round(candidate(Some(2), 3), others(two, three)), Verdict::Found);
}

#[test]
fn brokers_alone_wait_for_a_controller() {
    let broker = |node, data| Candidate { is_controller: false, ..candidate(Some(node), data) };
    let controller = candidate(Some(3), 3);
    let others = [Answer::Empty(broker(2, 2)), Answer::Empty(controller)];
    let wait = Verdict::Wait("waiting for node 3 to form the cluster".to_owned());
    assert_eq!(round(broker(1, 1), others), wait);
    let others = [Answer::Empty(broker(2, 2)), Answer::Empty(broker(3, 3))];
    let wait = Verdict::Wait("waiting for a node that is a controller".to_owned());
    assert_eq!(round(broker(1, 1), others), wait);
    let others = [Answer::Empty(broker(1, 1)), Answer::Empty(broker(2, 2))];
    assert_eq!(round(controller, others), Verdict::Found);
}

#[test]
fn all_must_have_answered() {
    let silent = Answer::Silent("refused".to_owned());
    let verdict = round(candidate(Some(1), 1), [Answer::Empty(candidate(None, 2)), silent]);
    assert_eq!(verdict, Verdict::Wait("waiting for h2:1 (refused)".to_owned()));
    let mut forming = Forming::new(candidate(None, 1), vec![address(1)]);
    let old = forming.begin();
    forming.begin();
    forming.answered(old, &address(1), Answer::Empty(candidate(None, 2)));
    assert_eq!(forming.verdict(), Verdict::Wait("waiting for h1:1 (no answer in time)".to_owned()));
}

#[test]
fn a_cluster_that_is_there_is_joined() {
    let silent = Answer::Silent("refused".to_owned());
    let verdict = round(candidate(Some(1), 1), [silent, member("c")]);
    assert_eq!(verdict, Verdict::Join { address: address(2) });
    let verdict = round(candidate(Some(1), 1), [member("c"), member("d")]);
    assert!(matches!(verdict, Verdict::Stuck(_)), "{verdict:?}");
}

#[test]
fn an_earlier_node_that_asks_meanwhile_has_precedence() {
    let own = candidate(Some(2), 2);
    let mut forming = Forming::new(own, vec![address(1)]);
    let number = forming.begin();
    forming.answered(number, &address(1), Answer::Empty(candidate(Some(3), 3)));
    // The node at that address began anew, as an earlier one.
    forming.asked(candidate(Some(1), 4));
    assert!(matches!(forming.verdict(), Verdict::Wait(_)));
    let number = forming.begin();
    forming.answered(number, &address(1), Answer::Empty(candidate(Some(3), 3)));
    assert_eq!(forming.verdict(), Verdict::Found);
}

/// A node of the model: its data outlives a restart, what it was doing does not.
struct Node {
    own: Candidate,
    cluster: Option<usize>,
    forming: Forming,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// A node begins a round and asks all.
    Begin(usize),
    /// The n-th message on its way arrives.
    Deliver(usize),
    Lose(usize),
    /// A node judges what it has heard.
    Judge(usize),
    Restart(usize),
    /// A node that belongs to no cluster loses its data and begins anew.
    Wipe(usize, u8),
}

enum Message {
    Ask { from: usize, to: usize, round: u64, by: Candidate },
    Answer { to: usize, of: usize, round: u64, answer: Answer, life: u32 },
}

struct World {
    nodes: Vec<Node>,
    messages: Vec<Message>,
    /// Answers to what an earlier process of the node asked do not reach it.
    lives: Vec<u32>,
    founders: Vec<usize>,
}

impl World {
    fn new(wanted: &[Option<i32>]) -> Self {
        let addresses: Vec<PeerAddress> = (0..wanted.len()).map(address).collect();
        let nodes = wanted.iter().zip(1..).map(|(wanted, data)| {
            let own = candidate(*wanted, data);
            Node { own, cluster: None, forming: Forming::new(own, addresses.clone()) }
        });
        let lives = vec![0; wanted.len()];
        let nodes = nodes.collect();
        Self { nodes, messages: Vec::new(), lives, founders: Vec::new() }
    }

    fn restart(&mut self, at: usize) {
        let addresses: Vec<PeerAddress> = (0..self.nodes.len()).map(address).collect();
        self.lives[at] += 1;
        let node = &mut self.nodes[at];
        node.forming = Forming::new(node.own, addresses);
    }

    fn step(&mut self, event: Event) {
        let count = self.nodes.len();
        match event {
            Event::Begin(at) => self.begin(at % count),
            Event::Judge(at) => self.judge(at % count),
            Event::Restart(at) => self.restart(at % count),
            Event::Wipe(at, data) => {
                let at = at % count;
                if self.nodes[at].cluster.is_none() {
                    // No two nodes ever have the same data.
                    let unused = self.lives.iter().sum::<u32>();
                    let mut directory = [data; 16];
                    directory[12..].copy_from_slice(&unused.to_be_bytes());
                    directory[11] = 1 + u8::try_from(at).unwrap();
                    self.nodes[at].own.directory = DirectoryId(directory);
                    self.restart(at);
                }
            }
            Event::Lose(which) if !self.messages.is_empty() => {
                let which = which % self.messages.len();
                self.messages.swap_remove(which);
            }
            Event::Deliver(which) if !self.messages.is_empty() => {
                let which = which % self.messages.len();
                let message = self.messages.swap_remove(which);
                self.deliver(message);
            }
            Event::Lose(_) | Event::Deliver(_) => {}
        }
    }

    fn begin(&mut self, from: usize) {
        if self.nodes[from].cluster.is_none() {
            let round = self.nodes[from].forming.begin();
            let by = self.nodes[from].own;
            let asks = (0..self.nodes.len()).map(|to| Message::Ask { from, to, round, by });
            self.messages.extend(asks);
        }
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Ask { from, to, round, by } => {
                let node = &mut self.nodes[to];
                let answer = match node.cluster {
                    Some(founder) => member(&founder.to_string()),
                    None => {
                        node.forming.asked(by);
                        Answer::Empty(node.own)
                    }
                };
                let life = self.lives[from];
                // The process that asked must still be there, or the answer reaches nobody.
                if by == self.nodes[from].own {
                    self.messages.push(Message::Answer { to: from, of: to, round, answer, life });
                }
            }
            Message::Answer { to, of, round, answer, life } => {
                if self.lives[to] == life {
                    self.nodes[to].forming.answered(round, &address(of), answer);
                }
            }
        }
    }

    fn judge(&mut self, at: usize) {
        if self.nodes[at].cluster.is_some() {
            return;
        }
        match self.nodes[at].forming.verdict() {
            Verdict::Found => {
                self.founders.push(at);
                self.nodes[at].cluster = Some(at);
            }
            Verdict::Join { address } => {
                let number: usize = address.host[1..].parse().unwrap();
                self.nodes[at].cluster = self.nodes[number].cluster;
            }
            Verdict::Wait(_) => {}
            Verdict::Stuck(why) => panic!("{why}"),
        }
    }

    /// Everything arrives, and all go on until nothing changes.
    fn calm_down(&mut self) {
        for _ in 0..2 * self.nodes.len() {
            for at in 0..self.nodes.len() {
                self.begin(at);
                while let Some(message) = self.messages.pop() {
                    self.deliver(message);
                }
                self.judge(at);
            }
        }
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => any::<usize>().prop_map(Event::Begin),
        12 => any::<usize>().prop_map(Event::Deliver),
        1 => any::<usize>().prop_map(Event::Lose),
        4 => any::<usize>().prop_map(Event::Judge),
        1 => any::<usize>().prop_map(Event::Restart),
        1 => (any::<usize>(), any::<u8>()).prop_map(|(at, data)| Event::Wipe(at, data)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn at_most_one_cluster_is_founded_and_all_come_together(
        wanted in prop::collection::vec(prop::option::of(1..6), 1..5),
        events in prop::collection::vec(any_event(), 0..150),
    ) {
        let mut world = World::new(&wanted);
        for event in events {
            world.step(event);
            prop_assert!(world.founders.len() < 2, "two founded: {:?}", world.founders);
        }
        world.calm_down();
        prop_assert_eq!(world.founders.len(), 1);
        let founder = world.founders.first().copied();
        prop_assert!(world.nodes.iter().all(|node| node.cluster == founder));
    }
}
