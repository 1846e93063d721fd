//! Words that stand for a choice, and what the other rooms call it.

use serde::{Deserialize, Serialize};
use tradecore_protocol::fields::{CodMode, Durability, Environment, Role};

/// A choice among words: the type, what the configuration calls each, and what the wire calls it.
macro_rules! words {
    ($(#[doc = $doc:literal])+ $Name:ident { $($(#[doc = $word_doc:literal])+ $Variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
        pub enum $Name {
            $($(#[doc = $word_doc])+ #[serde(rename = $word)] $Variant,)+
        }

        impl $Name {
            /// Every word and what it means.
            pub const WORDS: &'static [(&'static str, &'static str)] = &[$(($word, concat!($($word_doc),+)),)+];
        }
    };
    ($(#[doc = $doc:literal])+ $Name:ident as $Wire:ident { $($(#[doc = $word_doc:literal])+ $Variant:ident = $word:literal,)+ }) => {
        words! { $(#[doc = $doc])+ $Name { $($(#[doc = $word_doc])+ $Variant = $word,)+ } }

        impl From<$Name> for $Wire {
            fn from(name: $Name) -> Self {
                match name { $($Name::$Variant => Self::$Variant,)+ }
            }
        }
    };
}

words! {
    /// Whose money.
    EnvironmentName as Environment {
        /// Real money.
        Live = "live",
        /// A broker's paper account.
        Paper = "paper",
        /// The built-in venue.
        Virtual = "virtual",
    }
}

words! {
    /// How a database server is spoken to.
    TlsName {
        /// In the clear.
        Off = "off",
        /// Encrypted, once the server's certificate is shown to be of its host and signed by whom `ca_file` names.
        VerifyFull = "verify-full",
    }
}

words! {
    /// Durability class: what a report has survived when it is told.
    DurabilityName as Durability {
        /// Survives a crash of the process.
        Journaled = "journaled",
        /// Survives power loss.
        Synced = "synced",
        /// Survives the loss of the host: the cluster of [ship.kafka] has it.
        Replicated = "replicated",
    }
}

words! {
    /// What the loop does when there is nothing to do.
    Idle {
        /// Asks again at once: lowest latency, one CPU.
        Busy = "busy",
        /// Gives the CPU to others between two turns.
        Yield = "yield",
        /// Waits in the poll, at most 1 ms.
        Park = "park",
    }
}

words! {
    /// Where the events for tables come from.
    FeedName {
        /// The journal, by a side thread of the gateway.
        Journal = "journal",
        /// The topics of `[ship.kafka]`, by `tradecore project` on any host; the gateway leaves these tables alone.
        Kafka = "kafka",
    }
}

words! {
    /// Which broker.
    BrokerKind {
        /// A venue process.
        Venue = "venue",
        /// A venue inside this process.
        Paper = "paper",
    }
}

words! {
    /// What a session may do.
    RoleName as Role {
        /// Orders.
        Trade = "trade",
        /// Copies of every report.
        DropCopy = "drop_copy",
        /// Quotes.
        MarketData = "market_data",
        /// Operators.
        Admin = "admin",
    }
}

words! {
    /// Which end of a session cancels its orders; a flag of the order cancels it in every mode.
    CodModeName as CodMode {
        /// Flagged orders only.
        None = "none",
        /// On a lost connection.
        Disconnect = "disconnect",
        /// On logout.
        Logout = "logout",
        /// On both.
        Both = "both",
    }
}
