//! Who may log on: keys, roles and accounts of the configured sessions.

use tradecore_protocol::fields::CodMode;
use tradecore_protocol::layout::Text;
use tradecore_protocol::transcript::MacKey;

use super::throttle::Pace;
use crate::egress::gate::ConnectionId;

/// What the configuration says of a session.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Names the key.
    pub key_id: Text<16>,
    /// The secret.
    pub key: MacKey,
    /// Roles that it may take: bit `1 << Role::raw()` each.
    pub roles: u8,
    /// Accounts that it may use; empty for all.
    pub accounts: Box<[u32]>,
    /// Cancel-on-disconnect mode of a logon that names none.
    pub cod_mode: CodMode,
    /// What it may still send.
    pub pace: Pace,
    /// The connection that speaks for it now.
    pub connection: Option<ConnectionId>,
}

impl Entry {
    /// True when the session may see and use the account; with 0, all of them.
    #[must_use]
    pub fn may_use(&self, account_id: u32) -> bool {
        self.accounts.is_empty() || self.accounts.contains(&account_id)
    }
}

/// Every configured session, by id, and where other cores are.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    entries: Vec<Option<Entry>>,
    cores: Vec<(u16, Text<64>)>,
}

impl Directory {
    /// Adds a session.
    pub fn insert(&mut self, session_id: u32, entry: Entry) {
        let index = session_id as usize;
        if self.entries.len() <= index {
            self.entries.resize_with(index.saturating_add(1), || None);
        }
        if let Some(place) = self.entries.get_mut(index) {
            *place = Some(entry);
        }
    }

    /// Says where another core is served: `host:port`.
    pub fn insert_core(&mut self, core: u16, address: Text<64>) {
        self.cores.push((core, address));
    }

    /// Where a core is served, for those who ask the wrong gateway; empty if that is not known.
    #[must_use]
    pub fn served_at(&self, core: u16) -> Text<64> {
        self.cores.iter().find(|(known, _)| *known == core).map_or(Text::EMPTY, |(_, address)| *address)
    }

    /// The session with this id.
    #[must_use]
    pub fn get(&self, session_id: u32) -> Option<&Entry> {
        self.entries.get(session_id as usize).and_then(Option::as_ref)
    }

    /// The session with this id.
    pub fn get_mut(&mut self, session_id: u32) -> Option<&mut Entry> {
        self.entries.get_mut(session_id as usize).and_then(Option::as_mut)
    }
}
