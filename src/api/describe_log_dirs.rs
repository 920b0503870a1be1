//! DescribeLogDirs (key 35), versions 1 to 5: where partitions lie on this broker, how large they
//! are, and how much room there is (KIP-113, KIP-827).
//!
//! Behaviour
//! * Topics null means all. Partitions that are not here are left out.
//! * A size is that of the `.log` files.
//! * A log dir that is offline, or whose file system can not be asked, is told with
//!   KAFKA_STORAGE_ERROR.
//! * A replica that is being moved to another log dir of this broker is told there too, as a future
//!   one, with its size and how far it is behind the one in use.
//! * No log dir is cordoned.
//!
//! Versions: 2 flexible, 3 top-level error, 4 total and usable bytes, 5 cordoned log dirs
//! (KIP-1066).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;

use crate::api::context::{Caller, Context};
use crate::api::errors::{Code, NONE};
use crate::api::response::Response;
use crate::api::{Outcome, Pending, RawRequest};
use crate::base::disk::Space;
use crate::base::ids::{Offset, PartitionIndex};
use crate::base::primitives::{Reader, Writer};
use crate::base::task;

const FIRST_FLEXIBLE: i16 = 2;
const FIRST_ERROR: i16 = 3;
const FIRST_SPACE: i16 = 4;
const FIRST_CORDONED: i16 = 5;

/// Which partitions are asked for; `None` is all.
type Wanted = Option<BTreeMap<String, BTreeSet<PartitionIndex>>>;

/// A log dir as it is told.
#[derive(Debug)]
struct Dir {
    error: i16,
    path: String,
    topics: BTreeMap<String, Vec<Replica>>,
    space: Option<Space>,
}

#[derive(Debug, Clone, Copy)]
struct Replica {
    partition: PartitionIndex,
    size_bytes: i64,
    lag: Offset,
    is_future: bool,
}

pub(super) async fn start(caller: Arc<Caller>, raw: RawRequest) -> Pending {
    let Some(wanted) = decode(&raw.body, raw.version) else {
        let close = Outcome::Close("request could not be decoded");
        return futures_util::future::ready(close).boxed();
    };
    answer(caller, raw, wanted).boxed()
}

async fn answer(caller: Arc<Caller>, raw: RawRequest, wanted: Wanted) -> Outcome {
    let dirs = describe(&caller.context, &wanted).await;
    let errors: Vec<i16> = dirs.iter().map(|dir| dir.error).collect();
    let frame = encode(raw.correlation_id, raw.version, &dirs);
    Outcome::Answer(Response::of_frame(frame).with_errors(errors.into_iter()))
}

fn decode(body: &Bytes, version: i16) -> Option<Wanted> {
    let mut reader = Reader::new(body.clone(), version >= FIRST_FLEXIBLE);
    let topics = reader.nullable_array(3, |reader| {
        let name = reader.string()?;
        let partitions = reader.array(4, Reader::i32)?;
        reader.skip_tagged()?;
        Some((name, partitions))
    })?;
    reader.skip_tagged()?;
    Some(topics.map(|topics| {
        let mut wanted: BTreeMap<String, BTreeSet<PartitionIndex>> = BTreeMap::new();
        for (name, partitions) in topics {
            wanted.entry(name).or_default().extend(partitions);
        }
        wanted
    }))
}

async fn describe(context: &Context, wanted: &Wanted) -> Vec<Dir> {
    let mut replicas: BTreeMap<PathBuf, BTreeMap<String, Vec<Replica>>> = BTreeMap::new();
    let moving = context.registry.moving();
    for partition in context.registry.partitions() {
        let index = partition.id.partition;
        let is_wanted = wanted.as_ref().is_none_or(|wanted| {
            wanted.get(&partition.topic).is_some_and(|indexes| indexes.contains(&index))
        });
        let Some(dir) = partition.dir().parent().filter(|_| is_wanted) else { continue };
        let offsets = partition.offsets();
        let replica = Replica {
            partition: index,
            size_bytes: i64::try_from(partition.size_bytes()).unwrap_or(i64::MAX),
            lag: (offsets.high_watermark - offsets.log_end).max(0),
            is_future: false,
        };
        let topics = replicas.entry(dir.to_owned()).or_default();
        topics.entry(partition.topic.clone()).or_default().push(replica);
        if let Some(future) = moving.get(&partition.id) {
            let replica = Replica {
                partition: index,
                size_bytes: i64::try_from(future.bytes).unwrap_or(i64::MAX),
                lag: (offsets.log_end - future.next_offset).max(0),
                is_future: true,
            };
            let topics = replicas.entry(future.to.clone()).or_default();
            topics.entry(partition.topic.clone()).or_default().push(replica);
        }
    }
    let mut dirs = Vec::new();
    for (path, is_online) in context.registry.dirs() {
        let (disk, asked) = (Arc::clone(&context.env.disk), path.clone());
        let ask = move || match is_online {
            true => disk.space(&asked),
            false => Err(io::Error::other("the log dir is offline")),
        };
        let space = task::blocking(context.env.threads, ask).await;
        if let Err(error) = &space {
            tracing::error!(%error, dir = %path.display(), "the room of a log dir is not known");
        }
        dirs.push(Dir {
            error: space.as_ref().map_or(Code::KafkaStorageError.code(), |_| NONE),
            topics: replicas.remove(&path).unwrap_or_default(),
            space: space.ok(),
            path: absolute(&path),
        });
    }
    dirs
}

fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path);
    absolute.as_deref().unwrap_or(path).display().to_string()
}

fn encode(correlation_id: i32, version: i16, dirs: &[Dir]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(0);
    out.put_i32(correlation_id);
    let mut writer = Writer::new(out, version >= FIRST_FLEXIBLE);
    writer.no_tagged();
    // Throttle time.
    writer.out.put_i32(0);
    if version >= FIRST_ERROR {
        writer.out.put_i16(NONE);
    }
    writer.array(dirs.iter(), |writer, dir| {
        writer.out.put_i16(dir.error);
        writer.string(&dir.path);
        writer.array(dir.topics.iter(), |writer, (name, replicas)| {
            writer.string(name);
            writer.array(replicas.iter(), |writer, replica| {
                writer.out.put_i32(replica.partition);
                writer.out.put_i64(replica.size_bytes);
                writer.out.put_i64(replica.lag);
                writer.out.put_u8(u8::from(replica.is_future));
                writer.no_tagged();
            });
            writer.no_tagged();
        });
        if version >= FIRST_SPACE {
            let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            writer.out.put_i64(dir.space.map_or(-1, |space| bytes(space.total_bytes)));
            writer.out.put_i64(dir.space.map_or(-1, |space| bytes(space.usable_bytes)));
        }
        if version >= FIRST_CORDONED {
            let is_cordoned = 0;
            writer.out.put_u8(is_cordoned);
        }
        writer.no_tagged();
    });
    writer.no_tagged();
    writer.out
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{DescribeLogDirsResponse, ResponseHeader};
    use kafka_protocol::protocol::{Decodable, HeaderVersion};

    use super::*;

    #[test]
    fn frames_are_those_of_kafka_in_every_version() {
        let replica = Replica { partition: 3, size_bytes: 7, lag: 1, is_future: true };
        let space = Some(Space { total_bytes: 100, usable_bytes: 50 });
        let topics = BTreeMap::from([("t".to_owned(), vec![replica])]);
        let dir = Dir { error: 56, path: "/d".to_owned(), topics, space };
        for version in 1..=4 {
            let mut frame = encode(9, version, std::slice::from_ref(&dir)).freeze().slice(4..);
            let header_version = DescribeLogDirsResponse::header_version(version);
            let header = ResponseHeader::decode(&mut frame, header_version).expect("a header");
            assert_eq!(header.correlation_id, 9);
            let response = DescribeLogDirsResponse::decode(&mut frame, version).expect("decoded");
            assert!(frame.is_empty());
            let found = &response.results[0];
            assert_eq!((found.error_code, found.log_dir.as_str()), (56, "/d"));
            let partition = &found.topics[0].partitions[0];
            let numbers =
                (partition.partition_index, partition.partition_size, partition.offset_lag);
            assert_eq!(numbers, (3, 7, 1));
            assert!(partition.is_future_key);
            let expected = if version >= FIRST_SPACE { (100, 50) } else { (-1, -1) };
            assert_eq!((found.total_bytes, found.usable_bytes), expected);
        }
        let (four, five) = (encode(9, 4, std::slice::from_ref(&dir)), encode(9, 5, &[dir]));
        // One more byte before the tagged fields of the log dir and of the response.
        let (head, tail) = four.split_at(four.len() - 2);
        assert_eq!(five[..], [head, &[0], tail].concat());
    }
}
