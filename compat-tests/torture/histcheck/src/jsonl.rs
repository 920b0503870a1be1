//! Histories as text: one JSON object a line.
//!
//! | `f` | its fields |
//! |---|---|
//! | `send` | `key`, `value`, `offset` when acknowledged, `txn` if it is part of one |
//! | `end-txn` | `txn`, `outcome`: `commit` or `abort` |
//! | `poll` | `key`, `records`: `[offset, value]` or `[offset, value, epoch]` |
//! | `assign` | `positions`: `[key, offset]` |
//! | `subscribe`, `final` | |
//! | `commit`, `fetch` | `group`, `key`, `offset` |
//! | `end`, `trim` | `key`, `offset` |
//! | `replica` | `node`, `key`, `batches`: `[base, last, epoch, crc, "data" or "control"]` |
//! | `nemesis` | `what` |
//!
//! Each has `t` (nanoseconds), `p` (the process), `type` (`invoke`, `ok`, `fail`, `info`) and `f`.
//! Fields beyond these may say more to a human reader.

use crate::event::{Batch, Content, Event, Op, Outcome, Record, Stage};
use crate::json::{Value, quoted};

/// One line of a history.
pub fn parse(line: &str) -> Result<Event, String> {
    let line = Line(Value::parse(line)?);
    let stage = match line.text("type")? {
        "invoke" => Stage::Invoke,
        "ok" => Stage::Ok,
        "fail" => Stage::Fail,
        "info" => Stage::Info,
        other => return Err(format!("type is {other}")),
    };
    let op = line.op()?;
    Ok(Event { time_ns: line.number("t")?, process: line.number("p")?, stage, op })
}

