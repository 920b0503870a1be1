//! Calls as they should be.

use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn answers_come_as_they_are_ready() {
    let env = Env::real().unwrap();
    let far = Member::start(&env, me(2, 1), 0).await;
    let near = Member::start(&env, me(1, 1), 0).await;
    near.knows(&[(1, &near.endpoint), (2, &far.endpoint)]);
    let large = Bytes::from(vec![5; 3_000_000]);
    let forever = call(&near.peers, 2, "?");
    let waits = call(&near.peers, 2, "~");
    let (echo, big) = (call(&near.peers, 2, "a"), call(&near.peers, 2, large.clone()));
    let (refused, empty) = (call(&near.peers, 2, "!"), call(&near.peers, 2, ""));
    assert_eq!(empty.await, Ok(Bytes::new()));
    assert_eq!(refused.await, Err(CallError::Refused("no".to_owned())));
    assert_eq!((big.await, echo.await), (Ok(large), Ok("a".into())));
    assert_eq!(waits.await, Ok("~".into()));
    far.stop().await;
    assert!(matches!(forever.await, Err(CallError::Unreachable(_))));
    near.stop().await;
}

#[tokio::test]
async fn calls_arrive_in_their_order() {
    let env = Env::real().unwrap();
    let far = Member::start(&env, me(2, 1), 0).await;
    let near = Member::start(&env, me(1, 1), 0).await;
    near.knows(&[(2, &far.endpoint)]);
    // Of all sizes, so that they are cut differently on their way.
    let bodies: Vec<Bytes> = (0..2000_u32)
        .map(|i| {
            let size = usize::try_from(i).unwrap() * 37 % 9000;
            Bytes::from([&i.to_be_bytes()[..], &vec![b'x'; size]].concat())
        })
        .collect();
    let calls: Vec<_> = bodies.iter().map(|body| call(&near.peers, 2, body.clone())).collect();
    let answers = join_all(calls).await;
    assert!(answers.iter().zip(&bodies).all(|(answer, body)| answer.as_ref() == Ok(body)));
    let arrived: Vec<Bytes> = far.service.calls().into_iter().map(|(_, body)| body).collect();
    assert!(arrived == bodies);
    assert!(far.service.calls().iter().all(|(from, _)| *from == Some(NodeId(1))));
}

#[tokio::test]
async fn pieces_arrive_as_one_body() {
    let env = Env::real().unwrap();
    let far = Member::start(&env, me(2, 1), 0).await;
    let near = Member::start(&env, me(1, 1), 0).await;
    near.knows(&[(2, &far.endpoint)]);
    let pieces: Body = (0..300_u16).map(|i| Bytes::from(i.to_string().repeat(9))).collect();
    let whole = Bytes::from(pieces.concat());
    let answer = near.peers.call(NodeId(2), Lane::Control, Kind::Vote, pieces, LONG).await;
    assert_eq!(answer, Ok(whole));
}

#[tokio::test]
async fn callers_without_identity_may_ask_who_is_there() {
    let env = Env::real().unwrap();
    let far = Member::start(&env, me(2, 1), 0).await;
    let address = (far.endpoint.host.as_str(), far.endpoint.port);
    let ask = |kind| Peers::call_address(&env, address, kind, vec!["who".into()], LONG);
    assert_eq!(ask(Kind::ClusterInfo).await, Ok("who".into()));
    assert_eq!(ask(Kind::Join).await, Ok("who".into()));
    assert_eq!(far.service.calls()[0], (None, "who".into()));
    for kind in [Kind::Ping, Kind::Vote, Kind::AppendEntries] {
        let refused = ask(kind).await;
        assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
    }
    assert_eq!(far.service.calls().len(), 2);
}

#[tokio::test]
async fn a_node_without_identity_answers_only_those_like_it() {
    let env = Env::real().unwrap();
    let (listener, endpoint) = bind(&env, 0).await;
    let (peers, stopper) = (Peers::without_identity(env.clone()), Stopper::default());
    let _serving = peers.serve(listener, Arc::new(EchoService::default()), stopper.stopping());
    let address = (endpoint.host.as_str(), endpoint.port);
    let asked = Peers::call_address(&env, address, Kind::ClusterInfo, vec!["who".into()], LONG);
    assert_eq!(asked.await, Ok("who".into()));
    let near = Member::start(&env, me(1, 1), 0).await;
    near.knows(&[(2, &endpoint)]);
    assert_unreachable(&call(&near.peers, 2, "a").await, "belongs to no cluster yet");
    peers.set_identity(me(2, 1));
    until_answered(&near.peers).await;
}

/// A link waits a little after each failure, and calls made meanwhile may share the next one.
async fn until_answered(near: &Peers) {
    let answered = async { while call(near, 2, "a").await.is_err() {} };
    tokio::time::timeout(LONG, answered).await.unwrap();
}

#[tokio::test]
async fn a_node_that_moves_is_found_again() {
    let env = Env::real().unwrap();
    let near = Member::start(&env, me(1, 1), 0).await;
    let here = Member::start(&env, me(2, 1), 0).await;
    near.knows(&[(2, &here.endpoint)]);
    assert_eq!(call(&near.peers, 2, "a").await, Ok("a".into()));
    let there = Member::start(&env, me(2, 2), 0).await;
    let waits = call(&near.peers, 2, "?");
    near.knows(&[(2, &there.endpoint)]);
    assert_unreachable(&waits.await, "not known any more");
    assert_eq!(call(&near.peers, 2, "b").await, Ok("b".into()));
    assert_eq!(there.service.calls().len(), 1);
    near.knows(&[]);
    assert_unreachable(&call(&near.peers, 2, "c").await, "not known");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_nodes_that_are_gone() {
    let env = sim_env();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (near, far) =
        (Member::start(&env, me(1, 1), 1).await, Member::start(&env, me(2, 1), 2).await);
    near.knows(&[(2, &far.endpoint), (3, &at(3))]);
    far.knows(&[(1, &near.endpoint)]);
    until_alive(&near.peers, 2, true).await;
    near.knows(&[]);
    assert!(!near.peers.liveness().is_alive(NodeId(2)));
    near.knows(&[(2, &far.endpoint)]);
    until_alive(&near.peers, 2, true).await;
    near.stop().await;
    far.stop().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(tasks(), before);
}
