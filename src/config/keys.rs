//! Every key of the configuration, declared once: type, unit, default, what is allowed, meaning.
//!
//! The structs, the checks of `read`, `docs/config.md` and `systemd/tradecore.toml` come from this list and from
//! that of `venue_keys`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::allowed::Allowed;
use super::declare::{Key, Section, Shape, empty_is_none, section, to_value};
use super::names::{BrokerKind, CodModeName, DurabilityName, EnvironmentName, Idle, RoleName};
use super::postgres_keys::ProjectionPostgres;

section! {
    /// The core: one a broker.
    Core "core" Shape::Table => {
        /// Number of the core; part of every id that it gives.
        id: u16 = [required 1] in Allowed::Integer(1, 65_535);
        /// Whose money; a client that means another is refused.
        environment: EnvironmentName = [required EnvironmentName::Virtual] in Allowed::Words(EnvironmentName::WORDS);
        /// Directory of the journal and its files.
        data_dir: PathBuf = [required "/var/lib/tradecore/virtual".into()] in Allowed::Path;
        /// Directory in memory for hot segments, which must outlive the process; each journal has one of its own in
        /// it. Empty: the runtime directory of the service, else `/dev/shm`; where memory is short, and with `off`,
        /// segments are mapped in `data_dir`, and the loop is slower. Of a user who may log out, not `/dev/shm`: logind
        /// removes what is there (`RemoveIPC`). Fastest on a file system of memory with huge pages, as
        /// `tmpfs /run/tradecore-hot tmpfs huge=within_size,size=4g,mode=1777 0 0` in `/etc/fstab` mounts one.
        #[serde(default, deserialize_with = "empty_is_none::deserialize")]
        hot_dir: Option<PathBuf> = [None] in Allowed::PathOrNone;
        /// Durability class: what a report has survived when it is told, and an order before it leaves for the
        /// broker. `replicated` needs `[ship.kafka]`.
        durability: DurabilityName = [DurabilityName::Synced] in Allowed::Words(DurabilityName::WORDS);
        /// CPU that the loop is pinned to; without it the system decides. Take one that devices leave alone
        /// (`/proc/interrupts`): for each interrupt of the disk the loop stops some 20 µs, and a start warns of it.
        cpu: Option<usize> = [None] in Allowed::Integer(0, 1_023);
        /// What the loop does when there is nothing to do.
        idle: Idle = [Idle::Busy] in Allowed::Words(Idle::WORDS);
        /// Measures where the time of an order goes, for `tradecore stages`: the first new order, replace or cancel of
        /// a turn, by the CPU's time-stamp counter.
        stages: bool = [true] in Allowed::Bool;
        /// Open orders; further ones are refused with `OrdersMax`. Their memory is taken at start,
        /// and the journal's reserve for them.
        orders_max: u32 = [8_192] in Allowed::Integer(1, 4_194_304), "orders";
        /// ClOrdIDs that are remembered: `orders_max`, and of the rest an equal share for each session. New orders
        /// beyond the share are refused with `IdsMax` until the session opens its next client epoch.
        ids_max: u32 = [262_144] in Allowed::Integer(1, 67_108_864), "ClOrdIDs";
    }
}

section! {
    /// Where clients connect.
    Listen "listen" Shape::Table => {
        /// TCP address; empty: no TCP. Port 0 takes a free one, which the file `listening` in `data_dir` names.
        #[serde(default, deserialize_with = "empty_is_none::deserialize")]
        tcp: Option<SocketAddr> = [Some(SocketAddr::from(([127, 0, 0, 1], 7400)))] in Allowed::Address;
        /// Path of a unix socket; empty: none.
        #[serde(default, deserialize_with = "empty_is_none::deserialize")]
        unix: Option<PathBuf> = [None] in Allowed::PathOrNone;
        /// Allows a TCP address that is not loopback: keys are safe there, orders can be read and changed on their
        /// way.
        i_accept_plaintext_on_a_network: bool = [false] in Allowed::Bool;
        /// Connections at once. For a further one the oldest that is not logged on is told `ConnectionsMax` and closed;
        /// when all are logged on, the new one is. The limit of open files is raised to this,
        /// where the system allows that much.
        connections_max: u32 = [1_024] in Allowed::Integer(1, 65_535), "connections";
        /// Time from connection to logon; then the connection ends with `LogonTimeout`.
        logon_timeout_ms: u64 = [5_000] in Allowed::Integer(10, 600_000), "ms";
        /// Failed logons in a row, from one address with one key, that are let pass; then `LoginRate` refuses every
        /// further one that does not prove the key. The unix socket is an address, loopback is no exception.
        logon_failures_max: u32 = [10] in Allowed::Integer(1, 1_000_000), "logons";
        /// Time that a failed logon counts, and that the refusal lasts.
        logon_lockout_ms: u64 = [10_000] in Allowed::Integer(1, 86_400_000), "ms";
        /// Time that a connection which ends has to take what is queued for it; then it is closed without.
        close_linger_ms: u64 = [1_000] in Allowed::Integer(1, 60_000), "ms";
        /// Shortest heartbeat interval that a client may ask for.
        heartbeat_min_ms: u32 = [100] in Allowed::Integer(10, 600_000), "ms";
        /// Longest heartbeat interval that a client may ask for.
        heartbeat_max_ms: u32 = [60_000] in Allowed::Integer(10, 600_000), "ms";
    }
}

