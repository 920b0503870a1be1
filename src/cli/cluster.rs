//! `ottla cluster`: what an operator does to a cluster, through any of its brokers. It speaks
//! Kafka's protocol, so that every step can be taken with Kafka's own tools as well.

mod client;
mod status;

use std::io;

use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    AddRaftVoterRequest, BrokerId, IncrementalAlterConfigsRequest, RemoveRaftVoterRequest,
    UnregisterBrokerRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::cli::{Usage, say};
use crate::config::DRAINING;
use client::Client;

/// The type of brokers among what has configs.
const BROKER: i8 = 4;
/// The operations on a config.
const SET: i8 = 0;
const DELETE: i8 = 1;
/// How long the cluster may take for a change.
const CHANGE_MS_MAX: i32 = 30_000;

enum Command {
    Status,
    Drain(i32),
    Undrain(i32),
    Remove(i32),
    AddVoter(i32),
    RemoveVoter(i32),
}

pub(super) fn run(options: &[&str]) -> Result<io::Result<()>, Usage> {
    let (words, address) = split(options)?;
    let command = match words.as_slice() {
        ["status"] => Command::Status,
        ["drain", node] => Command::Drain(number(node)?),
        ["undrain", node] => Command::Undrain(number(node)?),
        ["remove", node] => Command::Remove(number(node)?),
        ["voters", "add", node] => Command::AddVoter(number(node)?),
        ["voters", "remove", node] => Command::RemoveVoter(number(node)?),
        [] => return Err(Usage("ottla cluster wants a command".to_owned())),
        other => return Err(Usage(format!("unknown command cluster {}", other.join(" ")))),
    };
    let Some(address) = address else {
        return Err(Usage("--bootstrap-server HOST:PORT is missing".to_owned()));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.and_then(|runtime| runtime.block_on(execute(&command, address))))
}

/// The command's words, and the address.
fn split<'a>(options: &[&'a str]) -> Result<(Vec<&'a str>, Option<&'a str>), Usage> {
    let (mut words, mut address) = (Vec::new(), None);
    let mut rest = options.iter();
    while let Some(word) = rest.next() {
        match *word {
            "--bootstrap-server" => match rest.next() {
                Some(given) => address = Some(*given),
                None => return Err(Usage("--bootstrap-server wants HOST:PORT".to_owned())),
            },
            option if option.starts_with('-') => {
                return Err(Usage(format!("unknown option {option}")));
            }
            word => words.push(word),
        }
    }
    Ok((words, address))
}

fn number(word: &str) -> Result<i32, Usage> {
    word.parse().map_err(|_| Usage(format!("{word} is no node id")))
}

async fn execute(command: &Command, address: &str) -> io::Result<()> {
    let mut client = Client::connect(address).await?;
    match command {
        Command::Status => say(&status::text(&mut client).await?),
        Command::Drain(node) => {
            set_draining(&mut client, *node, SET).await?;
            say(&format!(
                "node {node} is being emptied; `ottla cluster status` tells how far it is\n"
            ))
        }
        Command::Undrain(node) => {
            set_draining(&mut client, *node, DELETE).await?;
            say(&format!("node {node} takes replicas again\n"))
        }
        Command::Remove(node) => {
            remove(&mut client, *node).await?;
            say(&format!("node {node} is not of the cluster any more\n"))
        }
        Command::AddVoter(node) => {
            let request = AddRaftVoterRequest::default()
                .with_cluster_id(None)
                .with_voter_id(*node)
                .with_timeout_ms(CHANGE_MS_MAX);
            let answer = client.call(0, &request).await?;
            client::check(answer.error_code, answer.error_message.as_ref())?;
            say(&format!("node {node} votes on metadata\n"))
        }
        Command::RemoveVoter(node) => {
            let request =
                RemoveRaftVoterRequest::default().with_cluster_id(None).with_voter_id(*node);
            let answer = client.call(0, &request).await?;
            client::check(answer.error_code, answer.error_message.as_ref())?;
            say(&format!("node {node} does not vote on metadata any more\n"))
        }
    }
}

async fn set_draining(client: &mut Client, node: i32, operation: i8) -> io::Result<()> {
    let value = (operation == SET).then(|| StrBytes::from_static_str("true"));
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str(DRAINING))
        .with_config_operation(operation)
        .with_value(value);
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(StrBytes::from_string(node.to_string()))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(1, &request).await?;
    answer
        .responses
        .iter()
        .try_for_each(|one| client::check(one.error_code, one.error_message.as_ref()))
}

/// Takes out a node that has no replicas any more: what would be lost with it is moved first.
async fn remove(client: &mut Client, node: i32) -> io::Result<()> {
    let held = status::replicas_of(client, node).await?;
    if held > 0 {
        return Err(io::Error::other(format!(
            "node {node} still has {held} replica(s): run `ottla cluster drain {node}` and wait"
        )));
    }
    let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(node));
    let answer = client.call(0, &request).await?;
    client::check(answer.error_code, answer.error_message.as_ref())
}
