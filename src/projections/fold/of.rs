//! What an event is of.

use tradecore_domain::event::{Event, OrderImage};

use crate::projections::aggregate::Aggregate;

/// The order that an event needs to have in `Rows` before it is folded; `None` when it needs none.
#[must_use]
pub fn order_needed(event: &Event) -> Option<u64> {
    match event {
        Event::OrderAccepted(_) | Event::OrderRejected(_) => None,
        event => image_of(event).map(|image| image.order_id),
    }
}

/// The order in an event, if it holds one.
pub(super) fn image_of(event: &Event) -> Option<&OrderImage> {
    match event {
        Event::OrderAccepted(e) => Some(&e.order),
        Event::OrderRejected(e) => Some(&e.order),
        Event::OrderAcknowledged(e) => Some(&e.order),
        Event::OrderFilled(e) => Some(&e.order),
        Event::OrderClosed(e) => Some(&e.order),
        Event::CancelRequested(e) => Some(&e.order),
        Event::ReplaceRequested(e) => Some(&e.order),
        Event::OrderReplaced(e) => Some(&e.order),
        Event::ChangeRejected(e) => Some(&e.order),
        Event::OrderInDoubt(e) => Some(&e.order),
        Event::OrderRestated(e) => Some(&e.order),
        Event::CoreStarted(_)
        | Event::InstrumentDefined(_)
        | Event::AccountDefined(_)
        | Event::SessionDefined(_)
        | Event::SessionLoggedOn(_)
        | Event::SessionEnded(_)
        | Event::RequestRejected(_)
        | Event::BrokerContradicted(_)
        | Event::BrokerFactIgnored(_)
        | Event::BrokerStatusChanged(_)
        | Event::MassCancelAccepted(_)
        | Event::MassCancelCompleted(_)
        | Event::KillSwitchChanged(_)
        | Event::TradingStateChanged(_)
        | Event::MassCancelProgressed(_)
        | Event::OperatorNoted(_)
        | Event::DoubtSearchProgressed(_) => None,
    }
}

/// What an event is of first.
#[must_use]
pub fn aggregate_of(event: &Event) -> Aggregate {
    let of_order = |order_id: u64| match order_id {
        0 => Aggregate::Session(event.meta().session_id),
        order_id => Aggregate::Order(order_id),
    };
    let of_account = |account_id: u32| match account_id {
        0 => Aggregate::Core,
        account_id => Aggregate::Account(account_id),
    };
    match event {
        Event::InstrumentDefined(e) => Aggregate::Instrument(e.instrument_id),
        Event::AccountDefined(e) => Aggregate::Account(e.meta.account_id),
        Event::SessionDefined(_) | Event::SessionLoggedOn(_) | Event::SessionEnded(_) => {
            Aggregate::Session(event.meta().session_id)
        }
        Event::RequestRejected(e) => of_order(e.order_id),
        Event::BrokerContradicted(e) => of_order(e.order_id),
        Event::BrokerFactIgnored(e) => of_order(e.order_id),
        Event::MassCancelAccepted(e) => Aggregate::MassCancel(e.mass_cancel_id),
        Event::MassCancelProgressed(e) => Aggregate::MassCancel(e.mass_cancel_id),
        Event::MassCancelCompleted(e) => Aggregate::MassCancel(e.mass_cancel_id),
        Event::KillSwitchChanged(e) => of_account(e.meta.account_id),
        Event::TradingStateChanged(e) => of_account(e.meta.account_id),
        Event::CoreStarted(_)
        | Event::BrokerStatusChanged(_)
        | Event::DoubtSearchProgressed(_)
        | Event::OperatorNoted(_) => Aggregate::Core,
        event => of_order(image_of(event).map_or(0, |image| image.order_id)),
    }
}
