//! Buckets in paused time.

use proptest::prelude::*;

use super::*;
use crate::base::ids::TopicId;

const GROUP: TopicPartition = TopicPartition { topic_id: TopicId([1; 16]), partition: 0 };
const BEHIND: NodeId = NodeId(2);

fn limits(rates: &[(Limit, u64)]) -> Limits {
    let of = rates.iter().map(|(limit, _)| *limit).collect();
    Limits {
        rates: rates.iter().copied().collect(),
        behind: BTreeMap::from([((GROUP, BEHIND), of)]),
    }
}

/// Sends messages of these sizes, each as soon as it may; how long it takes.
async fn send_all(throttles: &Throttles, sizes: &[usize]) -> Duration {
    let begun = Instant::now();
    for size in sizes {
        while let Some(until) = throttles.pause(GROUP, BEHIND) {
            tokio::time::sleep_until(until).await;
        }
        throttles.sent(GROUP, BEHIND, *size);
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn only_followers_that_are_behind_are_limited() {
    let throttles = Throttles::default();
    assert_eq!(throttles.pause(GROUP, BEHIND), None);
    throttles.set(limits(&[(Limit::CatchUp, 100)]));
    throttles.sent(GROUP, BEHIND, 1_000);
    assert!(throttles.pause(GROUP, BEHIND).is_some());
    assert_eq!(throttles.pause(GROUP, NodeId(3)), None);
    // It has caught up.
    throttles.set(Limits::default());
    assert_eq!(throttles.pause(GROUP, BEHIND), None);
}

#[tokio::test(start_paused = true)]
async fn the_lowest_of_several_limits_counts() {
    let throttles = Throttles::default();
    throttles.set(limits(&[(Limit::CatchUp, 1_000_000), (Limit::Follower(BEHIND), 1_000)]));
    let took = send_all(&throttles, &[1_000; 11]).await;
    assert!((Duration::from_secs(9)..Duration::from_secs(11)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_nothing_stops_until_there_is_another() {
    let throttles = Throttles::default();
    throttles.set(limits(&[(Limit::Leader, 0)]));
    let until = throttles.pause(GROUP, BEHIND).expect("a pause");
    tokio::time::sleep_until(until).await;
    assert!(throttles.pause(GROUP, BEHIND).is_some());
    throttles.set(limits(&[(Limit::Leader, 10)]));
    assert_eq!(throttles.pause(GROUP, BEHIND), None);
}

#[tokio::test(start_paused = true)]
async fn other_limits_do_not_fill_a_bucket() {
    let throttles = Throttles::default();
    throttles.set(limits(&[(Limit::CatchUp, 100)]));
    throttles.sent(GROUP, BEHIND, 1_000);
    throttles.set(limits(&[(Limit::CatchUp, 100), (Limit::Leader, 100)]));
    assert!(throttles.pause(GROUP, BEHIND).is_some());
}

proptest! {
    #[test]
    fn the_rate_holds_in_the_mean(
        rate in 1_u64..1_000_000, sizes in prop::collection::vec(1_usize..100_000, 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let took = runtime.block_on(async {
            let throttles = Throttles::default();
            throttles.set(limits(&[(Limit::CatchUp, rate)]));
            send_all(&throttles, &sizes).await
        });
        // The first second's worth is there at once, and the last message is not waited for.
        let rate = rate as f64;
        let sent = sizes.iter().sum::<usize>() as f64;
        let last = *sizes.last().unwrap() as f64;
        let least = (sent - last - rate) / rate;
        prop_assert!(took.as_secs_f64() >= least - 0.01, "{took:?} {least}");
        // Timers go by milliseconds.
        let most = (sent - last) / rate + 0.002 * (sizes.len() as f64) + 1.01 / rate;
        prop_assert!(took.as_secs_f64() <= most + 0.01, "{took:?} {most}");
    }
}
