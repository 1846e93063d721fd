//! The PostgreSQL server that is measured with.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tradecore::projections::{Reach, Server};

use crate::Failure;

/// Schema of the measurement.
const SCHEMA: &str = "tradecore_bench";

/// Port of a server that is started.
const PORT: &str = "15439";

/// A server, and what it is stopped by, if it was started here.
pub(super) struct Measured {
    reach: Server,
    admin: ::postgres::Config,
    started: Option<(PathBuf, tempfile::TempDir)>,
}

/// The server that is said or can be started; else why there is none.
pub(super) fn server() -> Result<Measured, String> {
    let (said, started) = match std::env::var("TRADECORE_TEST_POSTGRES") {
        Ok(said) => (said, None),
        Err(_) => start()?,
    };
    let parts: Vec<&str> = said.trim().splitn(5, ':').collect();
    let &[host, port, database, user, password] = parts.as_slice() else {
        return Err("TRADECORE_TEST_POSTGRES is not host:port:database:user:password".to_owned());
    };
    let port = port.parse().map_err(|_| format!("{port} is no port"))?;
    let mut admin = ::postgres::Config::new();
    admin.host(host).port(port).dbname(database).user(user).password(password);
    let reach = Server::new(Reach { host, port, database, user, schema: SCHEMA }, Some(password.as_bytes()));
    let measured = Measured { reach, admin, started };
    measured.clear().map_err(|error| error.to_string())?;
    Ok(measured)
}

type Started = (String, Option<(PathBuf, tempfile::TempDir)>);

fn start() -> Result<Started, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/postgres/server");
    let why = "say TRADECORE_TEST_POSTGRES=host:port:database:user:password, or install PostgreSQL";
    if !script.exists() || !Path::new("/usr/lib/postgresql").exists() {
        return Err(why.to_owned());
    }
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    // Its output goes on: the server has it too.
    let said = Command::new(&script)
        .args(["start", PORT])
        .arg(dir.path())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    if !said.status.success() {
        return Err(format!("{} did not start one; {why}", script.display()));
    }
    Ok((String::from_utf8_lossy(&said.stdout).into_owned(), Some((script, dir))))
}

impl Measured {
    pub(super) const fn reach(&self) -> &Server {
        &self.reach
    }

    /// Takes the tables away.
    pub(super) fn clear(&self) -> Result<(), Failure> {
        let mut client = self.admin.connect(::postgres::NoTls)?;
        Ok(client.batch_execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))?)
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if let Some((script, dir)) = &self.started {
            // What is left of it ends with the machine.
            drop(Command::new(script).arg("stop").arg(dir.path()).status());
        }
    }
}
