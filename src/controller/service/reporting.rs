//! Leaders' reports on their way into the metadata: those of all nodes that come while one change
//! is being committed become the next one, so that a leader is named soon however many change.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::base::ids::NodeId;
use crate::controller::leaders::Report;
use crate::controller::reports;
use crate::controller::service::{
    Controller, LEADER_LOOKUP_INTERVAL, NOT_CONTROLLER, TAKEN, answer,
};
use crate::metadata::records;
use crate::peer::{Body, CallError, Kind};
use crate::replication::partition_group::ProposeError;

/// How long the controller has to commit the reports of another node.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The reports of one node.
#[derive(Debug)]
struct Waiting {
    reporter: NodeId,
    reports: Vec<Report>,
    /// Told the metadata offset at which they are in.
    done: oneshot::Sender<Result<u64, ProposeError>>,
}

/// Reports that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<Vec<Waiting>>);

impl Reports {
    fn add(&self, waiting: Waiting) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
    }

    fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Controller {
    /// Puts what this node says of the partitions that it leads into the metadata; resolves when
    /// this node's image has it. What is older than the metadata is left out.
    pub async fn report(&self, reports: &[Report]) -> Result<(), ProposeError> {
        let offset = loop {
            let told = match self.find_controller().await? {
                None => self.take_reports(self.node(), reports.to_vec()).await,
                Some(controller) => {
                    let asked =
                        (Kind::ReportLeaders, vec![reports::encode(reports)], REPORT_TIMEOUT);
                    match self.ask(controller, asked).await {
                        Ok((TAKEN, offset)) => Ok(offset),
                        Err(CallError::TimedOut) => Err(ProposeError::Unknown),
                        Ok(_) | Err(_) => Err(ProposeError::NotLeader),
                    }
                }
            };
            match told {
                Ok(offset) => break offset,
                Err(ProposeError::NotLeader) => tokio::time::sleep(LEADER_LOOKUP_INTERVAL).await,
                Err(error) => return Err(error),
            }
        };
        self.images.reached(offset).await;
        Ok(())
    }

    /// Answers another node that reports.
    pub async fn receive_reports(&self, from: NodeId, body: &[u8]) -> Result<Body, String> {
        let reports = reports::decode(body)?;
        let (status, offset) = match self.take_reports(from, reports).await {
            Ok(offset) => (TAKEN, offset),
            Err(ProposeError::NotLeader) => (NOT_CONTROLLER, 0),
            Err(error) => return Err(format!("{error:?}")),
        };
        Ok(vec![answer(status, offset)])
    }

    /// Takes the reports of a node, as the controller; returns the offset at which they are in.
    async fn take_reports(
        &self,
        reporter: NodeId,
        reports: Vec<Report>,
    ) -> Result<u64, ProposeError> {
        let (done, mut told) = oneshot::channel();
        self.reports.add(Waiting { reporter, reports, done });
        let turn = tokio::select! {
            biased;
            // Who had the turn before has taken these along.
            told = &mut told => return told.unwrap_or(Err(ProposeError::Stopped)),
            turn = Arc::clone(&self.turn).acquire_owned() => turn,
        };
        let turn = turn.map_err(|_| ProposeError::Stopped)?;
        let waiting = self.reports.take();
        let decided = if waiting.is_empty() {
            drop(turn);
            return told.await.unwrap_or(Err(ProposeError::Stopped));
        } else if self.is_active() {
            let image = self.images.current();
            let reported = waiting.iter().map(|one| (one.reporter, one.reports.as_slice()));
            let records = reports::merged(&image, reported);
            if records.is_empty() {
                Ok(image.offset)
            } else {
                self.append(turn, records::encode(&records)).await
            }
        } else {
            Err(ProposeError::NotLeader)
        };
        for one in waiting {
            // Who has gone away does not wait.
            let _ = one.done.send(decided);
        }
        decided
    }
}
