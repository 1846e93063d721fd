//! Reasons: the stable code of everything that is refused, ended or reported as wrong.
//!
//! Declared once; the tables in `PROTOCOL.md` are made from `Reason::TABLE`. Codes are never reused.
//! Within one decision the order of the checks is: identity, shape, state, limits.

use crate::fields::wire_enum;

wire_enum! {
    /// FIX OrdRejReason (103) and its relatives, as one number space.
    Reason: u16 {
        /// No reason.
        None = 0,

        /// Key id unknown or MAC wrong: nothing more is told.
        AuthFailed = 1,
        /// No common protocol version.
        Version = 2,
        /// The session is connected and its policy refuses a second connection.
        SessionInUse = 3,
        /// The session epoch is not the current one.
        EpochMismatch = 4,
        /// The client asks for, or claims, sequence numbers from the future.
        SeqAhead = 5,
        /// A sequence number was skipped or repeated without the resend flag.
        SeqError = 6,
        /// The sequence number is older than the replay window.
        SeqUnavailable = 7,
        /// Nothing was heard for 2.5 heartbeat intervals.
        HeartbeatTimeout = 8,
        /// Frame length out of bounds or not a multiple of 8.
        FrameSize = 9,
        /// No such template.
        UnknownTemplate = 10,
        /// The block is shorter than the template's first version.
        BlockTooShort = 11,
        /// A frame other than hello or logon before logon.
        NotLoggedOn = 12,
        /// The session's role may not send this.
        RoleForbidden = 13,
        /// A resend is in progress.
        ResendInProgress = 14,
        /// The resend asks for too much.
        ResendLimit = 15,
        /// The session's outbound queue is full.
        SlowConsumer = 16,
        /// Another connection took the session over.
        TakenOver = 17,
        /// The gateway stops.
        Shutdown = 18,
        /// A reserved byte, flag or padding is not zero.
        NonzeroReserved = 19,
        /// Too many logon attempts.
        LoginRate = 20,
        /// New orders wait until the replay is complete.
        ReplayInProgress = 21,
        /// Logon did not come in time.
        LogonTimeout = 22,
        /// The environment is not this gateway's.
        EnvironmentMismatch = 23,
        /// The core is not this gateway's; the text says where it is served.
        Redirect = 24,
        /// A session field has a value that is not allowed.
        FieldValue = 25,
        /// No room for another connection.
        ConnectionsMax = 26,
        /// The client said goodbye.
        Logout = 27,
        /// The peer closed or reset the connection.
        ConnectionLost = 28,
        /// The session may not use this account.
        AccountForbidden = 29,

        /// No such instrument.
        InstrumentUnknown = 100,
        /// Side is not one of the table.
        SideInvalid = 101,
        /// Order type is not one of the table.
        OrdTypeInvalid = 102,
        /// Time in force is not one of the table.
        TifInvalid = 103,
        /// A flag bit without meaning is set.
        ExecFlagsInvalid = 104,
        /// A limit order needs a price.
        PriceMissing = 105,
        /// A market order carries no price.
        PriceForbidden = 106,
        /// The price is not positive.
        PriceNotPositive = 107,
        /// The price is not a multiple of the tick size.
        PriceTick = 108,
        /// The quantity is not positive.
        QtyNotPositive = 109,
        /// The quantity is not a multiple of the lot size.
        QtyLot = 110,
        /// The quantity is below the instrument's minimum.
        QtyMin = 111,
        /// Post-only does not go with a market, IOC or FOK order.
        PostOnlyInvalid = 112,
        /// A market order is IOC or FOK or day only.
        MarketTifInvalid = 113,
        /// No such account.
        AccountUnknown = 114,
        /// ClOrdID is zero.
        ClOrdIdMissing = 119,
        /// ClOrdID was used with other content.
        DuplicateId = 120,
        /// No such order of this session or account.
        UnknownOrder = 121,
        /// The order is closed.
        TooLate = 122,
        /// A change of this order is pending.
        PendingChange = 123,
        /// Valid-until has passed.
        StaleRequest = 124,
        /// The client epoch of the ClOrdID is closed.
        ClientEpochClosed = 125,
        /// The session has used its share of ClOrdIDs of this client epoch: go on in the next one.
        IdsMax = 126,
        /// The replace changes nothing.
        NothingToReplace = 127,
        /// The new total quantity is not above what has been executed.
        QtyBelowExecuted = 128,
        /// Only limit orders can be replaced.
        ReplaceForbidden = 129,
        /// The scope is not one of this role, of this account id, or of a lock-out, which is for `Session`.
        ScopeInvalid = 130,

        /// A kill switch is engaged.
        Killed = 200,
        /// A mass cancel locked new orders out.
        LockedOut = 201,
        /// Quantity above the limit per order.
        OrderQtyMax = 202,
        /// Notional above the limit per order.
        OrderNotionalMax = 203,
        /// Open orders of the account at the limit.
        OpenOrdersMax = 204,
        /// Price outside the collar around the market.
        PriceCollar = 205,
        /// No fresh market price: the collar cannot be checked, so the order is refused.
        MarketStale = 206,
        /// Buying power does not suffice.
        BuyingPower = 207,
        /// Position limit.
        PositionMax = 208,
        /// Message rate of the session.
        RateLimit = 210,
        /// The account is CANCEL_ONLY or frozen.
        AccountState = 211,
        /// The order table of the core is full.
        OrdersMax = 212,

        /// The broker is not READY.
        BrokerNotReady = 300,
        /// The broker refused; its own text is kept.
        BrokerReject = 301,
        /// The broker canceled.
        BrokerCancel = 302,
        /// Time in force ended the order.
        Expired = 303,
        /// The session's connection was lost.
        ClientDisconnect = 304,
        /// The client asked.
        ClientRequest = 305,
        /// An operator asked.
        OperatorRequest = 306,
        /// The outcome at the broker is unknown.
        OutcomeUnknown = 310,
        /// The broker has definitely never had the order.
        NotAtBroker = 311,
        /// The broker's facts contradict ours.
        BrokerContradiction = 313,
        /// More was filled than ordered.
        Overfill = 314,
        /// Post-only would have taken liquidity.
        WouldTake = 315,

        /// The journal has no room for new orders, or for another logon.
        JournalFull = 900,
        /// The outbound queue to the broker is full.
        OutboxFull = 901,
        /// Durability lags too far behind.
        DurabilityLag = 902,
        /// The core has no trading lease: the cluster has not confirmed in time that no other host trades. Cancels pass.
        NoLease = 903,
    }
}
