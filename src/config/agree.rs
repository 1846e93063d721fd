//! What single values cannot tell: that they agree with each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::Config;
use super::error::{Code, ConfigError};
use super::keys::Instrument;
use super::names::{BrokerKind, DurabilityName, EnvironmentName, FeedName, RoleName, TlsName};
use crate::market_data::decimal::parse_units;
use crate::session::FLOOR_BYTES_MIN;

/// The first two values that do not agree.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    check_listen(config)?;
    check_bounds(config)?;
    check_ids(config)?;
    check_broker(config)?;
    check_kafka(config)?;
    check_postgres(config)?;
    check_places(config)?;
    if config.venue.is_some() {
        check_venue_listen(config)?;
    }
    let instruments = &config.instruments;
    unique(config, "instruments", "id", instruments.iter().map(|entry| entry.id.to_string()))?;
    unique(config, "instruments", "symbol", instruments.iter().map(|entry| entry.symbol.clone()))?;
    unique(config, "accounts", "id", config.accounts.iter().map(|entry| entry.id.to_string()))?;
    unique(config, "cores", "id", config.cores.iter().map(|entry| entry.id.to_string()))?;
    if let Some(index) = config.cores.iter().position(|entry| entry.id == config.core.id) {
        let problem = "is the core of this gateway";
        return Err(config.disagreement(&format!("cores[{index}].id"), problem, "the number of another core"));
    }
    unique(config, "sessions", "id", config.sessions.iter().map(|entry| entry.id.to_string()))?;
    instruments.iter().enumerate().try_for_each(|(index, entry)| check_instrument(config, index, entry))?;
    if let Some(index) = config.sessions.iter().position(|s| s.role == RoleName::DropCopy && !s.accounts.is_empty()) {
        let problem = "a drop copy reads the reports of every account";
        return Err(config.disagreement(&format!("sessions[{index}].accounts"), problem, "[], or another role"));
    }
    config.sessions.iter().enumerate().try_for_each(|(index, session)| {
        match session.accounts.iter().find(|id| !config.accounts.iter().any(|known| known.id == **id)) {
            None => Ok(()),
            Some(id) => {
                let known: Vec<String> = config.accounts.iter().map(|account| account.id.to_string()).collect();
                let problem = format!("there is no account {id}");
                let allowed = format!("ids of [[accounts]]: {}", known.join(", "));
                Err(config.disagreement(&format!("sessions[{index}].accounts"), problem, allowed))
            }
        }
    })
}

fn check_listen(config: &Config) -> Result<(), ConfigError> {
    let listen = &config.listen;
    match listen.tcp {
        Some(address) if !address.ip().is_loopback() && !listen.i_accept_plaintext_on_a_network => Err(config
            .disagreement(
                "listen.tcp",
                "on a network orders can be read and changed on their way",
                "a loopback address; any other with listen.i_accept_plaintext_on_a_network = true, on a network that \
                 you trust with your orders",
            )),
        None if listen.unix.is_none() => Err(config.disagreement(
            "listen.tcp",
            "nobody can connect",
            "an address, or \"\" when listen.unix is a path",
        )),
        Some(_) | None => {
            listen.unix.as_ref().map_or(Ok(()), |path| check_socket_path(config, "listen.unix", &config.beside(path)))
        }
    }
}

/// Longest path of a unix socket that the system takes, bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

fn check_socket_path(config: &Config, key: &str, path: &Path) -> Result<(), ConfigError> {
    match path.as_os_str().len() {
        0..=SOCKET_PATH_BYTES_MAX => Ok(()),
        bytes => {
            let problem = format!("with the directory of the file it has {bytes} bytes");
            Err(config.disagreement(key, problem, format!("at most {SOCKET_PATH_BYTES_MAX} bytes")))
        }
    }
}