/// The line of an event, without its end.
pub fn format(event: &Event) -> String {
    let stage = match event.stage {
        Stage::Invoke => "invoke",
        Stage::Ok => "ok",
        Stage::Fail => "fail",
        Stage::Info => "info",
    };
    let Event { time_ns, process, .. } = event;
    format!(r#"{{"t":{time_ns},"p":{process},"type":"{stage}",{}}}"#, op_fields(&event.op))
}

fn op_fields(op: &Op) -> String {
    match op {
        Op::Send { key, value, offset, txn } => {
            let offset = offset.map_or_else(String::new, |offset| format!(r#","offset":{offset}"#));
            let txn = txn.map_or_else(String::new, |txn| format!(r#","txn":{txn}"#));
            format!(r#""f":"send","key":{},"value":{value}{offset}{txn}"#, quoted(key))
        }
        Op::EndTxn { txn, outcome } => {
            let outcome = match outcome {
                Outcome::Commit => "commit",
                Outcome::Abort => "abort",
            };
            format!(r#""f":"end-txn","txn":{txn},"outcome":"{outcome}""#)
        }
        Op::Poll { key, records } => {
            let records = list(records, |Record { offset, value, epoch }| match epoch {
                Some(epoch) => format!("[{offset},{value},{epoch}]"),
                None => format!("[{offset},{value}]"),
            });
            format!(r#""f":"poll","key":{},"records":{records}"#, quoted(key))
        }
        Op::Assign { positions } => {
            let positions = list(positions, |(key, at)| format!("[{},{at}]", quoted(key)));
            format!(r#""f":"assign","positions":{positions}"#)
        }
        Op::Subscribe => r#""f":"subscribe""#.to_owned(),
        Op::Commit { group, key, offset } => group_fields("commit", group, key, *offset),
        Op::Fetch { group, key, offset } => group_fields("fetch", group, key, *offset),
        Op::End { key, offset } => {
            format!(r#""f":"end","key":{},"offset":{offset}"#, quoted(key))
        }
        Op::Trim { key, offset } => {
            format!(r#""f":"trim","key":{},"offset":{offset}"#, quoted(key))
        }
        Op::Final => r#""f":"final""#.to_owned(),
        Op::Replica { node, key, batches } => {
            let batches = list(batches, |Batch { base, last, epoch, crc, content }| {
                let content = match content {
                    Content::Data => "data",
                    Content::Control => "control",
                };
                format!(r#"[{base},{last},{epoch},{crc},"{content}"]"#)
            });
            format!(r#""f":"replica","node":{node},"key":{},"batches":{batches}"#, quoted(key))
        }
        Op::Nemesis { what } => format!(r#""f":"nemesis","what":{}"#, quoted(what)),
    }
}

fn group_fields(name: &str, group: &str, key: &str, offset: i64) -> String {
    let (group, key) = (quoted(group), quoted(key));
    format!(r#""f":"{name}","group":{group},"key":{key},"offset":{offset}"#)
}

fn list<T>(items: &[T], item: impl Fn(&T) -> String) -> String {
    let items: Vec<String> = items.iter().map(item).collect();
    format!("[{}]", items.join(","))
}

struct Line(Value);

impl Line {
    fn op(&self) -> Result<Op, String> {
        Ok(match self.text("f")? {
            "send" => Op::Send {
                key: self.key()?,
                value: self.number("value")?,
                offset: self.0.get("offset").and_then(Value::as_number),
                txn: self.0.get("txn").and_then(Value::as_number),
            },
            "end-txn" => {
                let outcome = match self.text("outcome")? {
                    "commit" => Outcome::Commit,
                    "abort" => Outcome::Abort,
                    other => return Err(format!("outcome is {other}")),
                };
                Op::EndTxn { txn: self.number("txn")?, outcome }
            }
            "poll" => Op::Poll { key: self.key()?, records: self.list("records", record)? },
            "assign" => Op::Assign { positions: self.list("positions", position)? },
            "subscribe" => Op::Subscribe,
            "commit" => Op::Commit {
                group: self.group()?,
                key: self.key()?,
                offset: self.number("offset")?,
            },
            "fetch" => {
                // What is asked for is known from the answer alone.
                let offset = self.0.get("offset").and_then(Value::as_number).unwrap_or(-1);
                Op::Fetch { group: self.group()?, key: self.key()?, offset }
            }
            "end" => {
                let offset = self.0.get("offset").and_then(Value::as_number).unwrap_or(-1);
                Op::End { key: self.key()?, offset }
            }
            "trim" => Op::Trim { key: self.key()?, offset: self.number("offset")? },
            "final" => Op::Final,
            "replica" => Op::Replica {
                node: self.number("node")?,
                key: self.key()?,
                batches: self.list("batches", batch)?,
            },
            "nemesis" => Op::Nemesis { what: self.text("what")?.to_owned() },
            other => return Err(format!("f is {other}")),
        })
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        self.0.get(name).and_then(Value::as_str).ok_or_else(|| format!("{name} is missing"))
    }

    fn number<T: TryFrom<i128>>(&self, name: &str) -> Result<T, String> {
        let number = self.0.get(name).and_then(Value::as_number);
        number.ok_or_else(|| format!("{name} is missing, or no such number"))
    }

    fn key(&self) -> Result<String, String> {
        self.text("key").map(str::to_owned)
    }

    fn group(&self) -> Result<String, String> {
        self.text("group").map(str::to_owned)
    }

    fn list<T>(&self, name: &str, item: fn(&[Value]) -> Option<T>) -> Result<Vec<T>, String> {
        let items = self.0.get(name).and_then(Value::as_array);
        let items = items.ok_or_else(|| format!("{name} is missing"))?;
        let items = items.iter().map(|value| value.as_array().and_then(item));
        items.collect::<Option<_>>().ok_or_else(|| format!("{name} has an item of another form"))
    }
}

fn record(fields: &[Value]) -> Option<Record> {
    let (offset, value, epoch) = match fields {
        [offset, value] => (offset, value, None),
        [offset, value, epoch] => (offset, value, Some(epoch.as_number()?)),
        _ => return None,
    };
    Some(Record { offset: offset.as_number()?, value: value.as_number()?, epoch })
}

fn position(fields: &[Value]) -> Option<(String, i64)> {
    let [key, offset] = fields else { return None };
    Some((key.as_str()?.to_owned(), offset.as_number()?))
}

fn batch(fields: &[Value]) -> Option<Batch> {
    let [base, last, epoch, crc, content] = fields else { return None };
    let content = match content.as_str()? {
        "data" => Content::Data,
        "control" => Content::Control,
        _ => return None,
    };
    Some(Batch {
        base: base.as_number()?,
        last: last.as_number()?,
        epoch: epoch.as_number()?,
        crc: crc.as_number()?,
        content,
    })
}
