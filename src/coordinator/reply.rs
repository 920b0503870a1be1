//! Where an answer goes: state machines keep these until they know what to say.

use tokio::sync::oneshot;

/// The end that a state machine holds. Dropping it tells whoever waits that the coordinator is
/// gone.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

/// The end of whoever waits.
pub type Waiting<T> = oneshot::Receiver<T>;

impl<T> Reply<T> {
    pub fn channel() -> (Self, Waiting<T>) {
        let (tell, waiting) = oneshot::channel();
        (Self(tell), waiting)
    }

    /// Whether nobody waits any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Answers at once, whatever has been appended: use [`crate::coordinator::step::Step::answer`].
    pub(crate) fn send(self, answer: T) {
        // Whoever asked may have gone.
        let _ = self.0.send(answer);
    }
}
