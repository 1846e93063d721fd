//! The Kafka broker and the PostgreSQL server that are measured with: those that `TRADECORE_TEST_KAFKA` and
//! `TRADECORE_TEST_POSTGRES` name, or ones of ours, each with a directory and ports of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tradecore::projections::{Reach, Server};

use crate::Failure;
use crate::host::{Place, on};

/// Schema of the measurement.
const SCHEMA: &str = "tradecore_bench";
/// Where free ports are looked for.
const PORTS_FROM: u16 = 19_592;
const PORTS_TO: u16 = 19_892;
/// Ports that a broker takes.
const PORTS: u16 = 5;

/// What Kafka's own script gives a broker, which compiles all that it does often; tests take one that starts fast.
const BROKER_JVM: &str = "-Xms1g -Xmx1g -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35";

/// A server that was started here, and ends with this.
#[derive(Debug)]
pub(crate) struct Own {
    script: PathBuf,
    port: u16,
    place: Place,
    dir: TempDir,
}

impl Own {
    /// Starts one; how it is reached.
    fn start(script: &str, place: Place) -> Result<(Self, String), Failure> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(script);
        let own = Self { script, port: free_ports()?, place, dir: crate::scratch::dir()? };
        let said = own.go_on()?;
        Ok((own, said))
    }

    /// Starts it, from the data that it has.
    pub(crate) fn go_on(&self) -> Result<String, Failure> {
        let mut command = Command::new(&self.script);
        // What it says of itself goes on: the server has that, too.
        command
            .env("TRADECORE_BROKER_JVM", BROKER_JVM)
            .arg("start")
            .arg(self.port.to_string())
            .arg(self.dir.path())
            .stderr(Stdio::inherit());
        let done = on(self.place, || command.output())??;
        if !done.status.success() {
            return Err(format!("{} has started none", self.script.display()).into());
        }
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    }

    /// Stops it; its data stays.
    pub(crate) fn stop(&self) -> Result<(), Failure> {
        let done = Command::new(&self.script).arg("stop").arg(self.dir.path()).status()?;
        if done.success() { Ok(()) } else { Err(format!("{} has not stopped it", self.script.display()).into()) }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("a server goes on: {error}");
        }
    }
}

/// The first of some ports in a row that nobody listens at.
fn free_ports() -> Result<u16, Failure> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut firsts = (PORTS_FROM..PORTS_TO).step_by(PORTS.into());
    let first = firsts.find(|first| (*first..first.saturating_add(PORTS)).all(is_free));
    Ok(first.ok_or("no five ports in a row are free")?)
}

/// A broker.
#[cfg(feature = "kafka")]
#[derive(Debug)]
pub(crate) struct Kafka {
    /// Where it is reached.
    pub(crate) address: String,
    /// The server, if it is ours.
    pub(crate) own: Option<Own>,
}

#[cfg(feature = "kafka")]
impl Kafka {
    /// The one that is named, or one of ours in a place.
    pub(crate) fn get(place: Place) -> Result<Self, Failure> {
        match std::env::var("TRADECORE_TEST_KAFKA") {
            Ok(address) => Ok(Self { address, own: None }),
            Err(_) => Self::start(place),
        }
    }

    /// One of ours, which can be stopped.
    pub(crate) fn start(place: Place) -> Result<Self, Failure> {
        let (own, address) = Own::start("kafka/broker", place)
            .map_err(|error| format!("{error}; a broker of your own is named by TRADECORE_TEST_KAFKA=host:port"))?;
        Ok(Self { address, own: Some(own) })
    }
}

/// A PostgreSQL server.
#[derive(Debug)]
pub(crate) struct Postgres {
    parts: [String; 5],
    /// The server, if it is ours.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "ends with this"))]
    pub(crate) own: Option<Own>,
}

impl Postgres {
    /// The one that is named, or one of ours in a place; else why there is none. Nothing is installed for it.
    pub(crate) fn get(place: Place) -> Result<Self, String> {
        match std::env::var("TRADECORE_TEST_POSTGRES") {
            Ok(said) => Self::of(&said, None),
            Err(_) => Self::start(place),
        }
    }

    /// One of ours, which can be stopped.
    pub(crate) fn start(place: Place) -> Result<Self, String> {
        if !Path::new("/usr/lib/postgresql").exists() {
            let why = "say TRADECORE_TEST_POSTGRES=host:port:database:user:password, or install PostgreSQL";
            return Err(why.to_owned());
        }
        let (own, said) = Own::start("postgres/server", place).map_err(|error| error.to_string())?;
        Self::of(&said, Some(own))
    }

    fn of(said: &str, own: Option<Own>) -> Result<Self, String> {
        let parts: Vec<String> = said.trim().splitn(5, ':').map(str::to_owned).collect();
        let parts = parts.try_into().map_err(|_| "TRADECORE_TEST_POSTGRES is not host:port:database:user:password")?;
        let postgres = Self { parts, own };
        postgres.reach().and_then(|_| postgres.clear()).map_err(|error| error.to_string())?;
        Ok(postgres)
    }

    fn port(&self) -> Result<u16, Failure> {
        let [_, port, ..] = &self.parts;
        Ok(port.parse().map_err(|_| format!("{port} is no port"))?)
    }

    /// As the gateway reaches it.
    pub(crate) fn reach(&self) -> Result<Server, Failure> {
        let [host, _, database, user, password] = &self.parts;
        let reach = Reach {
            host,
            port: self.port()?,
            database,
            user,
            schema: SCHEMA,
            answer_max: std::time::Duration::from_secs(60),
        };
        Ok(Server::new(reach, Some(password.as_bytes()), None))
    }

    /// The variables that set it in a gateway's configuration, whose password is in a file.
    #[cfg(feature = "kafka")]
    pub(crate) fn overrides(&self, password_file: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
        use std::os::unix::fs::PermissionsExt as _;
        let [host, port, database, user, password] = self.parts.clone();
        std::fs::write(password_file, password)?;
        std::fs::set_permissions(password_file, std::fs::Permissions::from_mode(0o600))?;
        Ok(vec![
            ("TRADECORE__PROJECTION__POSTGRES__HOST", host),
            ("TRADECORE__PROJECTION__POSTGRES__PORT", port),
            ("TRADECORE__PROJECTION__POSTGRES__DATABASE", database),
            ("TRADECORE__PROJECTION__POSTGRES__USER", user),
            ("TRADECORE__PROJECTION__POSTGRES__SCHEMA", SCHEMA.to_owned()),
            ("TRADECORE__PROJECTION__POSTGRES__PASSWORD_FILE", password_file.display().to_string()),
        ])
    }

    /// A connection of one who reads the tables.
    pub(crate) fn connect(&self) -> Result<postgres::Client, Failure> {
        let [host, _, database, user, password] = &self.parts;
        let mut client = postgres::Config::new();
        client.host(host).port(self.port()?).dbname(database).user(user).password(password);
        client.options(&format!("-c search_path={SCHEMA}"));
        Ok(client.connect(postgres::NoTls)?)
    }

    /// Takes the tables away.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        Ok(self.connect()?.batch_execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))?)
    }
}
