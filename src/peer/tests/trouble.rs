//! What goes wrong on the way.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;
use crate::base::net::Stream;
use crate::peer::frame::FrameReader;
use crate::peer::handshake::{Caller, Hello, Welcome, answer, await_hello, greet};
use crate::peer::link::{ANSWER, REFUSED};

/// A member's connection by hand.
async fn greeted(env: &Env, endpoint: &Endpoint, me: &Me, expected: i32) -> (Stream, Welcome) {
    let mut stream = env.net.connect(&endpoint.host, endpoint.port).await.unwrap();
    let caller = Some(Caller::new(me, NodeId(expected)));
    let welcome = greet(&mut stream, &Hello { lane: Lane::Data, caller }).await.unwrap();
    (stream, welcome)
}

/// What comes until the other side closes.
async fn rest(stream: &mut Stream) -> Vec<u8> {
    let mut rest = Vec::new();
    // The other side may close before it has read all.
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await.unwrap();
    rest
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_in_time() {
    let env = sim_env();
    let far = Member::start(&env, me(2, 1), 2).await;
    let near = Member::start(&env, me(1, 1), 1).await;
    near.knows(&[(2, &far.endpoint)]);
    let (begun, time) = (Instant::now(), Duration::from_millis(700));
    let call = |lane| near.peers.call(NodeId(2), lane, Kind::Vote, vec!["?".into()], time);
    assert_eq!(call(Lane::Data).await, Err(CallError::TimedOut));
    assert!(begun.elapsed() >= time && begun.elapsed() < time * 2);
}

/// It accepts, and then says nothing: neither an answer to the handshake nor anything else.
#[tokio::test(start_paused = true)]
async fn connecting_is_part_of_the_time() {
    let env = sim_env();
    let (_listener, mute) = bind(&env, 2).await;
    let near = Member::start(&env, me(1, 1), 1).await;
    near.knows(&[(2, &mute)]);
    let (begun, time) = (Instant::now(), Duration::from_millis(300));
    let body = vec!["a".into()];
    let ended = near.peers.call(NodeId(2), Lane::Data, Kind::Vote, body.clone(), time).await;
    assert_eq!(ended, Err(CallError::TimedOut));
    assert!(begun.elapsed() < time * 2);
    let address = (mute.host.as_str(), mute.port);
    let ended = Peers::call_address(&env, address, Kind::Join, body, time).await;
    assert_eq!(ended, Err(CallError::TimedOut));
}

#[tokio::test]
async fn a_closed_port_fails_calls_at_once() {
    let env = Env::real().unwrap();
    let (listener, closed) = bind(&env, 0).await;
    drop(listener);
    let near = Member::start(&env, me(1, 1), 0).await;
    near.knows(&[(2, &closed)]);
    assert_unreachable(&call(&near.peers, 2, "a").await, "refused");
    let address = (closed.host.as_str(), closed.port);
    let ended = Peers::call_address(&env, address, Kind::Join, Body::new(), LONG).await;
    assert_unreachable(&ended, "refused");
}

#[tokio::test]
async fn strangers_are_refused_with_a_reason() {
    let env = Env::real().unwrap();
    let far = Member::start(&env, me(2, 1), 0).await;
    let other_cluster = Me { cluster_id: "d".to_owned(), ..me(1, 1) };
    let near = Member::start(&env, other_cluster, 0).await;
    near.knows(&[(2, &far.endpoint)]);
    let reason = "this node belongs to cluster c, not to d";
    assert_unreachable(&call(&near.peers, 2, "a").await, reason);

    let near = Member::start(&env, me(1, 1), 0).await;
    near.knows(&[(3, &far.endpoint)]);
    assert_unreachable(&call(&near.peers, 3, "a").await, "this is node 2, not node 3");
    assert!(far.service.calls().is_empty());
    assert!(!near.peers.liveness().is_alive(NodeId(3)));
}

#[tokio::test]
async fn what_is_no_node_is_shown_out() {
    let env = Env::real().unwrap();
    let far = Member::start(&env, me(2, 1), 0).await;
    let near = Member::start(&env, me(1, 1), 0).await;
    near.knows(&[(2, &far.endpoint)]);
    let (host, port) = (far.endpoint.host.as_str(), far.endpoint.port);
    let other_version = b"ottlaP\xff\xff\x00\x00".to_vec();
    let long_word = b"ottlaP\x00\x03\xff\xff".to_vec();
    let bad_word = b"ottlaP\x00\x03\x00\x02\x00\x07".to_vec();
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), other_version, long_word, bad_word] {
        let mut stream = env.net.connect(host, port).await.unwrap();
        stream.write_all(&garbage).await.unwrap();
        assert!(rest(&mut stream).await.starts_with(b"ottlaP\x00\x03"));
    }
    assert_eq!(call(&near.peers, 2, "a").await, Ok("a".into()));
}

