//! Calls between nodes over real sockets.

use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::base::net::SocketOptions;
use crate::base::task::Stopper;

/// Answers with the body, after what comes first in it.
struct Echo;

impl Service for Echo {
    fn handle(
        &self,
        _from: Option<NodeId>,
        _kind: Kind,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Body, String>> {
        async move {
            match body.first() {
                Some(b'!') => Err("no".to_owned()),
                Some(b'?') => std::future::pending().await,
                _ => Ok(vec![body]),
            }
        }
        .boxed()
    }
}

const LONG: Duration = Duration::from_secs(20);

fn me(node: i32) -> Me {
    let directory = DirectoryId([7; 16]);
    Me { node: NodeId(node), cluster_id: "c".to_owned(), directory, incarnation: 1 }
}

async fn listen(env: &Env, port: u16) -> (Listener, Endpoint) {
    let listener = env.net.bind("127.0.0.1", port, SocketOptions::default()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (listener_name, host) = ("CONTROLLER".to_owned(), "127.0.0.1".to_owned());
    (listener, Endpoint { listener: listener_name, host, port })
}

#[tokio::test]
async fn calls_are_answered() {
    let env = Env::real().unwrap();
    let (listener, endpoint) = listen(&env, 0).await;
    let stopper = Stopper::default();
    let far = Peers::new(env.clone(), me(2));
    let serving = far.serve(listener, Arc::new(Echo), stopper.stopping());
    let near = Peers::new(env.clone(), me(1));
    near.set_nodes(BTreeMap::from([(NodeId(2), endpoint.clone())]));
    let call =
        |body: Bytes| near.call(NodeId(2), Lane::Data, Kind::AppendEntries, vec![body], LONG);
    let large = Bytes::from(vec![5; 3_000_000]);
    let (a, b, c) = (call("a".into()), call(large.clone()), call("!".into()));
    let waits = call("?".into());
    assert_eq!(a.await, Ok("a".into()));
    assert_eq!(b.await, Ok(large));
    assert_eq!(c.await, Err(CallError::Refused("no".to_owned())));
    let address = (endpoint.host.as_str(), endpoint.port);
    let once = Peers::call_address(&env, address, Kind::Join, vec!["j".into()], LONG).await;
    assert_eq!(once, Ok("j".into()));
    let once = Peers::call_address(&env, address, Kind::Vote, vec!["j".into()], LONG).await;
    assert!(matches!(once, Err(CallError::Refused(_))), "{once:?}");
    stopper.stop();
    serving.await.unwrap();
    assert!(matches!(waits.await, Err(CallError::Unreachable(_))));
}
