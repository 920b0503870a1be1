//! Agreeing on other levels of features, all of a request or none.

use crate::base::ids::NodeId;
use crate::controller::refusal::{Reason, Refusal};
use crate::controller::service::Decision;
use crate::metadata::features;
use crate::metadata::image::Image;
use crate::metadata::records::Record;

/// A level that is wanted.
#[derive(Debug, Clone)]
pub struct Update {
    pub name: String,
    pub level: i16,
    pub direction: Direction,
}

/// Which way a level may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
    Unknown,
}

/// Changes the finalized levels, if all updates hold.
pub fn decide(image: &Image, node: NodeId, updates: &[Update]) -> Decision<Result<(), Refusal>> {
    match updates.iter().try_for_each(|update| check(image, node, update)) {
        Err(refusal) => Decision { records: Vec::new(), answer: Err(refusal) },
        Ok(()) => {
            let changed = updates.iter().filter(|update| level(image, update) != update.level);
            let records = changed
                .map(|update| Record::Feature { name: update.name.clone(), level: update.level });
            Decision { records: records.collect(), answer: Ok(()) }
        }
    }
}

fn level(image: &Image, update: &Update) -> i16 {
    image.features.get(&update.name).copied().unwrap_or(0)
}

fn check(image: &Image, node: NodeId, update: &Update) -> Result<(), Refusal> {
    let Update { name, level: wanted, direction } = update;
    let now = level(image, update);
    let refuse = |why: &str| {
        let message = format!("Invalid update version {wanted} for feature {name}. {why}");
        Err(Refusal::new(Reason::InvalidUpdateVersion, message))
    };
    if *direction == Direction::Unknown {
        return refuse("The controller does not support the given upgrade type.");
    }
    if *wanted < 0 {
        return refuse("A feature version cannot be less than 0.");
    }
    match features::find(name) {
        None => return refuse(&format!("Local controller {node} does not support this feature.")),
        Some(known) if !known.knows(*wanted) => {
            let range = match (known.min, known.max) {
                (min, max) if min == max => min.to_string(),
                (min, max) => format!("{min}-{max}"),
            };
            let why = format!("Local controller {node} only supports versions {range}");
            return refuse(&why);
        }
        Some(_) => {}
    }
    match direction {
        Direction::Up if *wanted < now => refuse(
            "Can't downgrade the version of this feature without setting the upgrade type to \
             either safe or unsafe downgrade.",
        ),
        Direction::Down if *wanted > now => refuse("Can't downgrade to a newer version."),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let mut image = Image::default();
        features::newest().for_each(|record| image.replay(&record));
        image
    }

    fn update(name: &str, level: i16, direction: Direction) -> Update {
        Update { name: name.to_owned(), level, direction }
    }

    #[test]
    fn refusals_are_kafkas() {
        let (known, other) = ("metadata.version", "x");
        let cases = [
            (
                known,
                30,
                Direction::Unknown,
                "The controller does not support the given upgrade type.",
            ),
            (known, -1, Direction::Down, "A feature version cannot be less than 0."),
            (known, 29, Direction::Down, "Local controller 7 only supports versions 30"),
            (other, 1, Direction::Up, "Local controller 7 does not support this feature."),
        ];
        for (name, level, direction, why) in cases {
            let one = update(name, level, direction);
            let Decision { records, answer } = decide(&image(), NodeId(7), &[one]);
            let message = format!("Invalid update version {level} for feature {name}. {why}");
            let refusal = Refusal::new(Reason::InvalidUpdateVersion, message);
            assert_eq!((records, answer), (Vec::new(), Err(refusal)));
        }
        let one = update(known, 30, Direction::Down);
        let answer = decide(&Image::default(), NodeId(7), &[one]).answer;
        let message = answer.unwrap_err().message.unwrap();
        assert!(message.ends_with("Can't downgrade to a newer version."));
    }

    #[test]
    fn all_change_or_none() {
        let empty = Image::default();
        let good = update("group.version", 1, Direction::Up);
        let both = [good.clone(), update("x", 1, Direction::Up)];
        let refused = decide(&empty, NodeId(7), &both);
        assert!(refused.records.is_empty() && refused.answer.is_err());
        let made = decide(&empty, NodeId(7), std::slice::from_ref(&good));
        assert_eq!(made.answer, Ok(()));
        let name = "group.version".to_owned();
        assert_eq!(made.records, [Record::Feature { name, level: 1 }]);
        assert_eq!(decide(&image(), NodeId(7), &[good]).records, []);
    }
}
