//! The command as a person and a supervisor see it.

use std::process::Output;

use uuid::Uuid;

use crate::harness::process::{Process, address_in, field, ottla};
use crate::harness::records::Topic;
use crate::harness::{Client, run};

fn output(arguments: &[&str]) -> Output {
    ottla(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_ready_line_names_the_bound_addresses_and_sigterm_ends_with_0() {
    let dir = tempfile::tempdir().unwrap();
    let (mut process, line) = Process::start(dir.path());
    assert!(line.starts_with("ready "), "{line}");
    let address = address_in(&line);
    assert_eq!(field(&line, "node.id="), "1");
    assert!(field(&line, "metrics=").parse::<std::net::SocketAddr>().is_ok());
    let cluster = field(&line, "cluster.id=").to_owned();
    run(async {
        let mut client = Client::connect(address).await;
        client.create_topic("kept", 1, &[]).await;
    });
    process.terminate();
    assert_eq!(process.exit_code(), Some(0));

    let (mut again, line) = Process::start(dir.path());
    assert_eq!(field(&line, "cluster.id="), cluster, "the identity stays");
    let address = address_in(&line);
    run(async {
        assert_eq!(Client::connect(address).await.topic("kept").await.error_code, 0);
    });
    again.terminate();
    assert_eq!(again.exit_code(), Some(0));
}

#[test]
fn offsets_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (process, line) = Process::start(dir.path());
    let address = address_in(&line);
    let mut topic = Topic { name: "t", id: Uuid::nil() };
    run(async {
        let mut client = Client::connect(address).await;
        topic.id = client.create_topic("t", 1, &[]).await;
        client.coordinator().await;
        for offset in 0..20 {
            assert_eq!(client.commit(9, "g", &topic, &[(0, offset)]).await, [0]);
        }
    });
    drop(process);
    let (_process, line) = Process::start(dir.path());
    let address = address_in(&line);
    run(async {
        let mut client = Client::connect(address).await;
        client.coordinator().await;
        assert_eq!(client.committed(9, "g", &topic, &[0]).await, [19]);
    });
}

#[test]
fn a_data_folder_serves_one_broker_and_keeps_its_node_id() {
    let dir = tempfile::tempdir().unwrap();
    let (_process, _) = Process::start(dir.path());
    let start = |id: &str| {
        let mut command = ottla(&["server"]);
        command
            .env("KAFKA_LOG_DIRS", dir.path().join("data"))
            .env("KAFKA_LISTENERS", "PLAINTEXT://127.0.0.1:0")
            .env("OTTLA_METRICS_LISTENER", "");
        if !id.is_empty() {
            command.env("KAFKA_NODE_ID", id);
        }
        command.output().unwrap()
    };
    let second = start("");
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("in use by another broker"), "{second:?}");
    drop(_process);
    let other = start("7");
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stderr).contains("belong to node 1"), "{other:?}");
}

#[test]
fn an_unknown_key_stops_the_start_and_names_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "\"log.dir.s\" = \"x\"\n").unwrap();
    let refused = output(&["server", "--config", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let complaint = text(&refused.stderr);
    assert!(complaint.contains("log.dir.s") && complaint.contains("log.dirs"), "{complaint}");
}

#[test]
fn explain_tells_value_source_and_meaning() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ottla.toml");
    std::fs::write(&file, "\"num.partitions\" = 7\n").unwrap();
    let file = file.to_str().unwrap();
    let one = text(&output(&["config", "--explain", "num.partitions", "--config", file]).stdout);
    assert!(one.contains('7') && one.contains(file), "{one}");
    let all = text(&output(&["config", "--explain"]).stdout);
    for key in ["log.dirs", "listeners", "metrics.listener", "message.max.bytes"] {
        assert!(all.contains(key), "{key}");
    }
    let unknown = output(&["config", "--explain", "num.partition"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("num.partitions"));
}

#[test]
fn a_wrong_command_line_is_told_and_exits_with_2() {
    for words in [&[][..], &["serve"], &["server", "--port"], &["config"]] {
        let refused = output(words);
        assert_eq!(refused.status.code(), Some(2), "{words:?}");
        assert!(text(&refused.stderr).contains("usage:"));
    }
    assert!(text(&output(&["--version"]).stdout).starts_with("ottla "));
}

#[test]
fn an_operator_looks_after_a_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let (_process, ready) = Process::start(dir.path());
    let address = ready.split("PLAINTEXT://").nth(1).unwrap();
    let address = address.split_whitespace().next().unwrap();
    let cluster = |words: &[&str]| {
        let all = [&["cluster"], words, &["--bootstrap-server", address]].concat();
        let done = output(&all);
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let state = || {
        let (code, status, _) = cluster(&["status"]);
        assert_eq!(code, Some(0), "{status}");
        let row = status.lines().last().unwrap();
        let words: Vec<String> = row.split_whitespace().map(str::to_owned).collect();
        assert_eq!((words[0].as_str(), words[1].as_str()), ("1", address));
        words[3].clone()
    };
    assert_eq!(state(), "ready");
    assert_eq!(cluster(&["drain", "1"]).0, Some(0));
    assert_eq!(state(), "draining");
    assert_eq!(cluster(&["undrain", "1"]).0, Some(0));
    assert_eq!(state(), "ready");
    let (code, _, why) = cluster(&["remove", "7"]);
    assert_eq!((code, why.contains("Broker ID 7 is not currently registered")), (Some(1), true));
    assert_eq!(cluster(&["voters", "add", "7"]).0, Some(1));
    assert_eq!(cluster(&["drain", "x"]).0, Some(2));
    assert_eq!(output(&["cluster", "status"]).status.code(), Some(2));
}
