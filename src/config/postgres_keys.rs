//! The keys of `[projection.postgres]`.

use std::path::PathBuf;

use serde::Deserialize;

use super::allowed::Allowed;
use super::declare::{Key, Section, Shape, empty_is_none, section, to_value};
use super::names::{FeedName, TlsName};

section! {
    /// A PostgreSQL server that the same tables are kept on, by a side thread of the gateway of its own, or by workers on
    /// other hosts: `docs/postgres.md` tells how it is set up.
    ProjectionPostgres "projection.postgres" Shape::OptionalTable => {
        /// Host, or the directory of a unix socket.
        host: String = ["127.0.0.1".to_owned()] in Allowed::Text(1, 255);
        /// Port that the server listens at.
        port: u16 = [5432] in Allowed::Integer(1, 65_535);
        /// Database; the gateway does not make it.
        database: String = ["tradecore".to_owned()] in Allowed::Text(1, 63);
        /// User, who owns the tables.
        user: String = ["tradecore".to_owned()] in Allowed::Text(1, 63);
        /// File of the password, which its owner alone may read, or a credential of the service manager, as those of
        /// keys of sessions; empty: none is sent.
        #[serde(default, deserialize_with = "empty_is_none::deserialize")]
        password_file: Option<PathBuf> = [None] in Allowed::PathOrNone;
        /// Where the events for the tables come from.
        feed: FeedName = [FeedName::Journal] in Allowed::Words(FeedName::WORDS);
        /// Schema of the tables, in which nothing else may be; made if missing, where the user may do that.
        schema: String = ["tradecore".to_owned()] in Allowed::Text(1, 63);
        /// Longest silence of the server while an answer of it is waited for, thirty times as long where all rows are
        /// replaced at once; then the connection counts as lost. A statement that takes nine tenths of it is given up.
        answer_timeout_s: u64 = [60] in Allowed::Integer(1, 3_600), "s";
        /// Whether the connection is encrypted, and whom it ends at is proved.
        tls: TlsName = [TlsName::Off] in Allowed::Words(TlsName::WORDS);
        /// Certificates in PEM of the authorities, one of which has signed the server's, which must name the host.
        #[serde(default, deserialize_with = "empty_is_none::deserialize")]
        ca_file: Option<PathBuf> = [None] in Allowed::PathOrNone;
        /// Allows a host that is not this one without TLS: rows can be read on their way.
        i_accept_plaintext_on_a_network: bool = [false] in Allowed::Bool;
    }
}

impl super::keys::Projection {
    /// Whether the gateway itself keeps tables on a server.
    #[must_use]
    pub fn has_postgres_thread(&self) -> bool {
        self.postgres.as_ref().is_some_and(|keys| keys.feed == FeedName::Journal)
    }
}
