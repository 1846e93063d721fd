//! The PostgreSQL server of these tests.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use tradecore::projections::{Reach, Server, Source, Tls};

/// Generous: a server that was killed comes back within a second, on a busy machine within many.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The server; one test at a time has it, since some of them kill it.
pub(crate) struct Postgres {
    pub(crate) host: String,
    pub(crate) port: u16,
    database: String,
    pub(crate) user: String,
    password: String,
    _alone: MutexGuard<'static, ()>,
}

impl Postgres {
    pub(crate) fn get() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let said = std::env::var("TRADECORE_TEST_POSTGRES").expect(
            "TRADECORE_TEST_POSTGRES=host:port:database:user:password; start a server with `tests/postgres/server start \
             15432 DIR`, which says it, and say TRADECORE_TEST_POSTGRES_DIR=DIR, so that it can be killed",
        );
        let parts: Vec<&str> = said.splitn(5, ':').collect();
        let &[host, port, database, user, password] = parts.as_slice() else { panic!("{said}: not five parts") };
        Self {
            host: host.to_owned(),
            port: port.parse().expect("a port"),
            database: database.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// How the schema of a test is reached, straight or through somebody at another port.
    pub(crate) fn reach(&self, schema: &str, port: u16) -> Server {
        self.reach_as(schema, port, &self.user, &self.password)
    }

    pub(crate) fn reach_as(&self, schema: &str, port: u16, user: &str, password: &str) -> Server {
        let (host, database) = (self.host.as_str(), self.database.as_str());
        Server::new(Reach { host, port, database, user, schema, answer_max: DEADLINE }, Some(password.as_bytes()), None)
    }

    /// As `reach`, of one that waits for an answer so long.
    pub(crate) fn reach_within(&self, answer_max: Duration, schema: &str, port: u16) -> Server {
        let (host, database, user) = (self.host.as_str(), self.database.as_str(), self.user.as_str());
        Server::new(Reach { host, port, database, user, schema, answer_max }, Some(self.password.as_bytes()), None)
    }

    /// The schema of a test in another database.
    pub(crate) fn reach_to(&self, database: &str, schema: &str) -> Server {
        let (host, user) = (self.host.as_str(), self.user.as_str());
        Server::new(
            Reach { host, port: self.port, database, user, schema, answer_max: DEADLINE },
            Some(self.password.as_bytes()),
            None,
        )
    }

    /// A projection into an empty schema.
    pub(crate) fn source(&self, journal_dir: &Path, schema: &str) -> Source {
        self.drop_schema(schema);
        Source {
            journal_dir: journal_dir.to_owned(),
            path: journal_dir.parent().expect("a directory").join(schema),
            stream: "1-virtual".to_owned(),
            keep_days: 0,
            server: Some(self.reach(schema, self.port)),
        }
    }

    pub(crate) fn drop_schema(&self, schema: &str) {
        self.client().batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).expect("dropped");
    }

    /// A connection that knows nothing of projections.
    pub(crate) fn client(&self) -> Client {
        let mut config = postgres::Config::new();
        config.host(&self.host).port(self.port).dbname(&self.database).user(&self.user).password(&self.password);
        let until = Instant::now() + DEADLINE;
        loop {
            match config.connect(NoTls) {
                Ok(client) => return client,
                Err(error) if Instant::now() > until => panic!("{error:?}"),
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    /// As a user of a password, by TLS.
    pub(crate) fn reach_by_tls(&self, port: u16, (user, password): (&str, &str), schema: &str, ca: &[u8]) -> Server {
        let (host, database, tls) = (self.host.as_str(), self.database.as_str(), Tls::of(ca).expect("certificates"));
        let reach = Reach { host, port, database, user, schema, answer_max: DEADLINE };
        Server::new(reach, Some(password.as_bytes()), Some(tls))
    }

    /// The section of the configuration that reaches it.
    pub(crate) fn section(&self, schema: &str) -> String {
        format!(
            "[projection.postgres]\nhost = \"{}\"\nport = {}\ndatabase = \"{}\"\nuser = \"{}\"\nschema = \"{schema}\"\n\
             password_file = \"pg-password\"\ni_accept_plaintext_on_a_network = true\n",
            self.host, self.port, self.database, self.user
        )
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Kills it and starts it again; false for one that is not ours to kill.
    pub(crate) fn kill_and_restart(&self) -> bool {
        self.kill_after(Duration::ZERO, || ())
    }

    /// The same, after a while; `between` is called when it is dead.
    pub(crate) fn kill_after(&self, wait: Duration, between: impl FnOnce()) -> bool {
        pass(wait);
        if !self.kill() {
            return false;
        }
        between();
        self.start();
        true
    }

    /// Kills all of its processes at once: those that are not the first would end what they do. False for one that is not
    /// ours to kill.
    pub(crate) fn kill(&self) -> bool {
        let Some(dir) = Self::dir() else { return false };
        let data = std::fs::canonicalize(&dir).expect("its directory").join("data");
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        processes
            .filter(|process| std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == data))
            .for_each(|process| {
                let pid = process.file_name().to_str().and_then(|pid| pid.parse().ok());
                let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a process");
                // It may have ended by itself.
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or(());
            });
        true
    }

    /// Starts one of ours that was killed.
    pub(crate) fn start(&self) {
        let dir = Self::dir().expect("one of ours");
        for words in [vec!["kill", &dir], vec!["start", &self.port.to_string(), &dir]] {
            assert!(Self::script(&words).is_ok_and(|status| status.success()), "{words:?}");
        }
    }

    fn script(words: &[&str]) -> std::io::Result<std::process::ExitStatus> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres/server");
        Command::new(script).args(words).stdout(std::process::Stdio::null()).status()
    }

    fn dir() -> Option<String> {
        std::env::var("TRADECORE_TEST_POSTGRES_DIR").ok()
    }
}

/// A test that has failed may have killed it: those that follow would wait for it, one by one.
impl Drop for Postgres {
    fn drop(&mut self) {
        if let (true, Some(dir)) = (std::thread::panicking(), Self::dir()) {
            for words in [vec!["kill", &dir], vec!["start", &self.port.to_string(), &dir]] {
                println!("{words:?}: {:?}", Self::script(&words));
            }
        }
    }
}

/// Lets time pass in which nothing happens.
pub(crate) fn pass(time: Duration) {
    let since = Instant::now();
    while since.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(since.elapsed()));
    }
}
