//! Identifiers that could be mixed up, each a type of its own.

use std::fmt;

use crate::base::rng::Rng;

/// A record's position in a partition.
pub type Offset = i64;
/// A leader's term in a partition: the Raft term, in Kafka's words the leader epoch.
pub type LeaderEpoch = i32;
/// A partition's number within its topic.
pub type PartitionIndex = i32;

/// The id of a broker. The same number is Raft's node id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i32);

impl NodeId {
    /// The id as Raft counts it.
    pub fn raft(self) -> u64 {
        u64::from(self.0.unsigned_abs())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A topic's identity (KIP-516): a topic deleted and created again has another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Kafka's text form of 16 bytes: unpadded URL-safe base64, 22 characters.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(22);
    for chunk in uuid.chunks(3) {
        let group = chunk.iter().fold(0u32, |acc, b| acc << 8 | u32::from(*b));
        let group = group << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            let six = group >> (18 - 6 * i) & 0x3f;
            text.push(char::from(BASE64_URL.get(six as usize).copied().unwrap_or(b'?')));
        }
    }
    text
}

/// The inverse of [`uuid_text`].
pub fn uuid_parse(text: &str) -> Option<[u8; 16]> {
    if text.len() != 22 {
        return None;
    }
    let mut bits: u128 = 0;
    for (i, c) in text.bytes().enumerate() {
        let six = BASE64_URL.iter().position(|b| *b == c)? as u128;
        // The last character carries two bits: 21 * 6 + 2 = 128.
        bits = if i < 21 { bits << 6 | six } else { bits << 2 | six >> 4 };
    }
    Some(bits.to_be_bytes())
}

impl TopicId {
    pub const ZERO: Self = Self([0; 16]);

    /// A fresh id. Kafka's text form must not begin with a dash, which command lines take for an
    /// option (`Uuid.randomUuid`).
    pub fn random(rng: &Rng) -> Self {
        Self(random_uuid(rng))
    }
}

fn random_uuid(rng: &Rng) -> [u8; 16] {
    loop {
        let uuid = rng.uuid();
        if !uuid_text(&uuid).starts_with('-') {
            return uuid;
        }
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&uuid_text(&self.0))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The identity of a node's data (KIP-858): made with it, and lost with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryId(pub [u8; 16]);

impl DirectoryId {
    pub const ZERO: Self = Self([0; 16]);

    /// A fresh id.
    pub fn random(rng: &Rng) -> Self {
        Self(random_uuid(rng))
    }
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&uuid_text(&self.0))
    }
}

/// One partition of one topic, by identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

/// Where a node is reached, on one of its listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_is_kafkas() {
        // `Uuid.METADATA_TOPIC_ID` and `Uuid.ZERO_UUID` as the Java client prints them.
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(uuid_text(&one), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(uuid_text(&[0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        for seed in 0..200 {
            let uuid = Rng::seeded(seed).uuid();
            assert_eq!(uuid_parse(&uuid_text(&uuid)), Some(uuid));
        }
    }
}
