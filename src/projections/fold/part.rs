//! The parts of an event: each is taken whole, or parks its aggregate.

use super::{Entry, Fold};
use crate::projections::aggregate::Aggregate;
use crate::projections::cell::Unfit;
use crate::projections::rows::Rows;
use crate::projections::tables::ParkedRow;

/// Why a part of an event could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// A number is too great for its columns.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The order that changes is not there.
    #[error("order {0} is in no row")]
    NoOrder(u64),
}

impl Fold<'_, '_> {
    /// Does a part, unless its aggregate is parked; parks it when that fails.
    pub(super) fn part<T>(
        &mut self,
        aggregate: Aggregate,
        work: impl FnOnce(&mut Rows) -> Result<T, Trouble>,
    ) -> Option<T> {
        if let Some(first) = self.rows.parked.get(&aggregate) {
            let error = format!("behind event {first}");
            self.note_parked(aggregate, error);
            return None;
        }
        match work(self.rows) {
            Ok(done) => Some(done),
            Err(trouble) => {
                self.park(aggregate, trouble.to_string());
                None
            }
        }
    }

    /// Parks the event for an aggregate, and with it all that come later.
    pub(super) fn park(&mut self, aggregate: Aggregate, error: String) {
        self.rows.parked.entry(aggregate).or_insert(self.entry.seq);
        self.note_parked(aggregate, error);
        self.mark_sagas(aggregate);
        match aggregate {
            Aggregate::Core => {
                let core = self.rows.cores.iter().next();
                let core = core.map(|(core_id, core)| (core_id, core.epoch, core.broker_connection_no));
                let (core_id, epoch, connection_no) = core.unwrap_or_default();
                self.rows.cores.mark(core_id, |row| row.is_stale = true);
                self.rows.connections.mark((epoch, connection_no), |row| row.is_stale = true);
                self.rows.kill_switches.mark(0, |row| row.is_stale = true);
            }
            Aggregate::Order(id) => self.rows.orders.mark(id, |row| row.is_stale = true),
            Aggregate::Position(account_id, instrument_id) => {
                self.rows.positions.mark((account_id, instrument_id), |row| row.is_stale = true);
                let last = self.rows.daily_pnl.iter().next_back().map(|((day_ns, ..), _)| day_ns);
                let key = (last.unwrap_or_default(), account_id, instrument_id);
                self.rows.daily_pnl.mark(key, |row| row.is_stale = true);
            }
            Aggregate::Account(id) => {
                self.rows.accounts.mark(id, |row| row.is_stale = true);
                self.rows.balances.mark(id, |row| row.is_stale = true);
                self.mark_limits((id, 0));
                self.rows.kill_switches.mark(id, |row| row.is_stale = true);
            }
            Aggregate::Session(id) => self.rows.sessions.mark(id, |row| row.is_stale = true),
            Aggregate::Instrument(id) => {
                self.rows.instruments.mark(id, |row| row.is_stale = true);
                self.mark_limits((0, id));
            }
            Aggregate::MassCancel(id) => self.rows.mass_cancels.mark(id, |row| row.is_stale = true),
            Aggregate::Unread(_) => {}
        }
    }

    fn note_parked(&mut self, aggregate: Aggregate, error: String) {
        let Entry { seq, ts_ns, kind, version, .. } = self.entry;
        let (aggregate, aggregate_id) = aggregate.to_code();
        let of_this_event = self.rows.new.parked_records.iter().rev().take_while(|row| row.seq == seq);
        if of_this_event.into_iter().any(|row| (row.aggregate, row.aggregate_id) == (aggregate, aggregate_id)) {
            // Several parts of an event are of one aggregate: the first says why.
            return;
        }
        let row = ParkedRow { seq, aggregate, aggregate_id, ts_ns, event: kind, version: version.into(), error };
        self.rows.new.parked_records.push(row);
    }
}
