//! How a node of the cluster under test is started: Ottla, or Apache Kafka, with the same settings.

use std::path::Path;
use std::process::Command;

use crate::rig::{Node, Rig};
use crate::tools::{command_in, guarded, run, variable, words};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    Ottla,
    Kafka,
}

const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qk";

/// Small internal topics, so that a start is short.
const SETTINGS: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "PLAINTEXT"),
    ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
    ("offsets.topic.num.partitions", "3"),
    ("transaction.state.log.num.partitions", "3"),
    ("group.initial.rebalance.delay.ms", "100"),
    // Moves of leaders are for the scenarios to order.
    ("auto.leader.rebalance.enable", "false"),
    ("auto.create.topics.enable", "false"),
];

const COPIES: &[&str] = &[
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
];
const COPIES_IN_SYNC: &[&str] = &["min.insync.replicas", "transaction.state.log.min.isr"];

impl Broker {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "ottla" => Some(Self::Ottla),
            "kafka" => Some(Self::Kafka),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ottla => "ottla",
            Self::Kafka => "kafka",
        }
    }

    /// The command that starts a node, once all is in place for it.
    pub(crate) fn command(
        self,
        rig: &Rig,
        node: Node,
        id_of: impl Fn(Node) -> usize,
    ) -> Result<Command, String> {
        let mut settings: Vec<(String, String)> =
            SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let address = rig.address(node)?;
        let listeners = format!("PLAINTEXT://{},CONTROLLER://{}", address.client(), address.peer());
        let data = rig.folder(node).join("data");
        let mut voters = Vec::new();
        for voter in rig.nodes() {
            voters.push(format!("{}@{}", id_of(voter), rig.address(voter)?.peer()));
        }
        let mut set = |key: &str, value: String| settings.push((key.to_owned(), value));
        // Three copies of everything.
        for key in COPIES {
            set(key, voters.len().min(3).to_string());
        }
        for key in COPIES_IN_SYNC {
            set(key, voters.len().min(2).to_string());
        }
        set("node.id", id_of(node).to_string());
        set("advertised.listeners", listeners.clone());
        set("listeners", listeners);
        set("controller.quorum.voters", voters.join(","));
        set("log.dirs", data.display().to_string());
        let mut command = match self {
            Self::Ottla => vec![variable("OTTLA_BIN")?, "server".to_owned()],
            Self::Kafka => kafka(&rig.folder(node), &settings)?,
        };
        command.splice(0..0, rig.on_host(Some(node)));
        let mut command = words(&guarded(command)?)?;
        // Ottla takes every such variable for a setting.
        for (name, _) in std::env::vars() {
            if name.starts_with("KAFKA_") || name.starts_with("OTTLA_") {
                command.env_remove(name);
            }
        }
        if self == Self::Ottla {
            command.env("OTTLA_METRICS_LISTENER", "");
            for (key, value) in settings {
                command.env(format!("KAFKA_{}", key.replace('.', "_").to_uppercase()), value);
            }
        }
        Ok(command)
    }
}

/// Writes the settings, formats the log dir if it is new, and returns the command.
fn kafka(folder: &Path, settings: &[(String, String)]) -> Result<Vec<String>, String> {
    let path = folder.join("server.properties");
    let lines: Vec<String> =
        settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    std::fs::write(&path, lines.concat()).map_err(|error| error.to_string())?;
    let path = path.display().to_string();
    let mut jvm = command_in("TORTURE_JVM")?;
    if !folder.join("data").join("meta.properties").exists() {
        let mut format = jvm.clone();
        let words_of_it =
            ["-Xmx128M", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", &path];
        format.extend(words_of_it.map(str::to_owned));
        run(&mut words(&format)?, "kafka-storage format")?;
    }
    jvm.extend(["-Xmx512M", "-Dlog.level=INFO", "kafka.Kafka", &path].map(str::to_owned));
    Ok(jvm)
}
