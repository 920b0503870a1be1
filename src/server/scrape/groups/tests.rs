//! Lag without partitions: what is read, and what is told.

use super::*;
use crate::base::ids::TopicId;
use crate::coordinator::group::admin::TopicView;

fn key(partition: i32, offset: Offset) -> (TopicPartition, Offset) {
    (TopicPartition { topic_id: TopicId([1; 16]), partition }, offset)
}

#[test]
fn a_timestamp_is_read_once_for_as_long_as_it_is_asked_for() {
    let mut timestamps = Timestamps::default();
    let mut reads = Vec::new();
    for (scrape, offset) in [(1, 5), (2, 5), (3, 5), (4, 6), (5, 6), (6, 5)] {
        timestamps.begin();
        for _group in ["g", "h"] {
            let found = timestamps.get(key(0, offset), || {
                reads.push(scrape);
                Some(offset * 10)
            });
            assert_eq!(found, Some(offset * 10));
        }
    }
    assert_eq!(reads, [1, 4, 6]);
    assert_eq!(timestamps.used.len(), 1);
}

#[test]
fn reads_are_bounded_and_go_on_with_the_next_scrape() {
    let mut timestamps = Timestamps::default();
    let all = i32::try_from(READS_COUNT_MAX).unwrap() + 5;
    let mut scrape = || {
        timestamps.begin();
        let found = (0..all).filter_map(|partition| timestamps.get(key(partition, 0), || Some(1)));
        found.count()
    };
    assert_eq!(scrape(), READS_COUNT_MAX);
    assert_eq!(scrape(), READS_COUNT_MAX + 5);
}

fn rows(lags: &[i64]) -> Vec<PartitionRow> {
    let row = |(partition, lag): (i32, &i64)| PartitionRow {
        partition,
        offset: 10,
        lag: *lag,
        age_ms: Some(*lag * 1_500),
    };
    (0..).zip(lags).map(row).collect()
}

fn view(name: &str) -> GroupView {
    GroupView { name: name.to_owned(), member_count: 2, topics: Vec::new() }
}

/// The lines of a scrape that are no comments, with partitions of these lags in each group.
fn lines(groups: &[(GroupView, &[i64])], partitions_max: usize) -> Vec<String> {
    let mut table = Table::default();
    let mut left = partitions_max;
    for (view, lags) in groups {
        table.add(view, vec![TopicRow { name: "t", partitions: rows(lags) }], &mut left);
    }
    let mut text = String::new();
    table.write(&mut text);
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn groups_beyond_the_limit_have_their_totals_only() {
    let groups = [(view("a"), &[1, 2][..]), (view("b"), &[3, 4]), (view("c"), &[5])];
    let found = lines(&groups, 3);
    for group in ["a", "b", "c"] {
        let of_group = format!("consumergroup=\"{group}\"");
        let of_group = found.iter().filter(|line| line.contains(&of_group));
        let names = of_group.map(|line| line.split('{').next().unwrap());
        let has_partitions = names.clone().any(|name| name == names::KAFKA_GROUP_LAG);
        assert_eq!(has_partitions, group != "b");
        for name in
            [names::KAFKA_GROUP_MEMBERS, names::GROUP_LAG_RECORDS, names::GROUP_LAG_SECONDS_MAX]
        {
            assert!(names.clone().any(|found| found == name), "{group} {name}");
        }
    }
    for expected in [
        "ottla_consumergroup_partitions_left_out 2",
        "ottla_consumergroup_lag_records{consumergroup=\"b\"} 7",
        "ottla_consumergroup_lag_seconds_max{consumergroup=\"b\"} 6.000",
        "kafka_consumergroup_lag_sum{consumergroup=\"a\",topic=\"t\"} 3",
        "kafka_consumergroup_current_offset_sum{consumergroup=\"a\",topic=\"t\"} 20",
    ] {
        assert!(found.iter().any(|line| line == expected), "{expected}");
    }
}

#[test]
fn names_of_groups_are_any_text() {
    let found = lines(&[(view("a\"b\\c\nd"), &[1])], 1);
    let expected = r#"kafka_consumergroup_members{consumergroup="a\"b\\c\nd"} 2"#.to_owned();
    assert!(found.contains(&expected), "{found:?}");
}

#[test]
fn an_age_that_is_not_known_is_left_out() {
    let view = view("a");
    let mut unknown = rows(&[1]);
    unknown[0].age_ms = None;
    let mut table = Table::default();
    table.add(&view, vec![TopicRow { name: "t", partitions: unknown }], &mut 1);
    let mut text = String::new();
    table.write(&mut text);
    assert!(text.contains("\nkafka_consumergroup_lag{"));
    assert!(!text.contains("\nottla_consumergroup_lag_seconds{"));
}

#[test]
fn leaders_elsewhere_are_asked_once_for_what_is_not_known() {
    let offset = |partition, offset| OffsetView { partition, topic_id: TopicId([1; 16]), offset };
    let group = |name: &str, offsets: &[(i32, i64)]| GroupView {
        topics: vec![TopicView {
            name: "t".to_owned(),
            offsets: offsets.iter().map(|(partition, at)| offset(*partition, *at)).collect(),
        }],
        ..view(name)
    };
    let groups = [group("g", &[(0, 1), (1, 5), (2, 7)]), group("h", &[(0, 2), (1, 5)])];
    let lags = Lags::default();
    lags.timestamps.lock().unwrap().used.insert(key(0, 2), 1_000);
    // Partition 2 is led here.
    let leader = |id: TopicPartition| (id.partition < 2).then_some(NodeId(id.partition + 7));
    let found = lags.questions(&groups, leader);
    let question = |partition, offsets: &[i64]| {
        vec![Question { id: key(partition, 0).0, offsets: offsets.to_vec() }]
    };
    let expected = BTreeMap::from([(NodeId(7), question(0, &[1])), (NodeId(8), question(1, &[5]))]);
    assert_eq!(found, expected);
}
