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
        self.client().batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).expect("dropped");
        Source {
            journal_dir: journal_dir.to_owned(),
            path: journal_dir.parent().expect("a directory").join(schema),
            stream: "1-virtual".to_owned(),
            keep_days: 0,
            server: Some(self.reach(schema, self.port)),
        }
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

    /// The same, after a while; `between` is called when it is dead. All of its processes are killed at once: those that are
    /// not the first would end what they do.
    pub(crate) fn kill_after(&self, wait: Duration, between: impl FnOnce()) -> bool {
        let Ok(dir) = std::env::var("TRADECORE_TEST_POSTGRES_DIR") else { return false };
        let data = std::fs::canonicalize(&dir).expect("its directory").join("data");
        pass(wait);
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        processes
            .filter(|process| std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == data))
            .for_each(|process| {
                let pid = process.file_name().to_str().and_then(|pid| pid.parse().ok());
                let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a process");
                // It may have ended by itself.
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or(());
            });
        between();
        for words in [vec!["kill", &dir], vec!["start", &self.port.to_string(), &dir]] {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres/server");
            let status = Command::new(script).args(&words).stdout(std::process::Stdio::null()).status().expect("run");
            assert!(status.success(), "{words:?}");
        }
        true
    }
}

/// Lets time pass in which nothing happens.
pub(crate) fn pass(time: Duration) {
    let since = Instant::now();
    while since.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(since.elapsed()));
    }
}
