//! InitProducerId (key 22), versions 0 to 5: an id for a producer whose batches are counted.
//!
//! Behaviour
//! * Without a transactional id the answer is always a fresh id with epoch 0, also for a producer
//!   that had one before (KIP-360): so does Kafka.
//! * Transactions are not served yet. A transactional id is refused with an error that no client
//!   tries again, UNSUPPORTED_VERSION, once the request itself has been checked.
//!
//! Versions: 2 flexible, 3 the id and epoch that the producer has (KIP-360), 4 PRODUCER_FENCED, 5
//! TRANSACTION_ABORTABLE (KIP-890).

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::api::context::Caller;
use crate::api::errors::{self, Code, NONE};

const NO_PRODUCER_ID: i64 = -1;
const NO_PRODUCER_EPOCH: i16 = -1;

pub(super) async fn handle(
    caller: &Caller,
    request: InitProducerIdRequest,
    _version: i16,
) -> InitProducerIdResponse {
    let answer = InitProducerIdResponse::default();
    match assign(caller, &request).await {
        Ok(id) => {
            answer.with_error_code(NONE).with_producer_id(ProducerId(id)).with_producer_epoch(0)
        }
        Err(code) => answer
            .with_error_code(code.code())
            .with_producer_id(ProducerId(NO_PRODUCER_ID))
            .with_producer_epoch(NO_PRODUCER_EPOCH),
    }
}

/// The codes in a response.
pub(super) fn errors(response: &InitProducerIdResponse) -> impl Iterator<Item = i16> {
    std::iter::once(response.error_code)
}

async fn assign(caller: &Caller, request: &InitProducerIdRequest) -> Result<i64, Code> {
    let has_id = request.producer_id.0 != NO_PRODUCER_ID;
    let has_epoch = request.producer_epoch != NO_PRODUCER_EPOCH;
    if has_id != has_epoch {
        return Err(Code::InvalidRequest);
    }
    let context = &caller.context;
    if let Some(transactional_id) = &request.transactional_id {
        let timeout_ms_max = context.settings.config.transaction_max_timeout_ms;
        return Err(match request.transaction_timeout_ms {
            _ if transactional_id.is_empty() => Code::InvalidRequest,
            timeout_ms if !(1..=timeout_ms_max).contains(&timeout_ms) => {
                Code::InvalidTransactionTimeout
            }
            _ => Code::UnsupportedVersion,
        });
    }
    let id = context.controller.next_producer_id().await.map_err(errors::of_controller)?;
    id.ok_or(Code::UnknownServerError)
}