section! {
    /// What sessions may do.
    Session "session" Shape::Table => {
        /// Reports of a session that can be replayed; older ones are answered by queries.
        replay_window: u64 = [65_536] in Allowed::Integer(1, 16_777_216), "reports";
        /// Bytes that may wait for a slow reader, by default 22,000 reports of 184 bytes; beyond, the session ends
        /// with `SlowConsumer` and replays at its next logon. What waits for a sync is not counted: with a quarter of
        /// it held for one session, that session's requests wait in its socket; with half, everybody's do. When nothing
        /// has become durable for half a second they are read, and new orders refused with `DurabilityLag`.
        outbound_bytes_max: usize = [4 << 20] in Allowed::Integer(131_072, 1_073_741_824), "bytes";
        /// Memory for all that waits for all connections, taken as it is used. Half of it is divided among
        /// `listen.connections_max` connections, to each its own; the other half is shared. When half of that is gone,
        /// who leaves more than its own unread for `listen.close_linger_ms` ends with `SlowConsumer`; when three
        /// quarters are, requests wait in the sockets.
        pool_mib: u64 = [256] in Allowed::Integer(1, 65_536), "MiB";
        /// Frames a second of a session; 0: no bound. What adds no risk, like cancels, has as many again, and
        /// queries have.
        throttle_rate: u32 = [0] in Allowed::Integer(0, 10_000_000), "frames/s";
        /// Frames at once above the rate.
        throttle_burst: u32 = [10_000] in Allowed::Integer(1, 10_000_000), "frames";
        /// Refused frames in a row after which the session ends.
        throttle_strikes: u32 = [1_000] in Allowed::Integer(1, 10_000_000), "frames";
        /// Messages that a session may send at once and that its rules refuse, as malformed or not for its role; one
        /// more is forgiven each second. Beyond, the session ends with `RateLimit`.
        refusals_max: u32 = [100] in Allowed::Integer(1, 1_000_000), "messages";
    }
}

section! {
    /// The journal. Its reserve, which cancels and the broker's facts may use on a full disk, is derived from
    /// `orders_max`.
    Journal "journal" Shape::Table => {
        /// Length of the first segment; later ones grow up to `max_segment_mib`. Raised to twice the reserve, which
        /// the default of `orders_max` does; what is in force stands in the log of a start.
        first_segment_mib: u64 = [8] in Allowed::Integer(1, 2_048), "MiB";
        /// Length of the longest segment; raised like that of the first.
        max_segment_mib: u64 = [64] in Allowed::Integer(1, 2_048), "MiB";
        /// Events journaled but not yet durable above which new orders are refused with `DurabilityLag`.
        durability_lag_max: u64 = [1_000_000] in Allowed::Integer(1, 1_000_000_000), "events";
        /// What shippers (`[ship.files]`, `[ship.kafka]`) may leave waiting in the journal, in whole segments; 0: what the
        /// disk holds, which is the bound in any case. At 50 and 80 % of it the log alarms, `journal-backlog`; from 95 %
        /// on, until there is room again, new orders and replaces are refused with `JournalFull`, and cancels pass.
        unshipped_max_mib: u64 = [0] in Allowed::Integer(0, 1_073_741_824), "MiB";
        /// Days that a segment is kept, whoever has read it. What could go by then `tradecore journal stat --config`
        /// tells; nothing is removed by itself, since a start needs every event.
        keep_days: u64 = [7] in Allowed::Integer(0, 36_500), "days";
    }
}

section! {
    /// The read model: tables that follow the journal, for `tradecore query` and any program that reads SQLite.
    Projection "projection" Shape::Table => {
        /// Database that a side thread of the gateway keeps; empty: none, and `tradecore projection catch-up` makes
        /// `read-model.sqlite` in `data_dir`. Not on by default: it takes about half a KiB of disk an event, without end, and
        /// where that is the disk of the journal a full one refuses new orders.
        #[serde(default, deserialize_with = "empty_is_none::deserialize")]
        sqlite: Option<PathBuf> = [None] in Allowed::PathOrNone;
        /// Days after which closed orders, with their history, and the log of that time leave the tables; the journal and
        /// the event store keep them. 0: never. Another number makes the tables anew.
        keep_days: u32 = [90] in Allowed::Integer(0, 36_500), "days";
        /// From one comparison of some of its rows with a second fold of the journal to the next; a table that differs is an
        /// alarm, `data-integrity`, and is made anew. 0: never.
        check_s: u64 = [10] in Allowed::Integer(0, 86_400), "s";
    }
    parts {
        /// A PostgreSQL server that has the same tables.
        postgres: ProjectionPostgres;
    }
}

