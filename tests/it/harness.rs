//! A broker in a temporary folder, and a client that speaks raw frames.

pub mod batch;
pub mod cluster;
pub mod groups;
pub mod offsets;
pub mod process;
pub mod records;
pub mod scarce;
pub mod watched;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, IncrementalAlterConfigsRequest, MetadataRequest, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use ottla::base::env::Env;
use ottla::base::ids::{TopicId, TopicPartition};
use ottla::config::Config;
use ottla::partition::Partition;
use ottla::server::Server;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

/// Generous: what takes longer does not come.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at what comes by itself.
const POLL: Duration = Duration::from_millis(5);

/// A broker of this process.
pub struct Broker {
    pub address: SocketAddr,
    pub dir: Arc<TempDir>,
    server: Option<Server>,
}

impl Broker {
    /// Starts a broker with default settings in a folder of its own.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With these settings, named as in the environment.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), settings).await
    }

    pub async fn start_in(dir: Arc<TempDir>, settings: &[(&str, &str)]) -> Self {
        Self::start_on(Env::real().unwrap(), dir, settings).await
    }

    pub async fn start_on(env: Env, dir: Arc<TempDir>, settings: &[(&str, &str)]) -> Self {
        let loaded = settings_in(dir.path(), settings);
        let server = Server::start(env, loaded).await;
        let server = server.unwrap_or_else(|error| panic!("the broker does not start: {error}"));
        let address = server.listeners[0].1;
        Self { address, dir, server: Some(server) }
    }

    /// Resolves when it can not go on, with the reason.
    pub async fn failed(&self) -> String {
        self.server.as_ref().unwrap().failed().await
    }

    pub fn metrics(&self) -> SocketAddr {
        self.server.as_ref().unwrap().metrics.unwrap()
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A partition that is led here, to append what no client may.
    pub fn partition(&self, topic: Uuid, partition: i32) -> Arc<Partition> {
        let id = TopicPartition { topic_id: TopicId(topic.into_bytes()), partition };
        self.server.as_ref().unwrap().registry().get(id).unwrap()
    }

    /// Stops in order; the folder stays for a next start.
    pub async fn stop(mut self) -> Arc<TempDir> {
        let server = self.server.take().unwrap();
        let store = server.store();
        server.stop().await.unwrap();
        // Tasks let go of the store a little later. It must be closed here: for a next start, and
        // because RocksDB cannot be closed while the process ends.
        while Arc::strong_count(&store) > 1 {
            tokio::time::sleep(POLL).await;
        }
        Arc::clone(&self.dir)
    }

    /// The page of metrics.
    pub async fn scrape(&self) -> String {
        scrape(self.metrics()).await
    }

    /// Stops in order and starts again; every partition has its leader when this returns.
    pub async fn restart(self) -> Self {
        self.restart_with(&[]).await
    }

    pub async fn restart_with(self, settings: &[(&str, &str)]) -> Self {
        let broker = Self::start_in(self.stop().await, settings).await;
        let mut client = broker.client().await;
        let all = MetadataRequest::default().with_topics(None);
        eventually(async || {
            let topics = client.call(12, &all).await.topics;
            topics.iter().flat_map(|topic| &topic.partitions).all(|one| one.error_code == 0)
        })
        .await;
        broker
    }

    /// A topic that is served when this returns.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Uuid {
        self.client().await.create_topic(name, partitions, configs).await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Its tasks may outlive the test: the store stays open until the process has ended.
        if let Some(server) = &self.server {
            std::mem::forget(server.store());
        }
    }
}

/// Settings for a broker in `dir` on a free port, without a metrics endpoint. In values `{dir}` is
/// that folder.
pub fn settings_in(dir: &Path, settings: &[(&str, &str)]) -> ottla::config::Loaded {
    let mut env = vec![
        ("KAFKA_LOG_DIRS".to_owned(), dir.join("data").display().to_string()),
        ("KAFKA_LISTENERS".to_owned(), "PLAINTEXT://127.0.0.1:0".to_owned()),
        ("OTTLA_METRICS_LISTENER".to_owned(), String::new()),
    ];
    for (key, value) in settings {
        env.retain(|(known, _)| known != key);
        let value = value.replace("{dir}", &dir.display().to_string());
        env.push(((*key).to_owned(), value));
    }
    Config::load(None, &env).unwrap()
}

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    next_id: i32,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, next_id: 1 }
    }

    /// Sends a request and reads its answer.
    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let id = self.send(version, request).await;
        self.receive::<R>(version, id).await
    }

    /// Sends a request; its correlation id.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let frame = frame(id, version, request);
        self.stream.write_all(&frame).await.unwrap();
        id
    }

    pub async fn receive<R: Request>(&mut self, version: i16, id: i32) -> R::Response {
        let mut body = self.receive_frame().await.expect("an answer");
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut body, header_version).unwrap();
        assert_eq!(header.correlation_id, id, "answers come in the order of the requests");
        let response = R::Response::decode(&mut body, version).unwrap();
        assert!(!body.has_remaining(), "the answer has nothing more");
        response
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        // The broker may have closed already: the test looks at what comes back.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next frame without its length; `None` if the broker closed the connection.
    pub async fn receive_frame(&mut self) -> Option<Bytes> {
        let read = async {
            let size = self.stream.read_i32().await.ok()?;
            let mut body = vec![0; usize::try_from(size).unwrap()];
            self.stream.read_exact(&mut body).await.ok()?;
            Some(Bytes::from(body))
        };
        tokio::time::timeout(DEADLINE, read).await.expect("the broker answers or closes")
    }

    pub async fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Uuid {
        let configs = configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
            .with_configs(configs.collect());
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        let answer = self.call(7, &request).await;
        assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0]);
        answer.topics[0].topic_id
    }

    /// Sets one config: 2 is a topic's, 4 a broker's.
    pub async fn set_config(&mut self, resource: (i8, &str), key: &str, value: &str) {
        let config = AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(resource.0)
            .with_resource_name(text(resource.1))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.call(1, &request).await;
        assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
    }

    /// What Metadata says of one topic.
    pub async fn topic(
        &mut self,
        name: &str,
    ) -> kafka_protocol::messages::metadata_response::MetadataResponseTopic {
        let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![wanted]))
            .with_allow_auto_topic_creation(false);
        self.call(12, &request).await.topics.remove(0)
    }
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A whole request frame, its length included.
pub fn frame<R: Request>(id: i32, version: i16, request: &R) -> Bytes {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(text("it")));
    let mut out = BytesMut::new();
    out.put_i32(0);
    header.encode(&mut out, R::header_version(version)).unwrap();
    request.encode(&mut out, version).unwrap();
    let size = i32::try_from(out.len() - 4).unwrap();
    out[..4].copy_from_slice(&size.to_be_bytes());
    out.freeze()
}

/// The page of metrics of whoever listens there.
pub async fn scrape(metrics: SocketAddr) -> String {
    let mut stream = TcpStream::connect(metrics).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

/// The value of a series on a page of metrics; `None` if there is none.
pub fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
    line.map(|value| value.parse().unwrap())
}

/// Asks again and again; [`run`] has the deadline.
pub async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    while !is_so().await {
        tokio::time::sleep(POLL).await;
    }
}

/// Runs a test with a deadline on a runtime of its own.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(2 * DEADLINE, test).await.expect("the test ends");
    });
    runtime.shutdown_background();
}
