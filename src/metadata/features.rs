//! The features whose formats this build knows, by level (KIP-584). What the cluster has agreed on
//! (the finalized level) stands in the metadata: a format of a higher level is not written before
//! all nodes know it, and a node that does not know what was agreed on does not go on.

use crate::metadata::image::Image;
use crate::metadata::records::Record;

/// A feature and the levels of it that this build knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
}

/// Kafka's names and numbers. A new format gets a higher `max`, and is written from that level on.
pub const SUPPORTED: &[Feature] = &[
    // The new group protocol (KIP-848).
    Feature { name: "group.version", min: 1, max: 1 },
    // Voters change while the cluster runs (KIP-853).
    Feature { name: "kraft.version", min: 1, max: 1 },
    // The metadata records, 4.3-IV0.
    Feature { name: "metadata.version", min: 30, max: 30 },
];

impl Feature {
    pub fn knows(&self, level: i16) -> bool {
        (self.min..=self.max).contains(&level)
    }
}

/// The feature of this name, if this build has it.
pub fn find(name: &str) -> Option<&'static Feature> {
    SUPPORTED.iter().find(|feature| feature.name == name)
}

/// What a new cluster agrees on: the newest levels.
pub fn newest() -> impl Iterator<Item = Record> {
    SUPPORTED
        .iter()
        .map(|feature| Record::Feature { name: feature.name.to_owned(), level: feature.max })
}

/// Whether this build can read a cluster with these features.
pub fn check(image: &Image) -> Result<(), UnknownFeature> {
    let unknown = image.features.iter().find(|(name, level)| {
        let known = find(name);
        !known.is_some_and(|feature| feature.knows(**level))
    });
    unknown
        .map_or(Ok(()), |(name, level)| Err(UnknownFeature { name: name.clone(), level: *level }))
}

/// The cluster has agreed on something that this build does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFeature {
    name: String,
    level: i16,
}

impl std::fmt::Display for UnknownFeature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, level } = self;
        write!(f, "the cluster uses level {level} of {name}, and this version of the broker ")?;
        match find(name) {
            Some(known) => write!(f, "knows levels {} to {}", known.min, known.max),
            None => f.write_str("does not know that feature"),
        }
    }
}

impl std::error::Error for UnknownFeature {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_levels_pass() {
        let mut image = Image::default();
        newest().for_each(|record| image.replay(&record));
        assert_eq!(check(&image), Ok(()));
        image.replay(&Record::Feature { name: "metadata.version".to_owned(), level: 31 });
        let text = "the cluster uses level 31 of metadata.version, and this version of the broker \
                    knows levels 30 to 30";
        assert_eq!(check(&image).unwrap_err().to_string(), text);
        image.replay(&Record::Feature { name: "metadata.version".to_owned(), level: 30 });
        image.replay(&Record::Feature { name: "future".to_owned(), level: 1 });
        assert!(check(&image).unwrap_err().to_string().ends_with("does not know that feature"));
        image.replay(&Record::Feature { name: "future".to_owned(), level: 0 });
        assert_eq!(check(&image), Ok(()));
    }
}
