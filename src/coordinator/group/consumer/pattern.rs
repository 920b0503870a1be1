//! Subscriptions by regular expression, in the syntax of RE2 as Kafka has it: a topic is subscribed
//! to if its whole name matches, internal topics too.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError as Code;
use regex::bytes::{Regex, RegexBuilder};

use crate::coordinator::group::consumer::Refused;
use crate::metadata::image::Image;

/// The size of a compiled expression.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// What an expression means; names of topics are plain ASCII.
pub(super) fn compile(regex: &str) -> Result<Regex, Refused> {
    // By itself first: what is put around it must not be what makes it valid.
    build(regex)?;
    build(&format!(r"\A(?:{regex})\z"))
}

fn build(regex: &str) -> Result<Regex, Refused> {
    let built = RegexBuilder::new(regex).unicode(false).size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|error| {
        let why = match error {
            regex::Error::CompiledTooBig(_) => "it is too large",
            _ => "it cannot be parsed",
        };
        let message =
            format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {why}.");
        Refused::new(Code::InvalidRegularExpression, message)
    })
}

/// The topics that an expression stands for. One that is not valid, which no member could have
/// brought, stands for none.
pub(super) fn resolve(regex: &str, image: &Image) -> BTreeSet<String> {
    let Ok(regex) = compile(regex) else { return BTreeSet::new() };
    let names = image.topics().map(|topic| &topic.name);
    names.filter(|name| regex.is_match(name.as_bytes())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::TopicId;
    use crate::metadata::records::Record;

    #[test]
    fn whole_names_match() {
        let mut image = Image::default();
        for (number, name) in (0..).zip(["a", "ab", "b.c", "__consumer_offsets"]) {
            let topic_id = TopicId([number; 16]);
            image.replay(&Record::Topic { topic_id, name: name.to_owned() });
        }
        for (regex, topics) in [
            ("a", &["a"][..]),
            ("a.*", &["a", "ab"]),
            ("a|b.c", &["a", "b.c"]),
            (r"\w+", &["__consumer_offsets", "a", "ab"]),
            ("(?i)AB", &["ab"]),
            ("[^b]*", &["a", "__consumer_offsets"]),
            (r"b\.c$", &["b.c"]),
            ("", &[]),
        ] {
            let expected: BTreeSet<String> = topics.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(resolve(regex, &image), expected, "{regex}");
        }
    }

    #[test]
    fn what_is_not_valid_is_refused() {
        for regex in ["(", "a)(b", "*", "[", r"\", "((a{100}){100}){100}"] {
            let refused = compile(regex).unwrap_err();
            assert_eq!(refused.code, Code::InvalidRegularExpression, "{regex}");
        }
    }
}
