//! TLS to a real server, whose certificate is made here: who may be believed, and what can be read on the way.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use postgres::Client;
use tradecore::projections::server::Trouble;
use tradecore::projections::store::Care;
use tradecore::projections::{Projector, Source, Tls};

use super::assert_is_a_fold;
use super::proxy::Proxy;
use super::refusals::{refused, trouble_of};
use super::server::{DEADLINE, Postgres};
use super::support::{catch_up, write_history};

const USER: (&str, &str) = ("tradecore_by_tls", "a-password-that-nobody-sees");

fn openssl(dir: &Path, words: &str) {
    let made = Command::new("openssl").current_dir(dir).args(words.split(' ')).output().expect("openssl is installed");
    assert!(made.status.success(), "{words}: {}", String::from_utf8_lossy(&made.stderr));
}

/// An authority of this name.
fn authority(dir: &Path, name: &str) -> Vec<u8> {
    openssl(
        dir,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ),
    );
    std::fs::read(dir.join(format!("{name}.pem"))).expect("made")
}

/// A certificate for this name of a host, signed by an authority: key and certificate.
fn certificate(dir: &Path, host: &str, signer: &str) -> [String; 2] {
    std::fs::write(dir.join("names"), format!("subjectAltName={host}")).expect("written");
    openssl(
        dir,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout server.key -out server.csr",
    );
    openssl(
        dir,
        &format!(
            "x509 -req -in server.csr -CA {signer}.pem -CAkey {signer}.key -CAcreateserial -days 2 -extfile names -out server.pem"
        ),
    );
    ["server.key", "server.pem"].map(|name| std::fs::read_to_string(dir.join(name)).expect("made"))
}

/// What of the server is set for these tests, until the end of them.
struct Set<'a>(&'a Postgres, Client);

impl<'a> Set<'a> {
    /// A user that is let in by TLS alone, and whose password goes over as it is.
    fn new(postgres: &'a Postgres) -> Self {
        let mut this = Self(postgres, postgres.client());
        let (user, password) = USER;
        this.1
            .batch_execute(&format!(
                "DROP SCHEMA IF EXISTS encrypted CASCADE; DROP ROLE IF EXISTS {user}; \
                 CREATE ROLE {user} LOGIN PASSWORD '{password}'; CREATE SCHEMA encrypted AUTHORIZATION {user}; \
                 COPY (SELECT 1) TO PROGRAM 'cp -n pg_hba.conf pg_hba.kept; cat > /dev/null'"
            ))
            .expect("made");
        let trust = "host all all all trust\nlocal all all trust";
        this.write(
            "pg_hba.conf",
            &format!("hostssl all {user} all password\nhostnossl all {user} all reject\n{trust}"),
        );
        this
    }

    /// Writes a file where the server keeps its own, as the server.
    fn write(&mut self, name: &str, text: &str) {
        let lines = format!("SELECT unnest(string_to_array('{text}', E'\\n'))");
        self.1.batch_execute(&format!("COPY ({lines}) TO PROGRAM 'umask 077; cat > {name}'")).expect("written");
    }

    /// Another certificate, for every connection from now on.
    fn certificate(&mut self, [key, certificate]: [String; 2]) {
        self.write("test.key", key.trim());
        self.write("test.pem", certificate.trim());
        for setting in ["ssl = on", "ssl_cert_file = 'test.pem'", "ssl_key_file = 'test.key'"] {
            self.1.batch_execute(&format!("ALTER SYSTEM SET {setting}")).expect("set");
        }
        self.reload();
    }

    fn reload(&mut self) {
        let now: String = self.1.query_one("SELECT clock_timestamp()::text", &[]).expect("a time").get(0);
        self.1.batch_execute("SELECT pg_reload_conf()").expect("asked");
        let until = Instant::now() + DEADLINE;
        let is_new = "SELECT pg_conf_load_time() > $1::text::timestamptz";
        while !self.0.client().query_one(is_new, &[&now]).expect("told").get::<_, bool>(0) {
            assert!(Instant::now() < until, "its settings are not read again");
        }
    }
}

