//! The checker against histories with one anomaly each, and against simulated logs.

mod model;

use crate::{Anomaly, Checker, Ends, Event, Finding, Options, Report, jsonl};

/// Checks lines without their time, which is the number of the line.
fn check_with(options: Options, lines: &str) -> Report {
    let mut checker = Checker::new(options);
    for (number, line) in lines.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let line = line.replacen('{', &format!("{{\"t\":{number},"), 1);
        let event = jsonl::parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(jsonl::parse(&jsonl::format(&event)).as_ref(), Ok(&event));
        checker.feed(&event);
    }
    checker.finish()
}

fn check(lines: &str) -> Report {
    check_with(Options::default(), lines)
}

#[track_caller]
fn finds(anomaly: Anomaly, example: &str, lines: &str) {
    let findings = check(lines).findings;
    let found: Vec<Anomaly> = findings.iter().map(|finding| finding.anomaly).collect();
    assert_eq!(found, [anomaly], "{findings:?}");
    let Finding { examples, .. } = &findings[0];
    assert!(examples.iter().any(|found| found.contains(example)), "{examples:?}");
}

/// Three records by process 1, acknowledged at 0, 1 and 2.
const SENT: &str = r#"
    {"p":1,"type":"invoke","f":"send","key":"a-0","value":10}
    {"p":1,"type":"invoke","f":"send","key":"a-0","value":11}
    {"p":1,"type":"invoke","f":"send","key":"a-0","value":12}
    {"p":1,"type":"ok","f":"send","key":"a-0","value":10,"offset":0}
    {"p":1,"type":"ok","f":"send","key":"a-0","value":11,"offset":1}
    {"p":1,"type":"ok","f":"send","key":"a-0","value":12,"offset":2}
"#;

const READ: &str = r#"
    {"p":9,"type":"ok","f":"final"}
    {"p":2,"type":"ok","f":"assign","positions":[["a-0",0]]}
    {"p":2,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[1,11],[2,12]]}
"#;

fn after_sent(lines: &str) -> String {
    format!("{SENT}{lines}")
}

#[test]
fn a_correct_history_has_no_finding() {
    let report = check(&after_sent(READ));
    assert_eq!(report.findings, []);
    assert_eq!((report.counts.sends_ok, report.counts.records_read), (3, 3));
}

#[test]
fn lost_write() {
    finds(
        Anomaly::LostWrite,
        "11 was acknowledged (offset 1)",
        &after_sent(
            r#"{"p":2,"type":"ok","f":"assign","positions":[["a-0",0]]}
            {"p":2,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[2,12]]}"#,
        ),
    );
}

#[test]
fn lost_write_that_had_been_read_before() {
    finds(
        Anomaly::LostWrite,
        "12 had been read at 2",
        r#"{"p":1,"type":"invoke","f":"send","key":"a-0","value":10}
        {"p":1,"type":"invoke","f":"send","key":"a-0","value":12}
        {"p":1,"type":"invoke","f":"send","key":"a-0","value":13}
        {"p":3,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[2,12]]}
        {"p":9,"type":"invoke","f":"trim","key":"a-0","offset":2}
        {"p":9,"type":"ok","f":"final"}
        {"p":2,"type":"ok","f":"assign","positions":[["a-0",0]]}
        {"p":2,"type":"ok","f":"poll","key":"a-0","records":[[3,13]]}"#,
    );
}

#[test]
fn lost_write_in_whose_place_another_record_lies() {
    let lines = r#"
        {"p":1,"type":"invoke","f":"send","key":"a-0","value":13}
        {"p":3,"type":"ok","f":"poll","key":"a-0","records":[[2,12]]}
        {"p":9,"type":"ok","f":"final"}
        {"p":2,"type":"ok","f":"assign","positions":[["a-0",0]]}
        {"p":2,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[1,11],[2,13]]}"#;
    let report = check(&after_sent(lines));
    let found: Vec<Anomaly> = report.findings.iter().map(|found| found.anomaly).collect();
    assert_eq!(found, [Anomaly::LostWrite, Anomaly::InconsistentOffsets]);
    assert_eq!(report.findings[0].examples, ["12 was acknowledged (offset 2)"]);
}

