//! How the cluster is spoken to: clients, their settings, names of topics.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::types::RDKafkaConfRes;
use tradecore_protocol::fields::Environment;

use super::about::{About, is_refused_for_good};
use super::tail::failed;
use super::trouble::Trouble;
use crate::config::{Config, ConfigError, ShipKafka};
use crate::shipping::alerts::Kind;
use crate::shipping::domains::{Channel, Domain, Stream};

/// Where the last record of each stream says how far it is shipped.
pub(super) const PROGRESS_TOPIC: &str = "tradecore.progress";
/// What a reader of up to 512 partitions may have fetched of all of them and not handed out, but for what was asked for
/// before; of more, 64 KiB each.
const READER_KBYTES: usize = 32_768;
/// What a client says at most of its connections, and of brokers, before it is done.
const WORDS_MAX: usize = 1_024;
/// Signs of life.
pub(super) const HEALTH_TOPIC: &str = "system.health";

/// A cluster, and the stream that is shipped to it.
#[derive(Debug)]
pub struct Cluster {
    pub(super) kafka: ShipKafka,
    secrets: Secrets,
    pub(super) stream: Stream,
    pub(super) journal_dir: PathBuf,
    id: OnceLock<String>,
}

/// Values that no log may show.
struct Secrets(Vec<(String, String)>);

impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Cluster {
    /// The cluster of a configuration; `None` when it has none.
    ///
    /// # Errors
    /// When a secret cannot be read.
    pub fn of(config: &Config) -> Result<Option<Self>, ConfigError> {
        let Some(kafka) = config.kafka() else { return Ok(None) };
        let environment = Environment::from(config.core.environment).raw();
        Ok(Some(Self {
            kafka: kafka.clone(),
            secrets: Secrets(config.kafka_secrets()?),
            stream: Stream { environment, core: config.core.id },
            journal_dir: crate::daemon::journal_dir(config),
            id: OnceLock::new(),
        }))
    }

    /// The same for who looks at it and does not wait for longer.
    #[must_use]
    pub fn answering_within(mut self, patience: Duration) -> Self {
        let most = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.kafka.timeout_ms = self.kafka.timeout_ms.min(most);
        self
    }

    /// Its brokers, as they are configured.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.kafka.brokers
    }

    /// What it calls itself, whichever of its brokers is asked.
    pub(super) fn id(&self) -> Result<&str, Trouble> {
        if let Some(id) = self.id.get() {
            return Ok(id);
        }
        let consumer = self.consumer(true)?;
        // Who only waits for the name connects to nobody. Of one topic, which no consumer makes by asking for it: there may
        // be thousands.
        let asked = consumer.fetch_metadata(Some(&self.progress_topic()), self.timeout());
        asked.map_err(|error| Trouble::of("asking the cluster what it is called", &error))?;
        let told = consumer.client().fetch_cluster_id(self.timeout());
        let unknown = || Trouble::Doubt(format!("{}: the cluster does not tell what it is called", self.brokers()));
        let told = told.ok_or_else(unknown)?;
        Ok(self.id.get_or_init(|| told))
    }

    /// The stream: environment and core.
    #[must_use]
    pub const fn stream(&self) -> Stream {
        self.stream
    }

    /// The journal that is shipped.
    #[must_use]
    pub fn journal_dir(&self) -> &Path {
        &self.journal_dir
    }

    /// New orders wait for its word.
    #[must_use]
    pub fn has_lease(&self) -> bool {
        self.kafka.lease_ms > 0
    }

    pub(super) fn topic(&self, domain: Domain) -> String {
        format!("{}{}", self.kafka.topic_prefix, domain.eventstore_topic())
    }

    pub(super) fn channel_topic(&self, channel: Channel) -> String {
        format!("{}{}", self.kafka.topic_prefix, channel.topic())
    }

    /// Where its JSON goes that the sink refuses.
    pub(super) fn letter_topic(&self, channel: Channel) -> String {
        format!("{}.dlq", self.channel_topic(channel))
    }

    pub(super) fn alert_topic(&self, kind: Kind) -> String {
        format!("{}{}", self.kafka.topic_prefix, kind.topic())
    }

    pub(super) fn health_topic(&self) -> String {
        format!("{}{HEALTH_TOPIC}", self.kafka.topic_prefix)
    }

    pub(super) fn progress_topic(&self) -> String {
        format!("{}{PROGRESS_TOPIC}", self.kafka.topic_prefix)
    }

    /// Fences: of all producers with this id, the one that came last may write.
    pub(super) fn transactional_id(&self) -> String {
        format!("{}tradecore-{}-ship", self.kafka.topic_prefix, self.stream)
    }

    /// Time for a transaction or an answer.
    pub(super) const fn timeout(&self) -> Duration {
        Duration::from_millis(self.kafka.timeout_ms)
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        for (name, value) in self.kafka.settings.iter().filter_map(|setting| setting.split_once('=')) {
            client.set(name, value);
        }
        for (name, value) in &self.secrets.0 {
            client.set(name, value);
        }
        client.set("bootstrap.servers", &self.kafka.brokers);
        client.set("client.id", format!("tradecore-{}", self.stream));
        // A cluster that comes back is found at once, and one that is away is not asked without end.
        client.set("reconnect.backoff.ms", "50");
        client.set("reconnect.backoff.max.ms", "1000");
        client.set_log_level(RDKafkaLogLevel::Info);
        client
    }

    /// A producer for the shipper, or for somebody who acts by hand.
    pub(super) fn producer(&self, who: Who, context: Context) -> Result<BaseProducer<Context>, Trouble> {
        let producer: BaseProducer<Context> = self.made(&self.producer_config(who), context)?;
        if self.kafka.transactions {
            producer.init_transactions(self.timeout()).map_err(failed("fencing others who do the same"))?;
        }
        Ok(producer)
    }

    fn producer_config(&self, who: Who) -> ClientConfig {
        let kafka = &self.kafka;
        let mut client = self.client();
        client.set("enable.idempotence", "true");
        client.set("acks", "all");
        if kafka.transactions {
            let id = self.transactional_id();
            client.set("transactional.id", if let Who::Hand(act) = who { format!("{id}-{act}") } else { id });
            // What is not there by then is in doubt, and the transaction with it.
            client.set("transaction.timeout.ms", kafka.timeout_ms.saturating_mul(2).to_string());
            client.set("message.timeout.ms", kafka.timeout_ms.to_string());
        } else {
            // What is refused or too old must not be followed by what comes behind it, since nothing of that can be given
            // up: the first failure ends the producer, and whoever waits for a message has a time limit of its own.
            client.set("enable.gapless.guarantee", if who == Who::Shipper { "true" } else { "false" });
            client.set("message.timeout.ms", "0");
        }
        // A batch is bounded before it is handed over; this holds it, its progress, and the last decision's rest.
        let messages = kafka.batch_events_max.saturating_add(1_024).saturating_mul(2);
        let kbytes = (kafka.batch_bytes_max >> 10).saturating_mul(2).saturating_add(1_024);
        client.set("queue.buffering.max.messages", messages.to_string());
        client.set("queue.buffering.max.kbytes", kbytes.to_string());
        let mut client = with_default(client, "compression.type", "lz4");
        // The shipper lingers; what it hands over goes at once, in requests as large as they get.
        client.set("linger.ms", "1");
        client
    }

    /// `is_committed`: sees what is committed, and no more; else all.
    pub(super) fn consumer(&self, is_committed: bool) -> Result<BaseConsumer<Context>, Trouble> {
        self.made(&self.consumer_config(is_committed), Context::default())
    }

    fn consumer_config(&self, is_committed: bool) -> ClientConfig {
        let mut client = self.client();
        client.set("isolation.level", if is_committed { "read_committed" } else { "read_uncommitted" });
        client.set("enable.auto.commit", "false");
        client.set("enable.auto.offset.store", "false");
        client.set("enable.partition.eof", "true");
        client.set("auto.offset.reset", "error");
        // Asked for by the client before it may assign partitions to itself; nothing is ever committed under it.
        client.set("group.id", self.transactional_id());
        client.set("queued.max.messages.kbytes", "4096");
        client.set("fetch.message.max.bytes", "1048576");
        client.set("fetch.wait.max.ms", "50");
        // A partition whose queue was full is fetched on by this, and by default a second later: who takes from many in turn
        // would wait for that over and over.
        client.set("fetch.queue.backoff.ms", "5");
        client
    }

    /// Reads what is committed of so many partitions, each by itself.
    pub(super) fn reader(&self, partitions: usize) -> Result<BaseConsumer<Context>, Trouble> {
        self.made(&self.reader_config(partitions), Context::default())
    }

    fn reader_config(&self, partitions: usize) -> ClientConfig {
        let mut client = self.consumer_config(true);
        // librdkafka stops fetching what is full, partition by partition: that bounds what it holds of all of them.
        let kbytes = READER_KBYTES.checked_div(partitions).unwrap_or(READER_KBYTES).clamp(64, 4_096);
        client.set("queued.max.messages.kbytes", kbytes.to_string());
        client.set("fetch.message.max.bytes", (kbytes << 10).to_string());
        client.set("fetch.max.bytes", "4194304");
        client
    }

    /// The same, on and on, and keeps in a group how far.
    pub(super) fn follower(&self, group: &str, partitions: usize) -> Result<BaseConsumer<Context>, Trouble> {
        let mut client = self.reader_config(partitions);
        client.set("group.id", group);
        self.made(&client, Context::default())
    }

    /// Takes part in a group, and reads nothing.
    pub(super) fn member(&self, group: &str) -> Result<BaseConsumer<Context>, Trouble> {
        let mut client = self.consumer_config(true);
        client.set("group.id", group);
        client.set("partition.assignment.strategy", "cooperative-sticky");
        // Where it would begin, were it to read.
        client.set("auto.offset.reset", "latest");
        // A topic that is made later is seen then.
        client.set("topic.metadata.refresh.interval.ms", "10000");
        self.made(&client, Context::default())
    }

    pub(super) fn admin(&self) -> Result<AdminClient<Context>, Trouble> {
        self.made(&self.client(), Context::default())
    }

    /// Every client is made here: what the library says of a setting may hold its value, which may be a secret.
    fn made<T: FromClientConfigAndContext<Context>>(
        &self,
        client: &ClientConfig,
        context: Context,
    ) -> Result<T, Trouble> {
        T::from_config_and_context(client, context).map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &KafkaError) -> Trouble {
        Trouble::Refused(match error {
            KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
                format!("librdkafka has no setting {name:?}")
            }
            KafkaError::ClientConfig(_, text, name, _)
                if ShipKafka::is_shown(name) && !self.secrets.0.iter().any(|(secret, _)| secret == name) =>
            {
                format!("the setting {name} of librdkafka: {text}")
            }
            KafkaError::ClientConfig(_, _, name, _) => {
                format!("the setting {name} of librdkafka does not take its value")
            }
            error => {
                let settings = self.kafka.settings.iter().filter_map(|setting| setting.split_once('='));
                let hidden = settings.filter(|(name, _)| !ShipKafka::is_shown(name)).map(|(_, value)| value);
                let secrets = self.secrets.0.iter().map(|(_, value)| value.as_str());
                let text = format!("settings of librdkafka: {error}");
                hidden.chain(secrets).fold(text, |text, value| text.replace(value, "…"))
            }
        })
    }

    /// That clients can be made of a configuration; no broker is waited for.
    ///
    /// # Errors
    /// The setting that is wrong, or the secret that cannot be read.
    pub fn check(config: &Config) -> Result<(), ConfigError> {
        let Some(cluster) = Self::of(config)? else { return Ok(()) };
        // Of each kind one: some settings are checked, one against another, where they are needed alone.
        let producer =
            || cluster.made::<BaseProducer<Context>>(&cluster.producer_config(Who::Shipper), Context::default());
        let made = cluster.admin().and(producer().map(drop)).and(cluster.member("check").map(drop));
        made.map_err(|trouble| config.bad_kafka(&trouble.to_string()))
    }
}

