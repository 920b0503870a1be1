//! Who is held for alive.

use tokio::time::Instant;

use super::*;
use crate::peer::handshake::{Welcome, answer, await_hello};
use crate::peer::judge::DEAD_AFTER;

/// Three nodes that know each other, in simulated time.
async fn three(env: &Env) -> Vec<Member> {
    let mut members = Vec::new();
    for id in 1..=3 {
        let port = u16::try_from(id).unwrap();
        members.push(Member::start(env, me(id, 1), port).await);
    }
    for member in &members {
        member.knows(&[(1, &at(1)), (2, &at(2)), (3, &at(3))]);
    }
    for member in &members {
        for id in 1..=3 {
            until_alive(&member.peers, id, true).await;
        }
    }
    members
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_there_stay_alive() {
    let begun = Instant::now();
    let members = three(&sim_env()).await;
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let changes: Vec<_> = members.iter().map(|m| m.peers.liveness().subscribe()).collect();
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_millis(17)).await;
        for member in &members {
            assert!((1..=3).all(|id| member.peers.liveness().has_lease(NodeId(id))));
        }
    }
    assert!(changes.iter().all(|changes| !changes.has_changed().unwrap()));
    let liveness = members[0].peers.liveness();
    assert_eq!(liveness.incarnation(NodeId(2)), Some(1));
    assert!(liveness.latency(NodeId(2)).unwrap() < Duration::from_millis(5));
    assert_eq!(liveness.latency(NodeId(1)), None);
    assert!(!liveness.is_alive(NodeId(4)) && !liveness.has_lease(NodeId(4)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_says_so() {
    let mut members = three(&sim_env()).await;
    let begun = Instant::now();
    members.remove(0).stop().await;
    for member in &members {
        until_alive(&member.peers, 1, false).await;
        assert!(!member.peers.liveness().has_lease(NodeId(1)));
    }
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    tokio::time::sleep(LONG).await;
    assert!(members[0].peers.liveness().is_alive(NodeId(3)));
    assert!(!members[0].peers.liveness().is_alive(NodeId(1)));
}

/// Its process is killed: the system closes its sockets.
#[tokio::test]
async fn a_node_that_is_killed_is_dead_at_once() {
    let env = Env::real().unwrap();
    let near = Member::start(&env, me(1, 1), 0).await;
    let process = tokio::runtime::Builder::new_multi_thread();
    let process = { process }.worker_threads(1).enable_all().build().unwrap();
    let (far_env, near_endpoint) = (env.clone(), near.endpoint.clone());
    let started = process.spawn(async move {
        let far = Member::start(&far_env, me(2, 1), 0).await;
        far.knows(&[(1, &near_endpoint)]);
        far
    });
    let far = started.await.unwrap();
    near.knows(&[(2, &far.endpoint)]);
    until_alive(&near.peers, 2, true).await;
    let begun = Instant::now();
    process.shutdown_background();
    until_alive(&near.peers, 2, false).await;
    assert!(!near.peers.liveness().has_lease(NodeId(2)));
    assert!(begun.elapsed() < DEAD_AFTER * 2 / 3, "{:?}", begun.elapsed());
}

/// It greets and reads no more, as a process that was stopped.
#[tokio::test(start_paused = true)]
async fn a_connection_without_answers_is_given_up() {
    let env = sim_env();
    let (mut listener, mute) = bind(&env, 2).await;
    let near = Member::start(&env, me(1, 1), 1).await;
    near.knows(&[(2, &mute)]);
    let mut held = Vec::new();
    let begun = Instant::now();
    while held.len() < 4 {
        let (mut stream, _) = listener.accept().await.unwrap();
        await_hello(&mut stream).await.unwrap();
        answer(&mut stream, &Welcome::Accepted { incarnation: 1 }).await.unwrap();
        held.push(stream);
    }
    assert!(begun.elapsed() > DEAD_AFTER * 3 && begun.elapsed() < DEAD_AFTER * 4);
    assert!(!near.peers.liveness().is_alive(NodeId(2)));
    assert_eq!(near.peers.liveness().incarnation(NodeId(2)), Some(1));
}

/// It does not know the other one yet, so it does not ping it.
#[tokio::test(start_paused = true)]
async fn alive_is_heard_both_ways() {
    let env = sim_env();
    let (near, far) =
        (Member::start(&env, me(1, 1), 1).await, Member::start(&env, me(2, 1), 2).await);
    near.knows(&[(2, &far.endpoint)]);
    tokio::time::sleep(LONG).await;
    assert!(!near.peers.liveness().is_alive(NodeId(2)));
    assert!(!near.peers.liveness().has_lease(NodeId(2)));
    far.knows(&[(1, &near.endpoint)]);
    until_alive(&near.peers, 2, true).await;
    until_alive(&far.peers, 1, true).await;
}
