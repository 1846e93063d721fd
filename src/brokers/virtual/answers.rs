//! What the venue's replies mean: to a request, and to a query.

use tradecore_domain::command::{EffectFailure, EffectKind, FactKind};
use tradecore_protocol::reason::Reason;

use super::{Inbound, Purpose, VirtualBroker, failed, translate, without_place};
use crate::venue::event::RequestError;
use crate::venue::wire::{ErrorReply, Reply};

impl VirtualBroker {
    /// It was accepted; false when the connection must end.
    pub(super) fn answered(&mut self, purpose: Purpose, reply: &Reply) -> bool {
        match purpose {
            Purpose::Hello => {
                self.is_known = true;
                self.catch_up_to = Some(reply.last_event_seq.unwrap_or(0));
            }
            // What became of an effect comes as an event.
            Purpose::Subscribe | Purpose::Effect(..) => {}
            Purpose::Query(order_id) => {
                self.queries_out = self.queries_out.saturating_sub(1);
                if reply.order.as_ref().is_some_and(|order| order.request_pending) {
                    // Not the last word: what is under way stays in doubt until the stream has told of it.
                    self.changing.insert(order_id);
                } else if let Some(kind) = reply.order.as_ref().and_then(translate::found) {
                    // It tells of events that may be on their way still: theirs is the first word.
                    let event_seq = reply.last_event_seq.unwrap_or(0);
                    let fact = without_place(order_id, kind);
                    if event_seq > self.cursor {
                        self.early.push_back((event_seq, fact));
                    } else {
                        self.tell(Inbound::Fact(fact));
                    }
                }
            }
        }
        true
    }

    /// It was not; false when the connection must end.
    pub(super) fn refused(&mut self, purpose: Purpose, error: &ErrorReply) -> bool {
        match (purpose, error.code) {
            (Purpose::Query(order_id), RequestError::UnknownOrder) => {
                self.queries_out = self.queries_out.saturating_sub(1);
                self.tell(Inbound::Fact(without_place(order_id, FactKind::NotFound)));
                true
            }
            (Purpose::Effect(order_id, EffectKind::Cancel), RequestError::UnknownOrder) => {
                self.tell(Inbound::Fact(without_place(
                    order_id,
                    FactKind::CancelRejected { reason: Reason::NotAtBroker },
                )));
                true
            }
            // A cancel that finds no room is no less wanted: it is in doubt with the connection, and asked for again.
            (Purpose::Effect(order_id, kind), RequestError::Malformed | RequestError::Full)
                if (kind, error.code) != (EffectKind::Cancel, RequestError::Full) =>
            {
                self.tell(failed(order_id, kind, EffectFailure::NotSent, Reason::BrokerReject));
                true
            }
            (Purpose::Hello, RequestError::Fenced) => {
                tracing::error!(
                    client = self.config.client,
                    epoch = self.config.epoch,
                    "the broker knows a newer start of this gateway: another one runs under broker.client, or the journal \
                     was lost; bring the journal back, or name a new broker.client once its orders are dealt with"
                );
                false
            }
            (Purpose::Hello, RequestError::EventsGone) => {
                tracing::error!(
                    cursor = self.cursor,
                    text = error.text,
                    "the broker keeps fewer events than this gateway has missed: raise venue.exchange.events_kept_max and \
                     restart the venue; the journal and the venue's log are whole, keep both"
                );
                false
            }
            (Purpose::Hello, RequestError::CursorAhead) => {
                tracing::error!(
                    cursor = self.cursor,
                    text = error.text,
                    "the broker does not know the events that this journal goes on from: its log was lost or cut. Bring \
                     its log back, or begin anew with an empty core.data_dir once its orders are dealt with"
                );
                false
            }
            (purpose, code) => {
                tracing::warn!(?purpose, ?code, text = error.text, "the venue refused; reconnecting to compare");
                false
            }
        }
    }
}
