//! What holds for every input.

use proptest::prelude::*;

use super::KEYS;
use crate::config::Config;
use crate::config::error::{edit_distance, nearest};
use crate::config::read::{Prefix, Variable, variable, variable_of_key};
use crate::config::topic::TOPIC_KEYS;

fn known_key() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(KEYS.keys().copied().collect::<Vec<_>>())
}

/// Texts that come near to valid values.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        "[A-Z]{0,3}:?/?/?[a-z0-9.:\\[\\]*]{0,12}:?[0-9]{0,6}(,[A-Z:/0-9]{0,9})?",
        "(true|false|delete|compact|gzip|,| ){0,4}",
    ]
}

proptest! {
    // Loading is slow without optimisation, and these run with every test.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_variable_leads_back_to_its_key(key in "[a-z]{1,5}([._-][a-z]{1,5}){0,4}") {
        let name = variable_of_key(&key, Prefix::Ours);
        prop_assume!(!name.starts_with("OTTLA_PORT") && !name.starts_with("OTTLA_SERVICE_"));
        prop_assert_eq!(variable(&name), Variable::Key(key, Prefix::Ours));
    }

    #[test]
    fn every_key_has_a_variable_of_its_own(key in known_key()) {
        let prefix = Prefix::of(KEYS[key].ours);
        prop_assert_eq!(variable(&variable_of_key(key, prefix)), Variable::Key(key.into(), prefix));
    }

    #[test]
    fn a_known_key_is_nearest_to_itself(key in known_key(), at in any::<prop::sample::Index>()) {
        prop_assert_eq!(nearest(key), key);
        let mut mistyped = key.to_owned();
        mistyped.insert(at.index(key.len()), '#');
        prop_assert_eq!(edit_distance(&mistyped, key), 1);
        prop_assert_eq!(edit_distance(&mistyped, nearest(&mistyped)), 1);
    }

    #[test]
    fn distance_is_a_metric(a in "[ab.]{0,6}", b in "[ab.]{0,6}", c in "[ab.]{0,6}") {
        prop_assert_eq!(edit_distance(&a, &b), edit_distance(&b, &a));
        prop_assert_eq!(edit_distance(&a, &b) == 0, a == b);
        prop_assert!(edit_distance(&a, &c) <= edit_distance(&a, &b) + edit_distance(&b, &c));
    }

    #[test]
    fn no_text_makes_loading_panic(
        text in any::<String>(),
        lines in "([a-z.\"\\[\\]=\\\\ #:0-9]{0,12}\n){0,6}",
    ) {
        for text in [text, lines] {
            let _ = Config::load(Some(("a.toml", &text)), &[]);
            let _ = Config::load(Some(("a.properties", &text)), &[]);
            let _ = Config::load(None, &[("KAFKA_".to_owned() + &text, text)]);
        }
    }

    #[test]
    fn no_value_makes_loading_panic(key in known_key(), text in value()) {
        let name = variable_of_key(key, Prefix::of(KEYS[key].ours));
        if let Ok(loaded) = Config::load(None, &[(name, text)]) {
            prop_assert_eq!(loaded.broker_entries().len(), KEYS.len());
            prop_assert!(loaded.explain(Some(key)).is_ok());
        }
    }

    /// What is shown of a value can be given again and is the same value.
    #[test]
    fn a_shown_value_reads_back(index in any::<prop::sample::Index>(), text in value()) {
        let key = index.get(TOPIC_KEYS);
        if let Ok(value) = key.parse(&text) {
            prop_assert_eq!(key.parse(&value.to_string()), Ok(value));
        }
    }
}
