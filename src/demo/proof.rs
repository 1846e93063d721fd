//! The three-way proof: what each algo saw = what the journal holds = what the venue did.
//!
//! Compares, and knows neither files nor processes. Each difference is a line for people; no line: it holds.

use std::collections::{BTreeMap, BTreeSet};

use tradecore_domain::broker_id;
use tradecore_protocol::fields::{Environment, Money, OrdStatus, Side};

use super::algo::{Kind, Seen};
use super::history::{Asked, Balance, History, Order};
use crate::venue::log::{LoggedChanges, LoggedOrder};
use crate::venue::order::OrderStatus;
use crate::venue::text::Name;

/// The core that the demo configures.
pub(super) const CORE: u16 = 1;

/// Said where no order got to the venue.
pub(super) const NOTHING: &str = "nothing was traded: nothing is proven";

/// The venue's orders, and what changes it was asked for, by the `OrderId` in their client order id.
pub(super) struct AtVenue<'a> {
    orders: BTreeMap<u64, &'a LoggedOrder>,
    changes: BTreeMap<u64, &'a LoggedChanges>,
    /// What was found wrong on the way.
    wrong: Vec<String>,
}

impl<'a> AtVenue<'a> {
    pub(super) fn new(
        orders: impl Iterator<Item = &'a LoggedOrder>,
        changes: impl Iterator<Item = (&'a Name, &'a LoggedChanges)>,
    ) -> Self {
        let mut this = Self { orders: BTreeMap::new(), changes: BTreeMap::new(), wrong: Vec::new() };
        for order in orders {
            let Some(order_id) = this.order_id_of(&order.client_order_id) else { continue };
            let is_doubled = this.orders.insert(order_id, order).is_some();
            if order.orders_accepted > 1 || order.submissions > 1 || is_doubled {
                this.wrong.push(format!("order {order_id:x} was sent to the venue more than once"));
            }
        }
        for (client_order_id, changes) in changes {
            let Some(order_id) = this.order_id_of(client_order_id) else { continue };
            if this.changes.insert(order_id, changes).is_some() {
                this.wrong.push(format!("two clients of the venue changed order {order_id:x}"));
            }
        }
        this
    }

    fn order_id_of(&mut self, client_order_id: &Name) -> Option<u64> {
        let text = client_order_id.as_str();
        let order_id = broker_id::order_id_of(Environment::Virtual, CORE, text);
        if order_id.is_none() {
            self.wrong.push(format!("the venue has an order {text} that no gateway names"));
        }
        order_id.map(|order_id| order_id.0)
    }
}

/// After the end, with everything closed: all three, in everything that two of them know.
pub(super) fn compare(seen: &[Seen], journal: &History, venue: &AtVenue<'_>) -> Vec<String> {
    let mut wrong = unjournaled(venue, journal);
    wrong.extend(unsettled(venue, journal));
    if !journal.orders.values().any(|order| order.is_acked) {
        wrong.push(NOTHING.to_owned());
    }
    for (order_id, order) in &journal.orders {
        if !is_closed(order) {
            wrong.push(format!("order {order_id:x} is still open in the journal: {order:?}"));
        }
        let is_open_there = venue.orders.get(order_id).is_some_and(|there| there.status.is_open());
        if is_open_there {
            wrong.push(format!("order {order_id:x} is still open at the venue"));
        }
        if !seen.iter().any(|algo| algo.session_id == order.session_id) {
            wrong.push(format!("order {order_id:x} is in the journal and of no algo"));
        }
    }
    for algo in seen {
        let found = [compare_sent(algo, journal), compare_balance(algo, journal, venue)];
        wrong.extend(found.into_iter().flatten().map(|line| format!("{}: {line}", algo.kind.name())));
    }
    wrong
}

