//! The first words on every connection: who calls, whom it expects, and whether that is so. A
//! connection that begins otherwise is closed.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::base::ids::{DirectoryId, NodeId};
use crate::base::net::Stream;
use crate::peer::{Lane, Me};

/// The first bytes of either side.
const MAGIC: [u8; 6] = *b"ottlaP";
/// Raised whenever frames or their meaning change.
const VERSION: u16 = 3;
/// How long the first words may take.
pub(super) const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(2);
/// The largest first word.
const WORD_BYTES_MAX: u16 = 1024;

/// Said by whoever connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub lane: Lane,
    /// `None` if the caller has no identity yet.
    pub caller: Option<Caller>,
}

/// A caller that is a member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub cluster_id: String,
    pub node: NodeId,
    pub directory: DirectoryId,
    pub incarnation: u64,
    /// Whom it wants to reach.
    pub expected: NodeId,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Welcome {
    /// The answering node's incarnation; 0 while it has no identity.
    Accepted { incarnation: u64 },
    /// Why not.
    Refused(String),
}

const ACCEPTED: u8 = 0;
const REFUSED: u8 = 1;
const ANONYMOUS: u8 = 0;
const MEMBER: u8 = 1;

impl Caller {
    pub(super) fn new(me: &Me, expected: NodeId) -> Self {
        Self {
            cluster_id: me.cluster_id.clone(),
            node: me.node,
            directory: me.directory,
            incarnation: me.incarnation,
            expected,
        }
    }
}

impl Hello {
    /// Why the caller is at the wrong door, if it is.
    pub(super) fn objection(&self, me: Option<&Me>) -> Option<String> {
        let caller = self.caller.as_ref()?;
        let Some(me) = me else {
            return Some("this node belongs to no cluster yet".to_owned());
        };
        if caller.cluster_id != me.cluster_id {
            let (own, other) = (&me.cluster_id, &caller.cluster_id);
            return Some(format!("this node belongs to cluster {own}, not to {other}"));
        }
        if caller.expected != me.node {
            return Some(format!("this is node {}, not node {}", me.node, caller.expected));
        }
        if caller.node == me.node {
            return Some(format!("node {} is this node itself", me.node));
        }
        None
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.put_u8(match self.lane {
            Lane::Control => 0,
            Lane::Data => 1,
        });
        match &self.caller {
            None => out.put_u8(ANONYMOUS),
            Some(caller) => {
                out.put_u8(MEMBER);
                out.put_i32(caller.node.0);
                out.put_i32(caller.expected.0);
                out.put_slice(&caller.directory.0);
                out.put_u64(caller.incarnation);
                out.put_slice(caller.cluster_id.as_bytes());
            }
        }
        out
    }

    fn decode(word: &mut &[u8]) -> Option<Self> {
        let lane = match word.try_get_u8().ok()? {
            0 => Lane::Control,
            1 => Lane::Data,
            _ => return None,
        };
        let caller = match word.try_get_u8().ok()? {
            ANONYMOUS => None,
            MEMBER => {
                let node = NodeId(word.try_get_i32().ok()?);
                let expected = NodeId(word.try_get_i32().ok()?);
                let mut directory = [0; 16];
                word.try_copy_to_slice(&mut directory).ok()?;
                let incarnation = word.try_get_u64().ok()?;
                let cluster_id = rest_as_text(word)?;
                let directory = DirectoryId(directory);
                Some(Caller { cluster_id, node, directory, incarnation, expected })
            }
            _ => return None,
        };
        word.is_empty().then_some(Self { lane, caller })
    }
}

impl Welcome {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        match self {
            Self::Accepted { incarnation } => {
                out.put_u8(ACCEPTED);
                out.put_u64(*incarnation);
            }
            Self::Refused(reason) => {
                out.put_u8(REFUSED);
                let room = usize::from(WORD_BYTES_MAX) - 1;
                out.extend(reason.bytes().take(room));
            }
        }
        out
    }

    fn decode(word: &mut &[u8]) -> Option<Self> {
        match word.try_get_u8().ok()? {
            ACCEPTED => {
                let incarnation = word.try_get_u64().ok()?;
                word.is_empty().then_some(Self::Accepted { incarnation })
            }
            REFUSED => Some(Self::Refused(String::from_utf8_lossy(word).into_owned())),
            _ => None,
        }
    }
}

fn rest_as_text(word: &mut &[u8]) -> Option<String> {
    std::str::from_utf8(std::mem::take(word)).ok().map(str::to_owned)
}

/// The caller's part.
pub(super) async fn greet(stream: &mut Stream, hello: &Hello) -> io::Result<Welcome> {
    say(stream, &hello.encode()).await?;
    let word = hear(stream).await?;
    Welcome::decode(&mut word.as_ref()).ok_or_else(strange)
}

/// The other part, up to the answer.
pub(super) async fn await_hello(stream: &mut Stream) -> io::Result<Hello> {
    let word = hear(stream).await?;
    Hello::decode(&mut word.as_ref()).ok_or_else(strange)
}

pub(super) async fn answer(stream: &mut Stream, welcome: &Welcome) -> io::Result<()> {
    say(stream, &welcome.encode()).await
}

async fn say(stream: &mut Stream, word: &[u8]) -> io::Result<()> {
    let mut out = Vec::with_capacity(MAGIC.len() + 4 + word.len());
    out.put_slice(&MAGIC);
    out.put_u16(VERSION);
    let size = u16::try_from(word.len()).ok().filter(|size| *size <= WORD_BYTES_MAX);
    out.put_u16(size.ok_or_else(|| io::Error::other("the cluster id is too long"))?);
    out.put_slice(word);
    stream.write_all(&out).await
}

async fn hear(stream: &mut Stream) -> io::Result<Bytes> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(strange());
    }
    let version = stream.read_u16().await?;
    if version != VERSION {
        let text = format!("the other side speaks version {version}, this one {VERSION}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let size = stream.read_u16().await?;
    if size > WORD_BYTES_MAX {
        return Err(strange());
    }
    let mut word = vec![0; usize::from(size)];
    stream.read_exact(&mut word).await?;
    Ok(word.into())
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other side does not speak as a node does")
}

#[cfg(test)]
mod tests;