#[tokio::test]
async fn a_frame_that_lies_ends_its_connection() {
    let env = Env::real().unwrap();
    let far = Member::start(&env, me(2, 1), 0).await;
    for length in [0_u32, 8, 1 << 30, u32::MAX] {
        let (mut stream, welcome) = greeted(&env, &far.endpoint, &me(1, 1), 2).await;
        assert_eq!(welcome, Welcome::Accepted { incarnation: 1 });
        stream.write_all(&[&length.to_be_bytes()[..], &[11; 9]].concat()).await.unwrap();
        assert!(rest(&mut stream).await.is_empty());
    }
    // A call that nobody knows is refused; the connection goes on.
    let (mut stream, _) = greeted(&env, &far.endpoint, &me(1, 1), 2).await;
    stream.write_all(b"\x00\x00\x00\x09\x7f\x00\x00\x00\x00\x00\x00\x00\x05").await.unwrap();
    stream.write_all(b"\x00\x00\x00\x0a\x0b\x00\x00\x00\x00\x00\x00\x00\x06a").await.unwrap();
    let mut reader = FrameReader::default();
    let refused = poll_fn(|cx| reader.poll_frame(&mut stream, cx)).await.unwrap().unwrap();
    assert_eq!((refused.mark, refused.call), (REFUSED, 5));
    let echoed = poll_fn(|cx| reader.poll_frame(&mut stream, cx)).await.unwrap().unwrap();
    assert_eq!((echoed.mark, echoed.call, echoed.payload), (ANSWER, 6, "a".into()));
}

#[tokio::test]
async fn what_is_too_large_is_not_sent() {
    let env = Env::real().unwrap();
    let far = Member::start(&env, me(2, 1), 0).await;
    let near = Member::start(&env, me(1, 1), 0).await;
    near.knows(&[(2, &far.endpoint)]);
    let piece = Bytes::from(vec![1; 1024 * 1024]);
    let too_many = vec![piece; PAYLOAD_BYTES_MAX / (1024 * 1024) + 1];
    let call = |body| near.peers.call(NodeId(2), Lane::Data, Kind::AppendEntries, body, LONG);
    let refused = call(too_many.clone()).await;
    assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
    let address = (far.endpoint.host.as_str(), far.endpoint.port);
    let refused = Peers::call_address(&env, address, Kind::Join, too_many, LONG).await;
    assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
    assert!(far.service.calls().is_empty());
}

/// It greets and reads no more.
#[tokio::test]
async fn a_node_that_does_not_read_blocks_no_other() {
    let env = Env::real().unwrap();
    let (mut listener, endpoint) = bind(&env, 0).await;
    let stuck = task::spawn("stuck", task::Fault::Task, async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            await_hello(&mut stream).await.unwrap();
            answer(&mut stream, &Welcome::Accepted { incarnation: 1 }).await.unwrap();
            held.push(stream);
        }
    });
    let (near, well) =
        (Member::start(&env, me(1, 1), 0).await, Member::start(&env, me(3, 1), 0).await);
    near.knows(&[(2, &endpoint), (3, &well.endpoint)]);
    // The calls share the memory of one body; what is counted is what it would take.
    let body = Bytes::from(vec![1; 1024 * 1024]);
    let call = |to, time| {
        let body = vec![body.clone()];
        near.peers.call(NodeId(to), Lane::Data, Kind::AppendEntries, body, time)
    };
    let mut calls = Vec::new();
    let overloaded = loop {
        let mut ended = Box::pin(call(2, LONG));
        match (&mut ended).now_or_never() {
            Some(ended) => break ended,
            None => calls.push(ended),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(overloaded, Err(CallError::Overloaded));
    assert!(calls.len() > 60 && calls.len() < 100, "{}", calls.len());
    assert_eq!(call(3, LONG).await, Ok(body.clone()));
    // The calls that nobody waits for make room.
    drop(calls);
    assert_eq!(call(2, Duration::from_millis(10)).await, Err(CallError::TimedOut));
    stuck.abort();
}

#[tokio::test]
async fn a_restarted_node_is_reached_again() {
    let env = Env::real().unwrap();
    let near = Member::start(&env, me(1, 1), 0).await;
    let far = Member::start(&env, me(2, 1), 0).await;
    let endpoint = far.endpoint.clone();
    near.knows(&[(2, &endpoint)]);
    far.knows(&[(1, &near.endpoint)]);
    until_alive(&near.peers, 2, true).await;
    assert_eq!(near.peers.liveness().incarnation(NodeId(2)), Some(1));
    let waits = call(&near.peers, 2, "?");
    far.stop().await;
    assert!(matches!(waits.await, Err(CallError::Unreachable(_))));
    until_alive(&near.peers, 2, false).await;
    let again = Member::start(&env, me(2, 2), endpoint.port).await;
    again.knows(&[(1, &near.endpoint)]);
    until_alive(&near.peers, 2, true).await;
    assert_eq!(near.peers.liveness().incarnation(NodeId(2)), Some(2));
    assert_eq!(call(&near.peers, 2, "b").await, Ok("b".into()));
}

/// Of two connections of one node and lane the later one counts.
#[tokio::test]
async fn a_later_connection_ends_the_earlier_one() {
    let env = Env::real().unwrap();
    let far = Member::start(&env, me(2, 1), 0).await;
    let (mut first, _) = greeted(&env, &far.endpoint, &me(1, 1), 2).await;
    let (mut other, _) = greeted(&env, &far.endpoint, &me(3, 1), 2).await;
    let (mut second, _) = greeted(&env, &far.endpoint, &me(1, 1), 2).await;
    assert!(rest(&mut first).await.is_empty());
    for stream in [&mut second, &mut other] {
        stream.write_all(b"\x00\x00\x00\x0a\x0b\x00\x00\x00\x00\x00\x00\x00\x06a").await.unwrap();
        let mut echoed = [0; 14];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed[13], b'a');
    }
}