/// A failure of a client that only asks. What such a one has to say of its connections waits until it is polled.
pub(super) fn explained(client: &BaseConsumer<Context>, doing: &str, error: &KafkaError) -> Trouble {
    (0..WORDS_MAX).for_each(|_| drop(client.poll(Duration::ZERO)));
    client.client().context().explained(doing, error)
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Shipper,
    /// Somebody who does this by hand; no two at once, as far as the cluster can fence.
    Hand(&'static str),
}

fn with_default(mut client: ClientConfig, name: &str, value: &str) -> ClientConfig {
    if client.get(name).is_none() {
        client.set(name, value);
    }
    client
}

/// What a client has to say: kept, since the shipper says what matters of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Context {
    reports: Arc<Mutex<Reports>>,
}

/// What became of the messages of a transaction.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Offset of the last that arrived, by slot.
    pub(super) offsets: Vec<Option<i64>>,
    /// JSON, dead letters, alerts and signs of life that the sink refuses for good.
    pub(super) refused: Vec<(About, KafkaError)>,
    /// Of the last progress that arrived.
    pub(super) progress_offset: Option<i64>,
    /// The first that did not, of all others.
    pub(super) failure: Option<(About, KafkaError)>,
    /// What the client said last of its connections.
    pub(super) said: String,
}

impl Reports {
    pub(super) const fn has_failure(&self) -> bool {
        self.failure.is_some() || !self.refused.is_empty()
    }

    /// True when what failed says why, and not only that it was given up with others.
    pub(super) fn has_cause(&self) -> bool {
        use RDKafkaErrorCode::{PurgeInflight, PurgeQueue};
        let is_given_up = |error: &KafkaError| matches!(error.rdkafka_error_code(), Some(PurgeInflight | PurgeQueue));
        !self.refused.is_empty() || self.failure.as_ref().is_some_and(|(_, error)| !is_given_up(error))
    }
}