#[test]
fn unseen() {
    finds(
        Anomaly::Unseen,
        "12 was acknowledged",
        &after_sent(
            r#"{"p":9,"type":"ok","f":"final"}
            {"p":2,"type":"ok","f":"assign","positions":[["a-0",0]]}
            {"p":2,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[1,11]]}"#,
        ),
    );
}

#[test]
fn unseen_by_the_final_readers() {
    let lines = r#"
        {"p":3,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[1,11],[2,12]]}
        {"p":9,"type":"ok","f":"final"}
        {"p":2,"type":"ok","f":"assign","positions":[["a-0",0]]}"#;
    let report = check(&after_sent(lines));
    assert_eq!(report.findings[0].anomaly, Anomaly::Unseen);
    assert_eq!(report.findings[0].count, 3);
}

#[test]
fn inconsistent_offsets() {
    finds(
        Anomaly::InconsistentOffsets,
        "offset 2 held {12, 13}",
        &after_sent(
            r#"{"p":1,"type":"invoke","f":"send","key":"a-0","value":13}
            {"p":2,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[1,11],[2,12]]}
            {"p":3,"type":"ok","f":"poll","key":"a-0","records":[[2,13]]}"#,
        ),
    );
}

#[test]
fn duplicate() {
    finds(
        Anomaly::Duplicate,
        "11 is at {1, 3}",
        &after_sent(
            r#"{"p":2,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[1,11],[2,12],[3,11]]}"#,
        ),
    );
}

#[test]
fn phantom() {
    finds(
        Anomaly::Phantom,
        "77 at {3}",
        &after_sent(
            r#"{"p":2,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[1,11],[2,12],[3,77]]}"#,
        ),
    );
}

#[test]
fn aborted_read() {
    finds(
        Anomaly::AbortedRead,
        "13 at {3}",
        &after_sent(
            r#"{"p":1,"type":"invoke","f":"send","key":"a-0","value":13}
            {"p":1,"type":"fail","f":"send","key":"a-0","value":13}
            {"p":2,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[1,11],[2,12],[3,13]]}"#,
        ),
    );
}

#[test]
fn nonmonotonic_poll() {
    finds(
        Anomaly::NonmonotonicPoll,
        "process 2 was at 3 and got 1",
        &after_sent(&format!(
            "{READ}{}",
            r#"{"p":2,"type":"ok","f":"poll","key":"a-0","records":[[1,11],[2,12]]}"#
        )),
    );
}

#[test]
fn a_consumer_may_go_back_when_it_is_told_to() {
    let again = READ.replace("\"final\"", "\"subscribe\"");
    assert_eq!(check(&after_sent(&format!("{READ}{again}"))).findings, []);
    // A group that takes a partition away and gives it back begins where it committed.
    let subscribed = r#"{"p":3,"type":"ok","f":"subscribe"}
        {"p":3,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[2,12],[1,11]]}"#;
    assert_eq!(check(&after_sent(&format!("{READ}{subscribed}"))).findings, []);
}

#[test]
fn poll_skip() {
    finds(
        Anomaly::PollSkip,
        "process 3 went from 1 to 2, over 1 from 1",
        &after_sent(&format!(
            "{READ}{}",
            r#"{"p":3,"type":"ok","f":"assign","positions":[["a-0",0]]}
            {"p":3,"type":"ok","f":"poll","key":"a-0","records":[[0,10],[2,12]]}"#
        )),
    );
}