/// The venue takes orders from whoever connects.
fn check_venue_listen(config: &Config) -> Result<(), ConfigError> {
    let venue = config.venue()?;
    venue.listen.iter().try_for_each(|address| {
        if let Some(path) = address.strip_prefix("unix:") {
            return check_socket_path(config, "venue.listen", Path::new(path));
        }
        match address.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() || venue.i_accept_anyone_on_a_network => Ok(()),
            Ok(_) => Err(config.disagreement(
                "venue.listen",
                "whoever reaches it can trade and see every order: the venue knows no keys",
                "loopback addresses and \"unix:/path\"; any other with venue.i_accept_anyone_on_a_network = true",
            )),
            Err(_) => {
                let allowed = "a list of \"ip:port\" and \"unix:/path\"";
                Err(config.not_allowed("venue.listen", format!("{address:?} is no address"), allowed))
            }
        }
    })
}

/// ClOrdIDs of a client epoch of a session, at least: fewer would wear its 65,535 epochs out.
const IDS_PER_SESSION_MIN: u64 = 128;

/// Every session has its share of ids beside those of open orders.
fn check_ids(config: &Config) -> Result<(), ConfigError> {
    let (core, sessions) = (&config.core, config.sessions.len() as u64);
    let needed = u64::from(core.orders_max).saturating_add(sessions.saturating_mul(IDS_PER_SESSION_MIN));
    if u64::from(core.ids_max) >= needed {
        return Ok(());
    }
    let problem = format!("is too small for core.orders_max = {} and {sessions} [[sessions]]", core.orders_max);
    let allowed = format!("{needed} or more: core.orders_max and {IDS_PER_SESSION_MIN} for each session");
    Err(config.disagreement("core.ids_max", problem, allowed))
}

/// Bounds of which one is the other's least.
fn check_bounds(config: &Config) -> Result<(), ConfigError> {
    let (listen, journal, broker) = (&config.listen, &config.journal, &config.broker);
    let pairs = [
        (
            "listen.heartbeat_max_ms",
            listen.heartbeat_max_ms.into(),
            "listen.heartbeat_min_ms",
            listen.heartbeat_min_ms.into(),
        ),
        ("journal.max_segment_mib", journal.max_segment_mib, "journal.first_segment_mib", journal.first_segment_mib),
        ("broker.backoff_max_ms", broker.backoff_max_ms, "broker.backoff_min_ms", broker.backoff_min_ms),
    ];
    check_pairs(config, &pairs)?;
    check_pool(config)
}

/// Key, value, and the key that is its least, with its value.
type Pair = (&'static str, u64, &'static str, u64);

fn check_pairs(config: &Config, pairs: &[Pair]) -> Result<(), ConfigError> {
    pairs.iter().find(|(_, upper, _, lower)| upper < lower).map_or(Ok(()), |(path, _, lower_path, lower)| {
        let problem = format!("is below {lower_path} = {lower}");
        Err(config.disagreement(path, problem, format!("{lower} or more")))
    })
}

/// Settings of librdkafka that the shipper makes itself: with others an event could be lost or be there twice.
const KAFKA_OWN: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.instance.id",
    "internal.termination.signal",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "request.required.acks",
    "retries",
    "transaction.timeout.ms",
    "transactional.id",
];

