//! Questions and answers as bytes, and leaders that do not answer.

use proptest::prelude::*;

use super::*;

fn id(partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId([7; 16]), partition }
}

fn any_questions() -> impl Strategy<Value = Vec<Question>> {
    let question = (any::<i32>(), prop::collection::vec(any::<i64>(), 0..5))
        .prop_map(|(partition, offsets)| Question { id: id(partition), offsets });
    prop::collection::vec(question, 0..5)
}

proptest! {
    #[test]
    fn questions_arrive_as_they_were(questions in any_questions()) {
        prop_assert_eq!(get_questions(put_questions(&questions)).unwrap(), questions);
    }

    #[test]
    fn answers_arrive_with_their_questions(
        offsets in prop::collection::vec(prop::collection::vec(0_i64..20, 0..4), 0..6),
        not_led in 0_i32..6,
        log_start in 0_i64..20,
    ) {
        let questions: Vec<Question> = (0..)
            .zip(offsets)
            .map(|(partition, offsets)| Question { id: id(partition), offsets })
            .collect();
        let told = |question: &Question| {
            let from = question.offsets.iter().map(|offset| log_start.max(*offset));
            // The records of odd offsets have no time.
            let times_ms = from.filter(|from| from % 2 == 0).map(|from| (from, from * 10));
            (question.id.partition != not_led)
                .then(|| Told { log_start, end: 30, times_ms: times_ms.collect() })
        };
        let answers: Vec<Option<Told>> = questions.iter().map(told).collect();
        let found = get_answers(&questions, put_answers(&questions, &answers)).unwrap();
        let expected: Vec<_> = questions
            .iter()
            .zip(answers)
            .filter_map(|(question, told)| Some((question.id, told?)))
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn garbage_is_refused(garbage in prop::collection::vec(any::<u8>(), 0..80)) {
        let body = Bytes::from(garbage);
        let _ = get_questions(body.clone());
        let questions = [Question { id: id(0), offsets: vec![1; 9] }];
        // All of an answer is either there or the answer is none.
        prop_assert_eq!(
            get_answers(&questions, body.clone()).is_ok(),
            body.first() == Some(&0) || body.len() >= 89
        );
    }
}

#[test]
fn a_leader_that_does_not_answer_counts_as_it_did_last_time() {
    let places = Places::default();
    let told = |end| HashMap::from([(id(0), Told { end, ..Told::default() })]);
    let end = |answers| {
        let places = places.gather(&[], &[id(0)], answers);
        places.get(&id(0)).map(|place| place.end)
    };
    assert_eq!(end(HashMap::new()), None);
    assert_eq!(end(told(5)), Some(5));
    assert_eq!(end(HashMap::new()), Some(5));
    assert_eq!(end(told(6)), Some(6));
    // What nobody asks for is forgotten.
    assert!(places.gather(&[], &[], HashMap::new()).is_empty());
    assert_eq!(end(HashMap::new()), None);
}
