//! Which rows: options that several questions have.

use super::super::values::whole;

/// Rows of one account.
#[derive(clap::Args)]
pub(in crate::cli) struct OfAccount {
    /// Only this account.
    #[arg(long, value_name = "N", value_parser = whole::<u32>)]
    pub(super) account: Option<u32>,
}

/// Rows of one session.
#[derive(clap::Args)]
pub(in crate::cli) struct OfSession {
    /// Only this session.
    #[arg(long, value_name = "N", value_parser = whole::<u32>)]
    pub(super) session: Option<u32>,
}

/// Rows of one instrument.
#[derive(clap::Args)]
pub(in crate::cli) struct OfInstrument {
    /// Only this instrument.
    #[arg(long, value_name = "SYMBOL")]
    pub(super) instrument: Option<String>,
}

/// Rows of one order.
#[derive(clap::Args)]
pub(in crate::cli) struct OfOrder {
    /// Only this OrderID.
    #[arg(long, value_name = "ID", value_parser = whole::<u64>)]
    pub(super) order: Option<u64>,
}

/// Rows of some events.
#[derive(clap::Args)]
pub(in crate::cli) struct OfEvents {
    /// First event.
    #[arg(long, value_name = "SEQ", value_parser = whole::<u64>)]
    pub(super) from: Option<u64>,
    /// Last event.
    #[arg(long, value_name = "SEQ", value_parser = whole::<u64>)]
    pub(super) to: Option<u64>,
}