/// What the venue was asked for and the journal, read later, does not say that it was to be asked for: at any time.
pub(super) fn unjournaled(venue: &AtVenue<'_>, journal: &History) -> Vec<String> {
    let unknown = venue.orders.keys().chain(venue.changes.keys());
    let unknown = unknown.filter(|order_id| !journal.orders.contains_key(order_id)).map(|order_id| {
        format!("order {order_id:x} is at the venue and not in the journal: it left before it was journaled")
    });
    let mut wrong: Vec<String> = venue.wrong.iter().cloned().chain(unknown).collect();
    for (order_id, theirs) in &venue.changes {
        let Some(ours) = journal.orders.get(order_id) else { continue };
        if theirs.cancels > ours.cancels {
            let (sent, meant) = (theirs.cancels, ours.cancels);
            wrong
                .push(format!("order {order_id:x}: {sent} cancels were sent to the venue, {meant} are in the journal"));
        }
        // Each intent leaves once at most, and none overtakes another.
        let mut meant = ours.replaces.iter();
        let sent = theirs.replaces.iter().map(|(px, qty)| (px.0, qty.0));
        for replace in sent {
            if !meant.any(|meant| *meant == replace) {
                let held = &ours.replaces;
                wrong.push(format!(
                    "order {order_id:x}: replace {replace:?} was sent to the venue once more than journaled: {held:?}"
                ));
            }
        }
    }
    wrong
}

/// What the journal takes for a fact and the venue, read later, does not confirm: at any time.
pub(super) fn unsettled(venue: &AtVenue<'_>, journal: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    if journal.contradictions > 0 {
        wrong.push(format!("the venue contradicted the journal {} times", journal.contradictions));
    }
    let mut ids = BTreeSet::new();
    for (order_id, ours) in &journal.orders {
        if !ids.insert((ours.session_id, ours.cl_ord_id)) {
            wrong.push(format!("order {order_id:x}: its ClOrdID {:x} has another order too", ours.cl_ord_id));
        }
        if ours.acceptances != 1 {
            wrong.push(format!("order {order_id:x} was accepted {} times", ours.acceptances));
        }
        let difference = match venue.orders.get(order_id) {
            None => is_known_there(ours).then(|| "the venue never had it".to_owned()),
            Some(_) if ours.never_left => Some("it was canceled before it left, and is at the venue".to_owned()),
            Some(theirs) => differs(ours, theirs, journal),
        };
        if let Some(difference) = difference {
            wrong.push(format!("order {order_id:x}: {difference}; the journal holds {ours:?}"));
        }
    }
    wrong
}

fn is_closed(order: &Order) -> bool {
    OrdStatus::from_raw(order.status).is_some_and(OrdStatus::is_closed)
}

/// True when the journal says that the venue had the order: all that is closed was there, but what was refused, or
/// canceled before it left.
fn is_known_there(order: &Order) -> bool {
    let is_refused = order.status == OrdStatus::Rejected.raw();
    order.is_acked || !order.fills.is_empty() || (is_closed(order) && !is_refused && !order.never_left)
}

fn differs(ours: &Order, theirs: &LoggedOrder, journal: &History) -> Option<String> {
    let symbol = journal.symbols.get(&ours.terms.instrument_id).map_or("", String::as_str);
    if (symbol, ours.terms.side) != (theirs.symbol.as_str(), theirs.side.raw()) {
        return Some(format!("the venue has a {:?} of {}", theirs.side, theirs.symbol));
    }
    let here = ours.fills.iter().map(|fill| (fill.broker_exec_id, fill.px, fill.qty, fill.fee));
    let mut there = theirs.fills.iter().map(|fill| (fill.exec_id, fill.px.0, fill.qty.0, fill.fee.0));
    if let Some(fill) = here.clone().find(|fill| there.next() != Some(*fill)) {
        return Some(format!("its fill {fill:?} is not the venue's: {:?}", theirs.fills));
    }
    let sum = |(qty, cost): (i128, i128), (_, px, last_qty, _): (u64, i64, i64, i128)| {
        let value = i128::from(px).saturating_mul(i128::from(last_qty));
        (qty.saturating_add(last_qty.into()), cost.saturating_add(value))
    };
    if here.fold((0, 0), sum) != (ours.cum_qty.into(), ours.cum_cost) {
        return Some("its fills do not add up to it".to_owned());
    }
    // Of what is open, the venue may know more by now.
    if !is_closed(ours) {
        return None;
    }
    if let Some(fill) = there.next() {
        return Some(format!("the venue filled it once more: {fill:?}"));
    }
    if (ours.terms.px, ours.terms.qty) != (theirs.px.0, theirs.qty.0) {
        return Some(format!("the venue has it at {:?} for {:?}", theirs.px, theirs.qty));
    }
    let is_same_end = match theirs.status {
        OrderStatus::PendingNew | OrderStatus::New | OrderStatus::PartiallyFilled => false,
        OrderStatus::Filled => ours.status == OrdStatus::Filled.raw(),
        // The venue cancels what an immediate order leaves: that is its time in force, which has expired.
        OrderStatus::Canceled => [OrdStatus::Canceled.raw(), OrdStatus::Expired.raw()].contains(&ours.status),
        OrderStatus::Expired => ours.status == OrdStatus::Expired.raw(),
        OrderStatus::Rejected => ours.status == OrdStatus::Rejected.raw(),
    };
    (!is_same_end).then(|| format!("the venue has it as {:?}", theirs.status))
}

