//! Who was heard as leader, last and until it said that it leads no more.

use crate::base::ids::NodeId;

/// The start of which node was heard as leader of which term.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) term: u64,
    pub(super) node: Option<NodeId>,
    pub(super) incarnation: Option<u64>,
    /// The term in which a node stopped leading by itself. Raft there does not know, and what it
    /// sends does not make it the leader again.
    resigned: Option<(u64, NodeId)>,
}

impl Heard {
    /// Entries came from a leader. Returns whether it is another one than before.
    pub(super) fn hear(&mut self, term: u64, node: NodeId, incarnation: Option<u64>) -> bool {
        if self.resigned == Some((term, node)) {
            return false;
        }
        let is_new = (self.term, self.node) != (term, Some(node));
        *self = Self { term, node: Some(node), incarnation, ..*self };
        is_new
    }

    pub(super) fn resign(&mut self, node: NodeId) {
        if self.node == Some(node) {
            *self = Self { resigned: Some((self.term, node)), ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_resigned_is_not_heard_again_in_that_term() {
        let (one, two) = (NodeId(1), NodeId(2));
        let mut heard = Heard::default();
        assert!(heard.hear(3, one, Some(7)));
        heard.resign(two);
        assert!(!heard.hear(3, one, Some(7)));
        heard.resign(one);
        // What was on its way, or what Raft sends because it does not know.
        assert!(!heard.hear(3, one, Some(7)));
        assert_eq!(heard.node, None);
        assert!(heard.hear(4, two, Some(8)));
        assert!(heard.hear(5, one, Some(7)));
        assert_eq!((heard.term, heard.node), (5, Some(one)));
    }
}
