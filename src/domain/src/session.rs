//! Sessions: how far each stream has come, and what is to happen when the connection is lost.

use tradecore_protocol::fields::CodMode;

/// A session, as far as decisions depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Raised by an operator's reset; 0 when the session is not defined.
    pub session_epoch: u64,
    /// The last client frame that was decided on.
    pub last_client_seq: u64,
    /// Number of the next report.
    pub next_report_seq: u64,
    /// `Role`, raw.
    pub role: u8,
    /// `CodMode` in force, raw.
    pub cod_mode: u8,
    /// The client epoch that ClOrdIDs may use; lower ones are closed. 0 until the first order of a session epoch.
    pub client_epoch: u16,
    /// Greatest counter of the ClOrdIDs that its orders have had in the client epoch.
    pub last_id_counter: u64,
    /// Grace window, ms.
    pub cod_window_ms: u32,
    /// Connection that speaks for it; 0 for none.
    pub connection_no: u64,
    /// UTC ns when its orders are to be canceled; 0 for never.
    pub cod_due_ns: u64,
    /// Whether every order is due, or only those with the flag.
    pub cod_all: bool,
    /// New orders are locked out.
    pub is_locked_out: bool,
    /// Open orders.
    pub open_orders: u32,
    /// ClOrdIDs of the open client epoch.
    pub(crate) ids: u32,
    pub(crate) ids_head: u32,
    pub(crate) ids_tail: u32,
}

impl Session {
    /// True when the configuration knows it.
    #[must_use]
    pub const fn is_defined(&self) -> bool {
        self.session_epoch != 0
    }

    pub(crate) fn mode(&self) -> CodMode {
        CodMode::from_raw(self.cod_mode).unwrap_or(CodMode::None)
    }
}