fn check_kafka(config: &Config) -> Result<(), ConfigError> {
    let Some(kafka) = config.kafka() else {
        if config.core.durability == DurabilityName::Replicated {
            let problem = "waits for a cluster, and there is no section [ship.kafka]";
            return Err(config.disagreement("core.durability", problem, "\"synced\", or such a section"));
        }
        return Ok(());
    };
    check_pairs(
        config,
        &[
            ("ship.kafka.backoff_max_ms", kafka.backoff_max_ms, "ship.kafka.backoff_min_ms", kafka.backoff_min_ms),
            (
                "ship.kafka.replication_factor",
                kafka.replication_factor.into(),
                "ship.kafka.min_insync_replicas",
                kafka.min_insync_replicas.into(),
            ),
        ],
    )?;
    let is_taken = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if !kafka.topic_prefix.chars().all(is_taken) {
        let problem = "has what Kafka does not take in the name of a topic";
        return Err(config.disagreement("ship.kafka.topic_prefix", problem, "letters, digits, '.', '_' and '-'"));
    }
    if (1..500).contains(&kafka.lease_ms) {
        return Err(config.disagreement("ship.kafka.lease_ms", "is too short for four commits", "0, or 500 to 60000"));
    }
    // Elsewhere no money is at risk, and a cluster may have one node.
    let is_live = config.core.environment == EnvironmentName::Live;
    if is_live && config.core.durability == DurabilityName::Replicated && kafka.min_insync_replicas < 2 {
        let problem =
            "an event would be told as replicated that one host alone has, with core.durability = \"replicated\"";
        let allowed = "2 or more, or core.durability = \"synced\"";
        return Err(config.disagreement("ship.kafka.min_insync_replicas", problem, allowed));
    }
    if !kafka.transactions {
        let problem = "needs a fence, and without transactions nobody is fenced";
        if kafka.lease_ms > 0 {
            let allowed = "0, or ship.kafka.transactions = true";
            return Err(config.disagreement("ship.kafka.lease_ms", problem, allowed));
        }
        if config.core.durability == DurabilityName::Replicated {
            let allowed = "\"synced\", or ship.kafka.transactions = true";
            return Err(config.disagreement("core.durability", problem, allowed));
        }
    }
    // A name that asks for a secret has a file for it: what stands here is printed by `config show`.
    let is_secret = |name: &str| ["password", "passphrase", "secret", "key.pem"].iter().any(|word| name.contains(word));
    for (list, entries) in [("settings", &kafka.settings), ("secrets", &kafka.secrets)] {
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("ship.kafka.{list}[{index}]");
            let refused = |problem: &str, allowed: &str| Err(config.disagreement(&path, problem, allowed));
            match entry.split_once('=') {
                None | Some(("", _) | (_, "")) => return refused("has no name and value", "name=value"),
                Some((name, _)) if KAFKA_OWN.contains(&name) => {
                    let problem = format!("{name} is what exactly once rests on, and set by the gateway");
                    return refused(&problem, "any other setting");
                }
                Some((name, _)) if list == "settings" && is_secret(name) => {
                    // Without the value: it is one.
                    let problem = format!("{name} is a secret");
                    let allowed = format!("\"{name}=FILE\" in ship.kafka.secrets");
                    return Err(config.places.error(Code::Disagreement, &path, None, problem, allowed));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// In the directory of the journal its writer alone writes.
fn check_places(config: &Config) -> Result<(), ConfigError> {
    let journal = crate::daemon::journal_dir(config);
    let files = config.ship.as_ref().and_then(|ship| ship.files.as_ref()).map(|files| &files.dir);
    for (key, path) in [("projection.sqlite", config.projection.sqlite.as_ref()), ("ship.files.dir", files)] {
        if path.is_some_and(|path| config.beside(path).starts_with(&journal)) {
            let problem = "is in the directory of the journal, where nobody else may write";
            return Err(config.disagreement(key, problem, "a path elsewhere"));
        }
    }
    Ok(())
}

fn check_postgres(config: &Config) -> Result<(), ConfigError> {
    let Some(postgres) = &config.projection.postgres else { return Ok(()) };
    if postgres.feed == FeedName::Kafka && config.kafka().is_none() {
        let problem = "there is no section [ship.kafka]";
        return Err(config.disagreement("projection.postgres.feed", problem, "\"journal\", or such a section"));
    }
    let host = postgres.host.as_str();
    let is_here = host.starts_with('/')
        || host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if postgres.tls == TlsName::VerifyFull {
        if host.starts_with('/') {
            let allowed = "\"off\" for a unix socket, which does not leave this host";
            return Err(config.disagreement("projection.postgres.tls", "a unix socket has no TLS", allowed));
        }
        if postgres.ca_file.is_none() {
            let problem = "nobody is named who may sign the server's certificate";
            let allowed = "projection.postgres.ca_file with the certificates of who signs it, or \"off\"";
            return Err(config.disagreement("projection.postgres.tls", problem, allowed));
        }
        return Ok(());
    }
    if is_here || postgres.i_accept_plaintext_on_a_network {
        return Ok(());
    }
    Err(config.disagreement(
        "projection.postgres.host",
        "on a network rows can be read on their way",
        "a loopback address or the directory of a unix socket, to which a tunnel may lead; any other with \
         projection.postgres.tls = \"verify-full\", or with i_accept_plaintext_on_a_network = true there",
    ))
}

/// Queues that one reader can fill before it is ended are at most half of what is shared: an eighth of the pool, and
/// as much again that the gate holds.
const QUEUES_IN_POOL: u64 = 8;

/// Every connection has its floor in half of the pool, and no reader can take the other half alone.
fn check_pool(config: &Config) -> Result<(), ConfigError> {
    let connections_max = config.listen.connections_max;
    let outbound_bytes_max = config.session.outbound_bytes_max;
    let floors = u64::from(connections_max).saturating_mul(2 * FLOOR_BYTES_MIN);
    let queues = (outbound_bytes_max as u64).saturating_mul(QUEUES_IN_POOL);
    let needs = [
        (floors, format!("listen.connections_max = {connections_max}")),
        (queues, format!("session.outbound_bytes_max = {outbound_bytes_max}")),
    ];
    let pool_bytes = config.session.pool_mib << 20;
    needs.into_iter().find(|(bytes, _)| *bytes > pool_bytes).map_or(Ok(()), |(bytes, of)| {
        let allowed = format!("{} or more", bytes.div_ceil(1 << 20));
        Err(config.disagreement("session.pool_mib", format!("is too little for {of}"), allowed))
    })
}

fn check_broker(config: &Config) -> Result<(), ConfigError> {
    match config.broker.kind {
        BrokerKind::Venue => {
            let address = &config.broker.address;
            if let Some(path) = address.strip_prefix("unix:").filter(|path| !path.is_empty()) {
                return check_socket_path(config, "broker.address", &config.beside(Path::new(path)));
            }
            let is_port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
            if address.rsplit_once(':').is_some_and(is_port) {
                return Ok(());
            }
            let problem = "broker.kind = \"venue\" needs the address of a venue";
            Err(config.disagreement("broker.address", problem, "host:port or unix:/path"))
        }
        BrokerKind::Paper if config.venue.is_none() => {
            Err(config.disagreement("broker.kind", "there is no section [venue]", "\"paper\" with a section [venue]"))
        }
        BrokerKind::Paper => check_traded(config),
    }
}

/// The venue inside the process must trade what the gateway offers. Its steps are its own: what it refuses for them is
/// told with its words.
fn check_traded(config: &Config) -> Result<(), ConfigError> {
    let venue = config.venue()?;
    let symbols: Vec<String> = venue.exchange.instruments.iter().map(|known| known.symbol.to_string()).collect();
    let is_unknown = |instrument: &Instrument| !symbols.contains(&instrument.symbol);
    config.instruments.iter().position(is_unknown).map_or(Ok(()), |index| {
        let allowed = format!("a symbol of venue.exchange.instruments: {symbols:?}");
        Err(config.disagreement(&format!("instruments[{index}].symbol"), "the venue does not trade it", allowed))
    })
}

fn check_instrument(config: &Config, index: usize, instrument: &Instrument) -> Result<(), ConfigError> {
    let path = |name: &str| format!("instruments[{index}].{name}");
    if parse_units(&instrument.order_qty_max).ok() < parse_units(&instrument.qty_min).ok() {
        let problem = format!("is below qty_min = {:?}", instrument.qty_min);
        return Err(config.disagreement(&path("order_qty_max"), problem, "qty_min or more"));
    }
    Ok(())
}

fn unique(config: &Config, section: &str, key: &str, values: impl Iterator<Item = String>) -> Result<(), ConfigError> {
    let mut seen = BTreeMap::new();
    for (index, value) in values.enumerate() {
        if let Some(first) = seen.insert(value, index) {
            let problem = format!("is that of {section}[{first}] already");
            let allowed = format!("one that no other of [[{section}]] has");
            return Err(config.disagreement(&format!("{section}[{index}].{key}"), problem, allowed));
        }
    }
    Ok(())
}
