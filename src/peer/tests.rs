//! Nodes that talk to each other, over real sockets or in simulated time.

mod calls;
mod trouble;
mod vitality;

use std::sync::Mutex;

use futures_util::FutureExt;

use super::*;
use crate::base::net::{Net, SimNet, SocketOptions};
use crate::base::rng::Rng;
use crate::base::task::Stopper;

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(30);
const CLUSTER: &str = "c";

/// Notes the calls and answers with their bodies. `!…` is refused, `?…` waits forever, and `~…`
/// waits until the next call that does not wait.
#[derive(Default)]
struct Echo {
    calls: Mutex<Vec<(Option<NodeId>, Bytes)>>,
    next: tokio::sync::Notify,
}

#[derive(Clone, Default)]
struct EchoService(Arc<Echo>);

impl EchoService {
    fn calls(&self) -> Vec<(Option<NodeId>, Bytes)> {
        self.0.calls.lock().unwrap().clone()
    }
}

impl Service for EchoService {
    fn handle(
        &self,
        from: Option<NodeId>,
        _kind: Kind,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Body, String>> {
        self.0.calls.lock().unwrap().push((from, body.clone()));
        let echo = Arc::clone(&self.0);
        async move {
            match body.first() {
                Some(b'!') => return Err("no".to_owned()),
                Some(b'?') => std::future::pending().await,
                Some(b'~') => echo.next.notified().await,
                _ => echo.next.notify_one(),
            }
            Ok(vec![body])
        }
        .boxed()
    }
}

fn me(node: i32, incarnation: u64) -> Me {
    let directory = DirectoryId([7; 16]);
    Me { node: NodeId(node), cluster_id: CLUSTER.to_owned(), directory, incarnation }
}

fn sim_env() -> Env {
    let env = Env::real().unwrap();
    Env { net: Net::Sim(SimNet::default()), rng: Arc::new(Rng::seeded(1)), ..env }
}

fn at(port: u16) -> Endpoint {
    Endpoint { listener: "CONTROLLER".to_owned(), host: "127.0.0.1".to_owned(), port }
}

async fn bind(env: &Env, port: u16) -> (Listener, Endpoint) {
    let listener = env.net.bind("127.0.0.1", port, SocketOptions::default()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, at(port))
}

/// A node that serves.
struct Member {
    peers: Peers,
    service: EchoService,
    endpoint: Endpoint,
    stopper: Stopper,
    serving: task::Handle,
}

impl Member {
    /// `port` may be 0 on real sockets.
    async fn start(env: &Env, me: Me, port: u16) -> Self {
        let (listener, endpoint) = bind(env, port).await;
        let (peers, stopper) = (Peers::new(env.clone(), me), Stopper::default());
        let service = EchoService::default();
        let serving = peers.serve(listener, Arc::new(service.clone()), stopper.stopping());
        Self { peers, service, endpoint, stopper, serving }
    }

    fn knows(&self, others: &[(i32, &Endpoint)]) {
        let others = others.iter().map(|(id, endpoint)| (NodeId(*id), (*endpoint).clone()));
        self.peers.set_nodes(others.collect());
    }

    async fn stop(self) {
        self.stopper.stop();
        self.serving.await.unwrap();
    }
}

fn call<B: Into<Bytes>>(
    from: &Peers,
    to: i32,
    body: B,
) -> impl Future<Output = Result<Bytes, CallError>> + Send + use<B> {
    let body = vec![body.into()];
    from.call(NodeId(to), Lane::Data, Kind::AppendEntries, body, LONG)
}

/// Waits until the judgement is this.
async fn until_alive(peers: &Peers, node: i32, alive: bool) {
    let mut changes = peers.liveness().subscribe();
    let judged = async {
        while peers.liveness().is_alive(NodeId(node)) != alive {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(LONG, judged).await.unwrap();
}

#[track_caller]
fn assert_unreachable(answer: &Result<Bytes, CallError>, words: &str) {
    match answer {
        Err(CallError::Unreachable(why)) if why.contains(words) => {}
        other => panic!("{other:?} instead of unreachable: {words}"),
    }
}