/// What was sent must be in the journal as it was sent, or its algo was told that it had no effect: one of the two.
fn compare_sent(algo: &Seen, journal: &History) -> Vec<String> {
    let mut wrong = Vec::new();
    if algo.in_doubt > 0 {
        wrong.push(format!("{} requests were in doubt at the end", algo.in_doubt));
    }
    if algo.irregular > 0 {
        wrong.push(format!("{} times reports were skipped, or frames refused by the session", algo.irregular));
    }
    for (id, sent) in &algo.sent {
        let decided = journal.requests.get(&(algo.session_id, *id));
        match decided {
            None if algo.refused.contains(id) => {}
            None => wrong.push(format!("request {id:x} was sent, and nothing became of it")),
            // Of an order that is sent twice one may be refused, and the other not.
            Some(_) if algo.refused.contains(id) && algo.kind != Kind::Repeater => {
                wrong.push(format!("request {id:x} was told to have had no effect, and is in the journal"));
            }
            Some(Asked::Unsaid) => {}
            Some(asked) if asked == sent => {}
            Some(asked) => wrong.push(format!("request {id:x}: sent {sent:?}, journaled {asked:?}")),
        }
    }
    for (_, id) in journal.requests.range((algo.session_id, 0)..=(algo.session_id, u64::MAX)).map(|(ids, _)| ids) {
        if !algo.sent.contains_key(id) {
            wrong.push(format!("request {id:x} is in the journal and was never sent"));
        }
    }
    if !algo.unanswered_repeats.is_empty() {
        wrong.push(format!("{} repeated orders were not answered", algo.unanswered_repeats.len()));
    }
    if algo.repeats > 0 && algo.duplicates_answered == 0 {
        wrong.push(format!("it repeated {} orders, and no answer knew of a first one", algo.repeats));
    }
    wrong
}

/// What the algo was told that it has, what the journal leads to, and what the venue's fills come to.
fn compare_balance(algo: &Seen, journal: &History, venue: &AtVenue<'_>) -> Vec<String> {
    // The demo gives each session the account of its own number.
    let account_id = algo.session_id;
    let Some(told) = &algo.balance else {
        return vec![
            "it did not come to its end: its orders closed, its requests answered, its balance told".to_owned(),
        ];
    };
    let mut wrong = Vec::new();
    let ours = journal.balances.get(&account_id).cloned().unwrap_or_default();
    if *told != ours {
        wrong.push(format!("it was told of {told:?}, the journal leads to {ours:?}"));
    }
    let mut there = Balance { cash: journal.initial_cash.get(&account_id).copied().unwrap_or(0), ..Balance::default() };
    for (order_id, theirs) in &venue.orders {
        let Some(order) = journal.orders.get(order_id).filter(|order| order.account_id == account_id) else { continue };
        for fill in &theirs.fills {
            let sign: i128 = if theirs.side == Side::Buy { 1 } else { -1 };
            let value = Money::of(fill.px, fill.qty).0.saturating_mul(sign);
            there.cash = there.cash.saturating_sub(value).saturating_sub(fill.fee.0);
            let (qty, _) = there.positions.entry(order.terms.instrument_id).or_default();
            *qty = qty.saturating_add(i128::from(fill.qty.0).saturating_mul(sign));
        }
    }
    // Profit is a matter of how costs are spread; the venue knows quantities.
    let quantities = |balance: &Balance| {
        let held = balance.positions.iter().filter(|(_, (qty, _))| *qty != 0);
        held.map(|(instrument_id, (qty, _))| (*instrument_id, *qty)).collect::<Vec<_>>()
    };
    if (ours.cash, quantities(&ours)) != (there.cash, quantities(&there)) {
        wrong.push(format!("the journal leads to {ours:?}, the venue's fills to {there:?}"));
    }
    wrong
}

#[cfg(test)]
mod tests;
