//! How much a core may hold.

/// How much there may be of everything; all of it is allocated at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open orders of the core.
    pub orders_max: u32,
    /// Closed orders that stay in reach of a late fact of the broker.
    pub closed_kept: u32,
    /// Executions that are known again when the broker repeats them.
    pub executions_kept: u32,
    /// ClOrdIDs of all open client epochs.
    pub ids_max: u32,
    /// Greatest session id.
    pub sessions_max: u32,
    /// Greatest account id.
    pub accounts_max: u32,
    /// Greatest instrument id.
    pub instruments_max: u32,
    /// Mass cancels under way, but for those of kill switches and lost connections.
    pub mass_cancels_max: u32,
    /// Spreads ids over their tables. Clients that know it could pick ids that lie in each other's way; nothing but time
    /// depends on it.
    pub hash_seed: u64,
}

impl Limits {
    /// Mass cancels under way, with one for the kill switch of each account and of the core, and one for the sessions
    /// that lost their connections.
    #[must_use]
    pub const fn mass_cancel_places(&self) -> usize {
        (self.mass_cancels_max as usize).saturating_add(self.accounts_max as usize).saturating_add(2)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            orders_max: 65_536,
            closed_kept: 4_096,
            executions_kept: 131_072,
            ids_max: 262_144,
            sessions_max: 1_024,
            accounts_max: 64,
            instruments_max: 256,
            mass_cancels_max: 64,
            hash_seed: 0,
        }
    }
}