section! {
    /// The broker.
    Broker "broker" Shape::Table => {
        /// Which broker. `paper` needs a `[venue]` section.
        kind: BrokerKind = [required BrokerKind::Paper] in Allowed::Words(BrokerKind::WORDS);
        /// `host:port` or `unix:/path` of the venue; for `kind = "venue"`.
        address: String = [String::new()] in Allowed::Text(0, 128);
        /// The gateway's name at the broker and to its clients.
        client: String = ["tradecore".to_owned()] in Allowed::Text(1, 16);
        /// First wait before a reconnect; it doubles from wait to wait.
        backoff_min_ms: u64 = [20] in Allowed::Integer(1, 60_000), "ms";
        /// Longest wait before a reconnect.
        backoff_max_ms: u64 = [2_000] in Allowed::Integer(1, 600_000), "ms";
    }
}

section! {
    /// What may be traded.
    Instrument "instruments" Shape::List => {
        /// Number of the instrument on the wire.
        id: u32 = [required 1] in Allowed::Integer(1, 256);
        /// FIX Symbol (55), as the broker writes it.
        symbol: String = [required "BTCUSDT".to_owned()] in Allowed::Text(1, 16);
        /// FIX Currency (15) of the price.
        currency: String = [required "USDT".to_owned()] in Allowed::Text(1, 8);
        /// Price step.
        tick_size: String = [required "0.01".to_owned()] in Allowed::Units, "currency";
        /// Quantity step.
        lot_size: String = [required "0.00001".to_owned()] in Allowed::Units;
        /// Smallest order.
        qty_min: String = [required "0.00001".to_owned()] in Allowed::Units;
        /// Largest order.
        order_qty_max: String = [required "10".to_owned()] in Allowed::Units;
        /// Largest notional of an order, in `currency`.
        order_notional_max: String = [required "1000000".to_owned()] in Allowed::Money { is_above_zero: true }, "currency";
        /// Greatest distance of a price from the market: 50000 is 5 %.
        collar_ppm: u32 = [required 50_000] in Allowed::Integer(0, 4_294_967_295), "ppm";
        /// Greatest age of a market price that a check may use.
        quote_age_max_ms: u64 = [required 5_000] in Allowed::Integer(1, 86_400_000), "ms";
    }
}

section! {
    /// For whom is traded.
    Account "accounts" Shape::List => {
        /// FIX Account (1), as a number.
        id: u32 = [required 1] in Allowed::Integer(1, 64);
        /// FIX Currency (15) of its cash.
        currency: String = [required "USDT".to_owned()] in Allowed::Text(1, 8);
        /// Cash when the account is new.
        initial_cash: String = [required "1000000".to_owned()] in Allowed::Money { is_above_zero: false }, "currency";
        /// Greatest absolute position.
        position_max: String = [required "100".to_owned()] in Allowed::Units;
        /// Open orders of the account; further ones are refused.
        open_orders_max: u32 = [required 100] in Allowed::Integer(0, 4_194_304), "orders";
        /// New orders and replaces in one second; 0: no bound.
        rate_max: u32 = [0] in Allowed::Integer(0, 10_000_000), "requests/s";
        /// User who owns it.
        owner: u64 = [0] in Allowed::Integer(0, i64::MAX);
    }
}

section! {
    /// Who may log on.
    SessionEntry "sessions" Shape::List => {
        /// Number of the session.
        id: u32 = [required 1] in Allowed::Integer(1, 1_024);
        /// Names the key.
        key_id: String = [required "algo1".to_owned()] in Allowed::Text(1, 16);
        /// File with the key, readable by its owner only; a bare name is looked for in `$CREDENTIALS_DIRECTORY`
        /// first, as it is and as `keys_NAME`.
        secret_file: PathBuf = [required "algo1".into()] in Allowed::Path;
        /// What it may do.
        role: RoleName = [required RoleName::Trade] in Allowed::Words(RoleName::WORDS);
        /// Accounts that it may use; empty: all. An operator so restricted must name one of them in mass cancels,
        /// kill switches and questions for fills; a drop copy cannot be restricted.
        accounts: Vec<u32> = [vec![]] in Allowed::Ids(64);
        /// Which end of the session cancels its orders, unless the logon says otherwise; a flag of the order cancels
        /// it in every mode.
        cod_mode: CodModeName = [CodModeName::None] in Allowed::Words(CodModeName::WORDS);
        /// Raised by an operator, for the next start, to begin the session's numbers and client epochs anew: when the
        /// journal was lost, or when new orders are refused with `IdsMax` in the last client epoch, 65,535. Clients
        /// keep their state files: a client takes the new numbers over at its next logon, sends nothing again that
        /// was in doubt, and is told to query open orders, positions and fills. An epoch that was used is not given
        /// again: a lower one refuses the start.
        epoch: u64 = [1] in Allowed::Integer(1, i64::MAX);
    }
}

section! {
    /// Where other cores are served: told to who asks this gateway for one of them.
    OtherCore "cores" Shape::List => {
        /// Number of the other core.
        id: u16 = [required 2] in Allowed::Integer(1, 65_535);
        /// `host:port` of its gateway, as clients reach it.
        address: String = [required "10.0.0.2:7400".to_owned()] in Allowed::Text(1, 64);
    }
}
