//! First words, right and wrong.

use proptest::prelude::*;

use super::*;

fn me() -> Me {
    let directory = DirectoryId([1; 16]);
    Me { node: NodeId(2), cluster_id: "c".to_owned(), directory, incarnation: 3 }
}

fn hello(node: i32, cluster_id: &str, expected: i32) -> Hello {
    let me = Me { node: NodeId(node), cluster_id: cluster_id.to_owned(), ..me() };
    Hello { lane: Lane::Data, caller: Some(Caller::new(&me, NodeId(expected))) }
}

#[test]
fn only_those_who_belong_here_come_in() {
    assert_eq!(hello(1, "c", 2).objection(Some(&me())), None);
    assert!(hello(1, "d", 2).objection(Some(&me())).unwrap().contains("cluster"));
    assert!(hello(1, "c", 3).objection(Some(&me())).unwrap().contains("not node 3"));
    assert!(hello(2, "c", 2).objection(Some(&me())).unwrap().contains("itself"));
    assert!(hello(1, "c", 2).objection(None).unwrap().contains("no cluster"));
    let anonymous = Hello { lane: Lane::Control, caller: None };
    assert_eq!((anonymous.objection(None), anonymous.objection(Some(&me()))), (None, None));
}

proptest! {
    #[test]
    fn words_are_understood(
        ids in any::<(i32, i32, [u8; 16], u64)>(),
        cluster_id in "\\PC{0,40}",
        lane in prop::sample::select(vec![Lane::Control, Lane::Data]),
        is_member in any::<bool>(),
    ) {
        let (node, expected, directory, incarnation) = ids;
        let (node, expected, directory) = (NodeId(node), NodeId(expected), DirectoryId(directory));
        let caller = Caller { cluster_id, node, directory, incarnation, expected };
        let hello = Hello { lane, caller: is_member.then_some(caller) };
        prop_assert_eq!(Hello::decode(&mut hello.encode().as_slice()), Some(hello));
        let welcome = Welcome::Accepted { incarnation };
        prop_assert_eq!(Welcome::decode(&mut welcome.encode().as_slice()), Some(welcome));
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(hello) = Hello::decode(&mut bytes.as_slice()) {
            prop_assert_eq!(hello.encode(), bytes.clone());
        }
        Welcome::decode(&mut bytes.as_slice());
    }
}

#[test]
fn a_refusal_fits() {
    let welcome = Welcome::Refused("long ".repeat(1000)).encode();
    assert!(welcome.len() <= usize::from(WORD_BYTES_MAX));
    let Some(Welcome::Refused(reason)) = Welcome::decode(&mut welcome.as_slice()) else {
        panic!("a refusal")
    };
    assert!(reason.starts_with("long long"));
}