impl Drop for Set<'_> {
    fn drop(&mut self) {
        let reset = "COPY (SELECT 1) TO PROGRAM 'mv pg_hba.kept pg_hba.conf; cat > /dev/null'";
        for step in
            ["ALTER SYSTEM RESET ssl", "ALTER SYSTEM RESET ssl_cert_file", "ALTER SYSTEM RESET ssl_key_file", reset]
        {
            self.1.batch_execute(step).expect("set back");
        }
        self.reload();
    }
}

#[test]
fn by_tls_the_right_server_alone_is_spoken_to_and_nothing_can_be_read_on_the_way() {
    if std::env::var_os("TRADECORE_TEST_POSTGRES_DIR").is_none() {
        println!("NOT tested: the server is not ours (TRADECORE_TEST_POSTGRES_DIR)");
        return;
    }
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 2);
    let (ours, theirs) = (authority(dir.path(), "ours"), authority(dir.path(), "theirs"));
    let right = certificate(dir.path(), "IP:127.0.0.1", "ours");
    let elsewhere = certificate(dir.path(), "DNS:db.example", "ours");
    let proxy = Proxy::start(format!("{}:{}", postgres.host, postgres.port).parse().expect("an address"));
    let by = |ca: &[u8]| Some(postgres.reach_by_tls(proxy.port, USER, "encrypted", ca));
    let source = Source { server: by(&ours), ..postgres.source(&journal_dir, "encrypted") };
    let mut set = Set::new(&postgres);
    let assert_untrusted = |ca: &[u8], problem: &str| {
        let error = refused(&Source { server: by(ca), ..source.clone() });
        let text = error.to_string();
        assert!(trouble_of(&error) == Trouble::Untrusted && error.may_pass(), "{text}");
        assert!(text.contains(problem) && text.contains("check host and ca_file"), "{text}");
        assert!(!text.contains(USER.1), "{text}");
    };

    set.reload();
    assert_untrusted(&ours, "does not offer TLS");
    set.certificate(elsewhere);
    assert_untrusted(&ours, "not valid for name");
    set.certificate(right);
    assert_untrusted(&theirs, "UnknownIssuer");
    catch_up(&source);
    assert_is_a_fold(&source, "by TLS");
    let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    let is_encrypted = "SELECT bool_and(ssl), min(version) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                        WHERE application_name = 'tradecore projection'";
    let row = set.1.query_one(is_encrypted, &[]).expect("connections");
    assert_eq!((row.get(0), row.get(1)), (true, "TLSv1.3"));
    assert_eq!(projector.step(u64::MAX).expect("nothing new"), 0);
    drop(projector);
    // The password, the user's name, and the name of a table, of which all rows that were sent speak.
    for part in [USER.1, USER.0, "projection_positions"] {
        let (is_seen, bytes) = proxy.has_seen(part.as_bytes());
        assert!(!is_seen && bytes > 100_000, "{part} in {bytes} bytes");
    }
    // In the clear they would have been seen.
    let open = Proxy::start(format!("{}:{}", postgres.host, postgres.port).parse().expect("an address"));
    catch_up(&Source { server: Some(postgres.reach("in_the_clear", open.port)), ..source });
    assert!(open.has_seen(b"projection_positions").0);
    set.1.batch_execute("DROP SCHEMA in_the_clear CASCADE").expect("dropped");
}

#[test]
fn a_file_that_names_no_authority_is_refused_with_what_is_wrong() {
    for (text, problem) in [
        ("", "no certificate"),
        ("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", "not in PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be used"),
    ] {
        let said = Tls::of(text.as_bytes()).expect_err(problem);
        assert!(said.contains(problem), "{said}");
    }
}
