//! Codes that only the wire needs: what a session, a query or a kill switch is asked for.
//!
//! Owns their values. The trading vocabulary that the journal shares stands in `fields`.

use crate::fields::wire_enum;

wire_enum! {
    /// What a logon asks for when its session is connected already.
    TakeoverPolicy: u8 {
        /// The new connection is refused.
        Refuse = 1,
        /// The old connection is ended, the new one goes on.
        TakeOver = 2,
    }
}

wire_enum! {
    /// What a logon asks for with regard to reports that it missed.
    ReplayMode: u8 {
        /// They are sent first, in order, flagged `REPLAY`.
        Replay = 1,
        /// A gap fill stands for all of them; the client asks for open orders and fills.
        Skip = 2,
    }
}

wire_enum! {
    /// State of a kill switch.
    KillState: u8 {
        /// New orders pass.
        Released = 1,
        /// New orders are refused.
        Engaged = 2,
    }
}

wire_enum! {
    /// What happens to the open orders of a session that ends.
    CodAction: u8 {
        /// They stay.
        Keep = 1,
        /// They are canceled now.
        CancelNow = 2,
        /// They are canceled when the window ends without a new logon.
        CancelAfterWindow = 3,
    }
}

wire_enum! {
    /// Who refused a request.
    Layer: u8 {
        /// The session rules.
        Session = 1,
        /// The gateway's own rules on orders.
        Gateway = 2,
        /// A risk limit.
        Risk = 3,
        /// The broker.
        Broker = 4,
    }
}

wire_enum! {
    /// Whose orders a mass cancel covers, before its filters.
    MassCancelScope: u8 {
        /// Orders of this session; not for role `Admin`, which has none.
        Session = 1,
        /// Orders of the named account, whoever placed them.
        Account = 2,
        /// Every order of the core; only for role `Admin`.
        Core = 3,
    }
}

wire_enum! {
    /// How far a mass cancel has come.
    BatchStatus: u8 {
        /// Accepted; its orders are being looked for.
        Pending = 1,
        /// Every order that it covers has its cancel on the way, or is closed.
        Done = 2,
    }
}

wire_enum! {
    /// What a kill switch covers.
    KillScope: u8 {
        /// The whole core.
        Core = 1,
        /// One account.
        Account = 2,
    }
}

wire_enum! {
    /// What is done to a kill switch.
    KillAction: u8 {
        /// New orders are refused from now on.
        Engage = 1,
        /// New orders pass again.
        Release = 2,
    }
}

wire_enum! {
    /// What is done to a market data subscription.
    SubscribeAction: u8 {
        /// Start.
        Subscribe = 1,
        /// Stop.
        Unsubscribe = 2,
    }
}

/// A list of flag bits, with the table that documents are made from.
macro_rules! flag_bits {
    ($(#[$doc:meta])* $module:ident { $($(#[doc = $fdoc:literal])* $name:ident = $value:literal,)* }) => {
        $(#[$doc])*
        pub mod $module {
            $($(#[doc = $fdoc])* pub const $name: u8 = $value;)*
            /// Every bit that has a meaning; others must be 0.
            pub const ALL: u8 = $($value)|*;
            /// Every bit: value, name, meaning.
            pub const TABLE: &[(u8, &str, &str)] = &[$(($value, stringify!($name), concat!($($fdoc),*)),)*];
        }
    };
}

flag_bits! {
    /// Flags of the frame header.
    frame_flags {
        /// To the server: this may be a repetition of what was sent on an earlier connection.
        POSS_RESEND = 1,
        /// To the client: the last frame of a chunked answer.
        LAST = 2,
        /// To the client: sent again, by a logon's replay or a resend.
        REPLAY = 4,
    }
}

flag_bits! {
    /// Flags of execution reports, rejects and batch reports.
    er_flags {
        /// No request of the session that the report is for caused it: the broker, an operator, a kill switch,
        /// a mass cancel of another session or the gateway itself did.
        UNSOLICITED = 1,
        /// Answer to a repeated request with the same content.
        DUPLICATE_REQUEST = 2,
        /// A copy for a drop-copy session.
        DROP_COPY = 4,
        /// Learned by comparison with the broker's facts.
        RECONCILED = 8,
    }
}

flag_bits! {
    /// Flags of a mass cancel.
    mass_cancel_flags {
        /// New orders of the session are refused afterwards, whatever the filters.
        LOCK_OUT = 1,
        /// The lock-out is lifted; nothing is canceled.
        RELEASE_LOCK_OUT = 2,
    }
}

flag_bits! {
    /// Flags of a kill switch.
    kill_flags {
        /// Open orders in scope are canceled.
        CANCEL_OPEN = 1,
        /// A restriction of the trading state in scope is lifted, as after a contradiction that a person has looked at.
        REOPEN = 2,
    }
}

flag_bits! {
    /// Flags of a quote.
    quote_flags {
        /// Too old to trade on.
        STALE = 1,
    }
}
