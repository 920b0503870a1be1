//! The seam to whoever changes leaders: the groups of the partitions, on the nodes that lead them.

use std::fmt::Debug;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::controller::leaders::{Election, Transfer};
use crate::controller::leadership::Leadership;

/// The leader was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotElected;

/// Changes leaders.
pub trait Elections: Debug + Send + Sync {
    /// Asks the present leader to give way, or makes a replica lead that may lack records. When
    /// this resolves the change is under way; the metadata tells when it is made.
    fn elect(
        &self,
        election: Election,
        transfer: Transfer,
    ) -> BoxFuture<'static, Result<(), NotElected>>;
}

impl Elections for Leadership {
    fn elect(
        &self,
        election: Election,
        transfer: Transfer,
    ) -> BoxFuture<'static, Result<(), NotElected>> {
        let elected = self.elect(election, transfer);
        async move { elected.await.map_err(|_| NotElected) }.boxed()
    }
}
