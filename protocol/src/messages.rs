//! Every message of the protocol, and the catalogue of them.
//!
//! Owns the declarations: struct, offsets, units, direction, numbering and roles of each message.
//! What is derived from them (metadata, documents, vectors) cannot differ from them.

mod market;
mod orders;
mod queries;
mod session;

pub use market::*;
pub use orders::*;
pub use queries::*;
pub use session::*;

use crate::layout::MessageInfo;

/// Sets of roles: bit `1 << Role::raw()` each.
pub mod roles {
    use crate::fields::Role;

    /// The set of one role.
    #[must_use]
    pub const fn only(role: Role) -> u8 {
        match role {
            Role::Trade => TRADE,
            Role::DropCopy => DROP_COPY,
            Role::MarketData => MARKET_DATA,
            Role::Admin => ADMIN,
        }
    }

    /// Those who trade.
    pub const TRADE: u8 = 1 << 1;
    /// Those who read copies.
    pub const DROP_COPY: u8 = 1 << 2;
    /// Those who read quotes.
    pub const MARKET_DATA: u8 = 1 << 3;
    /// Operators.
    pub const ADMIN: u8 = 1 << 4;
    /// Everyone.
    pub const ALL: u8 = TRADE | DROP_COPY | MARKET_DATA | ADMIN;
    /// Those who may see orders and accounts.
    pub const REPORTS: u8 = TRADE | DROP_COPY | ADMIN;
    /// Those who may have quotes.
    pub const QUOTES: u8 = TRADE | MARKET_DATA | ADMIN;
}

const GROUPS: [&[&MessageInfo]; 4] = [SESSION, ORDERS, QUERIES, MARKET];

/// Messages of this version.
pub const MESSAGE_COUNT: usize = count(&GROUPS);

/// Every message, by template id.
pub const CATALOGUE: &[&MessageInfo] = &sorted(&GROUPS);

/// Template ids end below this.
pub const TEMPLATES_END: usize = 1024;

static INDEX: [u8; TEMPLATES_END] = index(CATALOGUE);

/// What is declared about the template, if it is known; one table look-up.
#[must_use]
pub fn lookup(template_id: u16) -> Option<&'static MessageInfo> {
    let index = *INDEX.get(usize::from(template_id))?;
    CATALOGUE.get(usize::from(index)).copied()
}

/// FNV-1a over the catalogue: ids, names, offsets and lengths. Advisory; a difference is no error.
pub const LAYOUT_HASH: u64 = layout_hash(CATALOGUE);

// The functions below are evaluated by the compiler: a failed assertion, an overflow or an index
// out of bounds is an error of the build.

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
const fn count(groups: &[&[&MessageInfo]]) -> usize {
    let (mut group, mut sum) = (0, 0);
    while group < groups.len() {
        sum += groups[group].len();
        group += 1;
    }
    sum
}

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
const fn sorted(groups: &[&[&'static MessageInfo]]) -> [&'static MessageInfo; MESSAGE_COUNT] {
    let mut all = [groups[0][0]; MESSAGE_COUNT];
    let (mut group, mut len) = (0, 0);
    while group < groups.len() {
        let mut from = 0;
        while from < groups[group].len() {
            let mut to = len;
            while to > 0 && all[to - 1].template_id > groups[group][from].template_id {
                all[to] = all[to - 1];
                to -= 1;
            }
            all[to] = groups[group][from];
            len += 1;
            from += 1;
        }
        group += 1;
    }
    all
}

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
const fn index(catalogue: &[&MessageInfo]) -> [u8; TEMPLATES_END] {
    let mut index = [u8::MAX; TEMPLATES_END];
    let mut at = 0;
    while at < catalogue.len() {
        let template_id = catalogue[at].template_id as usize;
        assert!(index[template_id] == u8::MAX, "a template id is used once");
        assert!(at < u8::MAX as usize, "the index fits a byte");
        index[template_id] = at as u8;
        at += 1;
    }
    index
}

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
const fn layout_hash(catalogue: &[&MessageInfo]) -> u64 {
    const fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            at += 1;
        }
        hash
    }
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < catalogue.len() {
        let message = catalogue[at];
        hash = mix(mix(hash, &message.template_id.to_le_bytes()), message.name.as_bytes());
        let mut field = 0;
        while field < message.fields.len() {
            let info = message.fields[field];
            hash = mix(mix(hash, &info.offset.to_le_bytes()), &info.len.to_le_bytes());
            hash = mix(mix(hash, &[info.ty as u8]), info.name.as_bytes());
            field += 1;
        }
        at += 1;
    }
    hash
}