#[test]
fn nonmonotonic_send() {
    finds(
        Anomaly::NonmonotonicSend,
        "process 1 sent 11 (at 2) before 12 (at 1)",
        &(after_sent(READ)
            .replace(r#""value":11,"offset":1"#, r#""value":11,"offset":2"#)
            .replace(r#""value":12,"offset":2"#, r#""value":12,"offset":1"#)
            .replace("[1,11],[2,12]", "[1,12],[2,11]")),
    );
}

#[test]
fn offset_gap() {
    let lines =
        after_sent(READ).replace("[2,12]", "[3,12]").replace("\"offset\":2", "\"offset\":3");
    finds(Anomaly::OffsetGap, "nothing at 2 to 2", &lines);
    // Unless the files say what is there.
    let batches = r#"{"p":9,"type":"ok","f":"replica","node":1,"key":"a-0",
        "batches":[[0,1,4,7,"data"],[2,2,4,8,"control"],[3,3,4,9,"data"]]}"#;
    let accounted = format!("{lines}{}", batches.replace('\n', " "));
    assert_eq!(check(&accounted).findings, []);
    // Or records were deleted.
    let trim = r#"{"p":9,"type":"invoke","f":"trim","key":"a-0","offset":3}"#;
    assert_eq!(check(&format!("{trim}\n{lines}")).findings, []);
}

/// Two records of transaction 4, in two partitions.
const TXN: &str = r#"
    {"p":1,"type":"invoke","f":"send","key":"a-0","value":10,"txn":4}
    {"p":1,"type":"ok","f":"send","key":"a-0","value":10,"txn":4,"offset":0}
    {"p":1,"type":"invoke","f":"send","key":"b-0","value":11,"txn":4}
    {"p":1,"type":"ok","f":"send","key":"b-0","value":11,"txn":4,"offset":0}
    {"p":1,"type":"invoke","f":"end-txn","txn":4,"outcome":"OUTCOME"}
    {"p":1,"type":"STAGE","f":"end-txn","txn":4,"outcome":"OUTCOME"}
    {"p":2,"type":"invoke","f":"send","key":"b-0","value":12}
    {"p":2,"type":"ok","f":"send","key":"b-0","value":12,"offset":2}
    {"p":3,"type":"ok","f":"poll","key":"b-0","records":[[2,12]]}
    {"p":9,"type":"ok","f":"replica","node":1,"key":"b-0","batches":BATCHES}
"#;

const BATCHES: &str = r#"[[0,0,4,7,"data"],[1,1,4,8,"control"],[2,2,4,9,"data"]]"#;

fn txn(stage: &str, outcome: &str, more: &str) -> String {
    let txn = TXN.replace("STAGE", stage).replace("OUTCOME", outcome);
    format!("{}{more}", txn.replace("BATCHES", BATCHES))
}

const READ_OF_TXN: &str = r#"{"p":3,"type":"ok","f":"poll","key":"a-0","records":[[0,10]]}"#;

#[test]
fn a_transaction_is_there_or_not() {
    for unread in [txn("ok", "abort", ""), txn("info", "abort", ""), txn("info", "commit", "")] {
        assert_eq!(check(&unread).findings, []);
    }
    let both = READ_OF_TXN.to_owned()
        + r#"
        {"p":3,"type":"ok","f":"poll","key":"b-0","records":[[0,11]]}"#;
    for outcome in ["ok", "info"] {
        assert_eq!(check(&txn(outcome, "commit", &both)).findings, []);
    }
}

#[test]
fn a_torn_transaction_is_a_lost_write() {
    for stage in ["ok", "info"] {
        let torn = txn(stage, "commit", READ_OF_TXN);
        finds(Anomaly::LostWrite, "11 was acknowledged (offset 0)", &torn);
    }
}

#[test]
fn records_of_an_aborted_transaction_are_not_read() {
    for (stage, outcome) in [("ok", "abort"), ("info", "abort"), ("fail", "commit")] {
        finds(Anomaly::AbortedRead, "10 at {0}", &txn(stage, outcome, READ_OF_TXN));
    }
}

fn commits(lines: &str) -> String {
    let fields = r#""group":"g","key":"a-0""#;
    lines
        .replace("commit,", &format!(r#""f":"commit",{fields},"offset":"#))
        .replace("fetch,", &format!(r#""f":"fetch",{fields},"offset":"#))
}

#[test]
fn commit_lost() {
    finds(
        Anomaly::CommitLost,
        "group g was at 5",
        &commits(
            r#"{"p":1,"type":"invoke",commit,5}
            {"p":1,"type":"ok",commit,5}
            {"p":1,"type":"invoke",commit,7}
            {"p":1,"type":"ok",commit,7}
            {"p":2,"type":"invoke",fetch,-1}
            {"p":2,"type":"ok",fetch,5}"#,
        ),
    );
    finds(
        Anomaly::CommitLost,
        "group g was at -1",
        &commits(
            r#"{"p":1,"type":"invoke",commit,5}
            {"p":1,"type":"ok",commit,5}
            {"p":2,"type":"invoke",fetch,-1}
            {"p":2,"type":"ok",fetch,-1}"#,
        ),
    );
    finds(
        Anomaly::CommitLost,
        "group g was at 6",
        &commits(
            r#"{"p":1,"type":"invoke",commit,6}
            {"p":1,"type":"fail",commit,6}
            {"p":2,"type":"invoke",fetch,-1}
            {"p":2,"type":"ok",fetch,6}"#,
        ),
    );
}

#[test]
fn a_commit_under_way_may_be_seen_or_not() {
    for seen in ["5", "7"] {
        let lines = r#"{"p":1,"type":"invoke",commit,5}
            {"p":1,"type":"ok",commit,5}
            {"p":1,"type":"invoke",commit,7}
            {"p":1,"type":"info",commit,7}
            {"p":2,"type":"invoke",fetch,-1}
            {"p":2,"type":"ok",fetch,SEEN}"#;
        assert_eq!(check(&commits(&lines.replace("SEEN", seen))).findings, []);
    }
}

const END_AFTER_SENT: &str = r#"
    {"p":3,"type":"invoke","f":"end","key":"a-0"}
    {"p":3,"type":"ok","f":"end","key":"a-0","offset":3}
    {"p":3,"type":"invoke","f":"end","key":"a-0"}
    {"p":3,"type":"ok","f":"end","key":"a-0","offset":2}"#;

#[test]
fn hw_regress() {
    let lines = after_sent(&format!("{READ}{END_AFTER_SENT}"));
    let findings = check_with(Options { ends: Ends::Monotonic }, &lines).findings;
    assert_eq!(findings[0].anomaly, Anomaly::HwRegress);
    assert_eq!(findings.len(), 1);
}

#[test]
fn stale_end() {
    let asked_once: Vec<&str> = END_AFTER_SENT.lines().skip(3).collect();
    let lines = after_sent(&format!("{READ}{}", asked_once.join("\n")));
    finds(Anomaly::StaleEnd, "was told 2 after 2 was acknowledged", &lines);
    assert_eq!(check_with(Options { ends: Ends::Monotonic }, &lines).findings, []);
}

#[test]
fn epoch_regress() {
    let lines = after_sent(READ).replace("[0,10],[1,11],[2,12]", "[0,10,3],[1,11,4],[2,12,3]");
    finds(Anomaly::EpochRegress, "2 is of epoch 3, 1 of 4", &lines);
}

#[test]
fn replica_divergence() {
    let replica = |node: i32, batches: &str| {
        format!(
            r#"{{"p":9,"type":"ok","f":"replica","node":{node},"key":"a-0","batches":[{batches}]}}"#
        )
    };
    let (first, second) = (r#"[0,1,4,7,"data"]"#, r#"[2,2,4,8,"data"]"#);
    let whole = replica(1, &format!("{first},{second}"));
    let findings = |other: String| check(&after_sent(&format!("{READ}{whole}\n{other}"))).findings;
    for different in [
        first.to_owned(),
        format!("{first},[2,2,4,9,\"data\"]"),
        format!("{first},[2,2,5,8,\"data\"]"),
    ] {
        let found = findings(replica(2, &different));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].anomaly, Anomaly::ReplicaDivergence);
    }
    // An old segment may be gone.
    assert_eq!(findings(replica(2, second)), []);
}

#[test]
fn lines_that_are_no_events_are_refused() {
    for line in [
        "",
        "{}",
        r#"{"t":1,"p":1,"type":"ok","f":"send","key":"a-0"}"#,
        r#"{"t":1,"p":1,"type":"ok","f":"jump"}"#,
        r#"{"t":1,"p":1,"type":"ok","f":"poll","key":"a","records":[[1]]}"#,
        r#"{"t":1.5,"p":1,"type":"ok","f":"final"}"#,
        r#"{"t":1,"p":1,"type":"ok","f":"final"} more"#,
        &"[".repeat(10_000),
    ] {
        assert!(jsonl::parse(line).is_err(), "{line}");
    }
}

/// What a model test feeds.
fn judge(events: &[Event]) -> Report {
    let mut checker = Checker::new(Options::default());
    for event in events {
        // What the checker is given, a file can hold.
        assert_eq!(jsonl::parse(&jsonl::format(event)).as_ref(), Ok(event));
        checker.feed(event);
    }
    checker.finish()
}
