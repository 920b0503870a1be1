//! How a cluster stands, as a table for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest, DescribeQuorumRequest,
    DescribeQuorumResponse, ListPartitionReassignmentsRequest, MetadataRequest, MetadataResponse,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::cli::cluster::client::{self, Client};
use crate::cli::cluster::{BROKER, CHANGE_MS_MAX};
use crate::config::DRAINING;

/// What a node has.
#[derive(Default)]
struct Load {
    replicas: usize,
    leads: usize,
}

pub(super) async fn text(client: &mut Client) -> io::Result<String> {
    let request = DescribeClusterRequest::default().with_include_fenced_brokers(true);
    let cluster = client.call(2, &request).await?;
    client::check(cluster.error_code, cluster.error_message.as_ref())?;
    let quorum = quorum(client).await?;
    let topics = topics(client).await?;
    let request = ListPartitionReassignmentsRequest::default()
        .with_timeout_ms(CHANGE_MS_MAX)
        .with_topics(None);
    let moving = client.call(0, &request).await?;
    client::check(moving.error_code, moving.error_message.as_ref())?;
    let moving: usize = moving.topics.iter().map(|topic| topic.partitions.len()).sum();
    let draining = draining(&cluster).await;
    Ok(render(&cluster, &quorum, &topics, moving, &draining))
}

/// How many replicas a node has.
pub(super) async fn replicas_of(client: &mut Client, node: i32) -> io::Result<usize> {
    let topics = topics(client).await?;
    let partitions = topics.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions.filter(|one| one.replica_nodes.iter().any(|id| id.0 == node)).count())
}

async fn topics(client: &mut Client) -> io::Result<MetadataResponse> {
    client.call(12, &MetadataRequest::default().with_topics(None)).await
}

async fn quorum(client: &mut Client) -> io::Result<DescribeQuorumResponse> {
    let name = TopicName(StrBytes::from_static_str("__cluster_metadata"));
    let topic =
        TopicData::default().with_topic_name(name).with_partitions(vec![PartitionData::default()]);
    let quorum = client.call(2, &DescribeQuorumRequest::default().with_topics(vec![topic])).await?;
    client::check(quorum.error_code, quorum.error_message.as_ref())?;
    Ok(quorum)
}

/// The nodes that are being emptied: each tells it of itself, and one that is out of reach can not.
async fn draining(cluster: &DescribeClusterResponse) -> BTreeSet<i32> {
    let mut draining = BTreeSet::new();
    for broker in cluster.brokers.iter().filter(|broker| !broker.is_fenced) {
        let address = format!("{}:{}", broker.host.as_str(), broker.port);
        if is_draining(&address, broker.broker_id.0).await.unwrap_or(false) {
            draining.insert(broker.broker_id.0);
        }
    }
    draining
}

async fn is_draining(address: &str, node: i32) -> io::Result<bool> {
    let mut client = Client::connect(address).await?;
    let resource = DescribeConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(StrBytes::from_string(node.to_string()))
        .with_configuration_keys(Some(vec![StrBytes::from_static_str(DRAINING)]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(4, &request).await?;
    let mut configs = answer.results.iter().flat_map(|result| &result.configs);
    Ok(configs.any(|config| config.value.as_deref() == Some("true")))
}

fn render(
    cluster: &DescribeClusterResponse,
    quorum: &DescribeQuorumResponse,
    topics: &MetadataResponse,
    moving: usize,
    draining: &BTreeSet<i32>,
) -> String {
    let mut loads: BTreeMap<i32, Load> = BTreeMap::new();
    let (mut all, mut without_leader, mut behind) = (0, 0, 0);
    for partition in topics.topics.iter().flat_map(|topic| &topic.partitions) {
        all += 1;
        without_leader += usize::from(partition.leader_id.0 < 0);
        behind += usize::from(partition.isr_nodes.len() < partition.replica_nodes.len());
        for node in &partition.replica_nodes {
            loads.entry(node.0).or_default().replicas += 1;
        }
        loads.entry(partition.leader_id.0).or_default().leads += 1;
    }
    let quorum = quorum.topics.first().and_then(|topic| topic.partitions.first());
    let voters: BTreeSet<i32> = quorum
        .iter()
        .flat_map(|quorum| quorum.current_voters.iter().map(|voter| voter.replica_id.0))
        .collect();
    let mut rows =
        vec![["node", "address", "rack", "state", "votes", "replicas", "leads"].map(str::to_owned)];
    for broker in &cluster.brokers {
        let id = broker.broker_id.0;
        let state = match (broker.is_fenced, draining.contains(&id)) {
            (true, _) => "away",
            (false, true) => "draining",
            (false, false) => "ready",
        };
        let load = loads.remove(&id).unwrap_or_default();
        rows.push([
            id.to_string(),
            format!("{}:{}", broker.host.as_str(), broker.port),
            broker.rack.as_deref().unwrap_or("-").to_owned(),
            state.to_owned(),
            if voters.contains(&id) { "yes" } else { "no" }.to_owned(),
            load.replicas.to_string(),
            load.leads.to_string(),
        ]);
    }
    let leader = quorum.map_or(-1, |quorum| quorum.leader_id.0);
    let offset = quorum.map_or(-1, |quorum| quorum.high_watermark);
    format!(
        "cluster {}: controller {leader}, metadata offset {offset}\n\
         partitions {all}: without leader {without_leader}, with replicas behind {behind}, \
         moving {moving}\n\n{}",
        cluster.cluster_id.as_str(),
        table(&rows)
    )
}

fn table(rows: &[[String; 7]]) -> String {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let cells: Vec<String> = cells.collect();
        // Writing to a string can not fail.
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["a", "b", "c", "d", "e", "f", "g"], ["1", "22", "", "4", "5", "6", "77"]];
        let text = table(&rows.map(|row| row.map(str::to_owned)));
        assert_eq!(text, "a  b   c  d  e  f  g\n1  22     4  5  6  77\n");
    }
}
