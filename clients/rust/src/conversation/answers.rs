//! Which request a frame is the answer to.

use tradecore_protocol::fields::ClOrdId;
use tradecore_protocol::frame::Frame;
use tradecore_protocol::messages::SessionReject;
use tradecore_protocol::reason::Reason;

use super::Conversation;
use crate::events::Event;
use crate::options::ClientError;

impl Conversation {
    pub(super) fn deliver(&mut self, frame: &Frame<'_>) -> Result<(), ClientError> {
        let event = Event::of(frame);
        if frame.header.seq == 0
            && let Some(Event::Reject(reject)) = &event
            && self.store.is_repeated_since(reject.cl_ord_id.get(), reject.ref_seq.get())
        {
            // Nothing was decided under that number: what becomes of the order is told under the newer one.
            return Ok(());
        }
        let named = event.as_ref().map(Event::answers).unwrap_or_default();
        let answers = named.into_iter().filter(|(id, seq)| self.store.answer(*id, *seq)).map(|(id, _)| id);
        let answers: Vec<u64> = answers.collect();
        // No replay brings a refusal again that has no number.
        if frame.header.seq == 0
            && let Some(Event::Reject(reject)) = &event
        {
            answers.iter().try_for_each(|id| self.store.refuse(*id))?;
            if reject.reason.get() == Reason::IdsMax.raw() {
                self.store.end_epoch(ClOrdId(reject.cl_ord_id.get()));
            }
        }
        self.tell_answer(event, answers);
        Ok(())
    }

    /// A refused frame is named by its number alone.
    pub(super) fn session_rejected(&mut self, reject: SessionReject) -> Result<(), ClientError> {
        self.tell(Some(Event::SessionReject(reject)));
        let ref_seq = reject.ref_seq.get();
        let refused = self.store.unanswered.iter().find(|(_, request)| ref_seq != 0 && request.seq == ref_seq);
        if let Some(id) = refused.map(|(id, _)| *id) {
            self.store.answer(id, None);
            self.store.refuse(id)?;
            self.tell_answer(Some(Event::NotApplied { cl_ord_id: ClOrdId(id) }), vec![id]);
        }
        Ok(())
    }
}
