//! Every message as Apache Kafka encodes it, through the guard and through kafka-protocol.
//!
//! `golden/messages.txt` is written by `compat-tests/schemas/Golden.java`: all keys, all versions,
//! all fields filled. kafka-protocol reads and writes each message it knows just as Kafka does.

use bytes::Bytes;
use ottla::wire::shape::{Limits, check};

use super::shapes::codecs;
use super::shapes::messages::Codec;

const MESSAGES: &str = include_str!("../golden/messages.txt");

struct Message {
    key: i16,
    version: i16,
    kind: &'static str,
    body: Vec<u8>,
}

fn messages() -> impl Iterator<Item = Message> {
    MESSAGES.lines().map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (key, version) = (word().parse().unwrap(), word().parse().unwrap());
        let kind = word();
        Message { key, version, kind, body: bytes(word()) }
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// The codec that kafka-protocol has for this message and version.
fn codec(message: &Message) -> Option<Codec> {
    let codecs = codecs(message.key)?;
    let codec = if message.kind == "request" { codecs.request } else { codecs.response };
    (codec.versions.min..=codec.versions.max).contains(&message.version).then_some(codec)
}

#[test]
fn requests_pass_the_guard() {
    for Message { key, version, kind, body } in messages() {
        if kind == "request" {
            let passed = check(key, version, &body, &Limits::default());
            assert_eq!(passed, Ok(()), "request {key} v{version}");
        }
    }
}

#[test]
fn requests_without_their_last_byte_do_not_pass() {
    for Message { key, version, kind, mut body } in messages() {
        if kind == "request" && body.pop().is_some() {
            let passed = check(key, version, &body, &Limits::default());
            assert!(passed.is_err(), "request {key} v{version}");
        }
    }
}

#[test]
fn messages_come_back_as_kafka_wrote_them() {
    let mut known = 0;
    let mut wrong = Vec::new();
    for message in messages() {
        let Message { key, version, kind, ref body } = message;
        let Some(codec) = codec(&message) else { continue };
        known += 1;
        let mut bytes = Bytes::from(body.clone());
        let problem = match (codec.recode)(&mut bytes, version) {
            Err(error) => error,
            Ok(_) if !bytes.is_empty() => format!("{} bytes are left", bytes.len()),
            Ok(again) if again != *body => format!("differs: {body:02x?} became {again:02x?}"),
            Ok(_) => continue,
        };
        wrong.push(format!("{key} v{version} {kind}: {problem}"));
    }
    assert!(wrong.is_empty(), "{} of {known}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(known > 500, "only {known} messages were tried");
}
