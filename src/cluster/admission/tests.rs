//! Who is let in, under which id.

use super::*;

fn directory(byte: u8) -> DirectoryId {
    DirectoryId([byte; 16])
}

fn card(cluster_id: Option<&str>, node: i32, data: u8) -> Card {
    let broker = BrokerRecord { directory: directory(data), ..BrokerRecord::new(NodeId(node)) };
    Card { cluster_id: cluster_id.map(str::to_owned), broker }
}

/// Asks to join; an admitted node is in the image after that.
fn ask(image: &mut Image, card: &Card) -> Judgement {
    let Decision { records, answer } = admit(image, card);
    records.iter().for_each(|record| image.replay(record));
    answer
}

/// Cluster `c`, founded by node 1 with data 1.
fn cluster(voters: &[i32]) -> Image {
    let mut image = Image::default();
    let voters: Vec<NodeId> = voters.iter().copied().map(NodeId).collect();
    let Decision { records, answer } = found(&image, &card(Some("c"), 1, 1), &voters);
    assert_eq!(answer, Ok(NodeId(1)));
    records.iter().for_each(|record| image.replay(record));
    image
}

const ANY: i32 = -1;

#[test]
fn the_founder_is_the_first_node_and_votes() {
    assert_eq!(cluster(&[]).voters, [NodeId(1)]);
    assert_eq!(cluster(&[1, 2, 3]).voters, [1, 2, 3].map(NodeId));
    // Whoever is not listed and founds all the same must be able to decide.
    assert_eq!(cluster(&[4]).voters, [NodeId(1)]);
    assert_eq!(first_node(None), NodeId(1));
    assert_eq!(first_node(Some(NodeId(0))), NodeId(0));
}

#[test]
fn founding_again_only_registers() {
    let mut image = cluster(&[1, 2, 3]);
    let again = found(&image, &card(Some("c"), 1, 1), &[]);
    assert_eq!((again.records, again.answer), (Vec::new(), Ok(NodeId(1))));
    let mut restarted = card(Some("c"), 1, 1);
    restarted.broker.incarnation = 7;
    let again = found(&image, &restarted, &[]);
    again.records.iter().for_each(|record| image.replay(record));
    assert_eq!(image.brokers[&NodeId(1)].incarnation, 7);
    assert_eq!(image.voters.len(), 3);
}

#[test]
fn ids_are_given_in_order_and_never_twice() {
    let mut image = cluster(&[]);
    assert_eq!(ask(&mut image, &card(None, ANY, 2)), Ok(NodeId(2)));
    // It lost the answer and asks again.
    assert_eq!(ask(&mut image, &card(None, ANY, 2)), Ok(NodeId(2)));
    assert_eq!(ask(&mut image, &card(None, 7, 7)), Ok(NodeId(7)));
    assert_eq!(ask(&mut image, &card(None, ANY, 8)), Ok(NodeId(8)));
    image.replay(&Record::RemoveBroker { node: NodeId(8) });
    assert_eq!(ask(&mut image, &card(None, ANY, 9)), Ok(NodeId(9)));
    // Somebody who wants the id of a node that is gone says so.
    assert_eq!(ask(&mut image, &card(None, 8, 10)), Ok(NodeId(8)));
}

#[test]
fn ids_of_voters_to_come_are_kept_for_them() {
    let mut image = cluster(&[1, 2, 3]);
    assert_eq!(ask(&mut image, &card(None, ANY, 4)), Ok(NodeId(4)));
    assert_eq!(ask(&mut image, &card(None, 2, 2)), Ok(NodeId(2)));
}

#[test]
fn a_wiped_node_is_not_its_former_self() {
    let mut image = cluster(&[]);
    assert_eq!(ask(&mut image, &card(None, 2, 2)), Ok(NodeId(2)));
    let refusal = ask(&mut image, &card(None, 2, 3)).unwrap_err();
    assert_eq!(
        refusal,
        format!(
            "node.id 2 belongs to a node with other data (directory {}); a node that lost its \
             data joins with a new id, or unregister node 2 first",
            directory(2)
        )
    );
    image.replay(&Record::RemoveBroker { node: NodeId(2) });
    assert_eq!(ask(&mut image, &card(None, 2, 3)), Ok(NodeId(2)));
}

#[test]
fn nodes_that_do_not_belong_here_are_refused() {
    let mut image = cluster(&[]);
    assert_eq!(ask(&mut image, &card(None, 2, 2)), Ok(NodeId(2)));
    let foreign = ask(&mut image, &card(Some("d"), 2, 2)).unwrap_err();
    assert_eq!(foreign, "the node belongs to cluster d, this is cluster c");
    let renamed = ask(&mut image, &card(None, 3, 2)).unwrap_err();
    assert!(renamed.contains("log dirs belong to node 2"), "{renamed}");
    image.replay(&Record::RemoveBroker { node: NodeId(2) });
    let removed = ask(&mut image, &card(Some("c"), 2, 2)).unwrap_err();
    assert!(removed.contains("node 2 was removed"), "{removed}");
}

#[test]
fn a_node_of_an_earlier_version_gets_its_directory_registered() {
    let mut image = cluster(&[]);
    image.replay(&Record::Broker(BrokerRecord::new(NodeId(1))));
    assert!(ask(&mut image, &card(None, 1, 9)).is_err());
    assert_eq!(ask(&mut image, &card(Some("c"), 1, 9)), Ok(NodeId(1)));
    assert_eq!(image.brokers[&NodeId(1)].directory, directory(9));
}