impl Context {
    pub(super) fn with_slots(count: usize) -> Self {
        let reports = Reports { offsets: vec![None; count], ..Reports::default() };
        Self { reports: Arc::new(Mutex::new(reports)) }
    }

    pub(super) fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A failure of its client, with what that has said of its connections.
    pub(super) fn explained(&self, doing: &str, error: &KafkaError) -> Trouble {
        let mut said = self.reports().said.clone();
        // The first words of a connection were not understood.
        if said.contains("APIVERSION_QUERY") {
            said.push_str("; check security.protocol");
        } else if said.contains("SSL connection closed by peer") {
            said.push_str("; check security.protocol, and whether the broker asks for a certificate");
        }
        match Trouble::of(doing, error) {
            Trouble::Doubt(text) if !said.is_empty() => Trouble::Doubt(format!("{text}; {said}")),
            trouble => trouble,
        }
    }
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, message);
        // A port that speaks another protocol just hangs up. In brackets stands the client's thread.
        if facility == "FAIL" {
            let said = message.split_once("]: ").map_or(message, |(_, said)| said);
            said.clone_into(&mut self.reports().said);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
        // That all are down does not say why.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            reason.clone_into(&mut self.reports().said);
        }
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    /// An `About`.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, about: usize) {
        let mut reports = self.reports();
        match (result, About::from_word(about)) {
            (Ok(message), About::Event(slot)) => {
                if let Some(offset) = reports.offsets.get_mut(slot) {
                    *offset = Some(message.offset().max(offset.unwrap_or(0)));
                }
            }
            (Ok(message), About::Other) => reports.progress_offset = Some(message.offset()),
            (Ok(_), About::Json(_) | About::Letter(_) | About::Note(_)) => {}
            (Err((error, _)), about @ (About::Json(_) | About::Letter(_) | About::Note(_)))
                if is_refused_for_good(error) =>
            {
                reports.refused.push((about, error.clone()));
            }
            (Err((error, _)), about) => {
                // What was refused is the cause of what was only given up.
                if reports.failure.is_none() || is_refused_for_good(error) {
                    reports.failure = Some((about, error.clone()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "planted-broker-secret-123";

    /// The sample with a cluster, and the secret in the file `planted`.
    fn configured(dir: &Path, settings: &str) -> Config {
        let file = dir.join("planted");
        std::fs::write(&file, SECRET).expect("written");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/tradecore.toml");
        let sample = std::fs::read_to_string(sample).expect("the sample");
        let text = format!("{sample}\n[ship.kafka]\nbrokers = \"127.0.0.1:1\"\n{settings}\n");
        Config::parse(&dir.join("gateway.toml"), &text, std::iter::empty()).expect("accepted")
    }

    #[test]
    fn a_setting_that_the_library_refuses_is_named_and_its_value_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let inline = |name: &str| format!("settings = [\"{name}={SECRET}\"]");
        for (settings, part) in [
            ("secrets = [\"sasl.pasword=planted\"]".to_owned(), "no setting \"sasl.pasword\""),
            // The library repeats a value that is no number, or none of its words.
            ("secrets = [\"security.protocol=planted\"]".to_owned(), "setting security.protocol"),
            (inline("sasl.pasword"), "no setting \"sasl.pasword\""),
            (inline("sasl.kerberos.min.time.before.relogin"), "setting sasl.kerberos.min.time.before.relogin"),
            // Refused when a client is made of all of them.
            (
                "settings = [\"security.protocol=ssl\"]\nsecrets = [\"ssl.key.pem=planted\"]".to_owned(),
                "settings of librdkafka",
            ),
            ("settings = [\"socket.timeout.ms=1s\"]".to_owned(), "setting socket.timeout.ms of librdkafka: "),
        ] {
            let config = configured(dir.path(), &settings);
            let cluster = Cluster::of(&config).expect("read").expect("a cluster");
            let made = [
                cluster.admin().map(drop),
                cluster.consumer(true).map(drop),
                cluster.follower("group", 1).map(drop),
                cluster.member("group").map(drop),
                cluster.producer(Who::Shipper, Context::default()).map(drop),
            ];
            for made in made {
                let error = made.expect_err(part);
                assert!(matches!(error, Trouble::Refused(_)), "{error:?}");
                let text = error.to_string();
                assert!(text.contains(part) && !format!("{error:?}").contains(SECRET), "{text}");
            }
            let error = config.check_host().expect_err(part).to_string();
            assert!(error.contains(part) && error.contains("ship.kafka") && !error.contains(SECRET), "{error}");
        }
        let right = configured(dir.path(), "secrets = [\"sasl.password=planted\"]");
        assert_eq!(Cluster::check(&right), Ok(()));
    }
}
