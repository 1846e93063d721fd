//! Sagas: how far work of many decisions has come, whatever it does.

use tradecore_domain::event::Event;

use super::{Fold, aggregate_of};
use crate::projections::aggregate::Aggregate;
use crate::projections::tables::{SagaRow, SagaStepRow};
use crate::shipping::domains::{Saga, SagaMove};

/// Codes and names of what becomes of a saga.
pub const STATES: &[(u16, &str)] = &[(UNDER_WAY, "UnderWay"), (DONE, "Done"), (BEGUN_ANEW, "BegunAnew")];

const UNDER_WAY: u16 = 1;
const DONE: u16 = 2;
const BEGUN_ANEW: u16 = 3;

fn is_of(row: &SagaRow, aggregate: Aggregate) -> bool {
    row.ended_seq == 0 && (row.aggregate, row.aggregate_id) == aggregate.to_code()
}

impl Fold<'_, '_> {
    /// Begins, moves or ends the saga of an event, if it is of one.
    pub(super) fn saga(&mut self, event: &Event) {
        let Some((saga, does)) = Saga::moved_by(event) else { return };
        let aggregate = aggregate_of(event);
        let known = self.rows.sagas.iter().find(|(_, row)| row.saga == saga.code() && is_of(row, aggregate));
        let known = known.map(|(id, _)| id);
        match (does, known) {
            (SagaMove::Begins, known) => {
                if let Some(id) = known {
                    self.move_saga(aggregate, id, |row| row.state = BEGUN_ANEW);
                }
                let (of, of_id) = aggregate.to_code();
                let meta = event.meta();
                let account_id = if let Event::MassCancelAccepted(e) = event { e.account_id } else { meta.account_id };
                let (kind, _) = event.kind();
                self.move_saga(aggregate, self.entry.seq, |row| {
                    (row.saga, row.aggregate, row.aggregate_id) = (saga.code(), of, of_id);
                    (row.begun_by, row.session_id, row.account_id) = (kind, meta.session_id, account_id);
                    row.state = UNDER_WAY;
                });
            }
            (SagaMove::GoesOn, Some(id)) => self.move_saga(aggregate, id, |_| {}),
            (SagaMove::Ends, Some(id)) => self.move_saga(aggregate, id, |row| row.state = DONE),
            // What began it is in no event: of the state before the first one.
            (SagaMove::GoesOn | SagaMove::Ends, None) => {}
        }
    }

    fn move_saga(&mut self, aggregate: Aggregate, id: u64, change: impl FnOnce(&mut SagaRow)) {
        let (seq, ts_ns, event) = (self.entry.seq, self.entry.ts_ns, self.entry.kind);
        self.part(aggregate, |rows| {
            rows.sagas.change(id, |row| {
                if id == seq {
                    (row.saga_id, row.started_ns) = (id, ts_ns);
                } else {
                    row.steps = row.steps.saturating_add(1);
                }
                change(row);
                if row.state != UNDER_WAY {
                    (row.ended_seq, row.ended_ns) = (seq, ts_ns);
                }
                (row.updated_seq, row.updated_ns) = (seq, ts_ns);
            })?;
            let step = rows.sagas.get(id).map(|row| SagaStepRow {
                seq,
                saga_id: id,
                ts_ns,
                saga: row.saga,
                event,
                step: row.steps,
                state: row.state,
                session_id: row.session_id,
                account_id: row.account_id,
            });
            rows.new.saga_steps.extend(step);
            Ok(())
        });
    }

    /// Marks what is under way of an aggregate.
    pub(super) fn mark_sagas(&mut self, aggregate: Aggregate) {
        let ids: Vec<u64> = self.rows.sagas.iter().filter(|(_, row)| is_of(row, aggregate)).map(|(id, _)| id).collect();
        for id in ids {
            self.rows.sagas.mark(id, |row| row.is_stale = true);
        }
    }
}
