//! A server that falls silent: the connections stay, and nothing comes by them.

use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tradecore::projections::server::Trouble;
use tradecore::projections::store::{Care, Store};
use tradecore::projections::{ProjectionError, Projector, Source};

use super::assert_is_a_fold;
use super::commands::configured;
use super::host::{Gateway, command};
use super::proxy::Proxy;
use super::refusals::trouble_of;
use super::server::{DEADLINE, Postgres};
use super::support::{catch_up, write_history};

const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What comes of a step that may never end.
fn in_time<T: Send + 'static>(what: &str, step: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, done) = channel();
    std::thread::spawn(move || send.send(step()));
    done.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("{what} does not end: {error}"))
}

fn assert_lost(error: &ProjectionError) {
    let text = error.to_string();
    assert!(trouble_of(error) == Trouble::Unreachable && error.may_pass(), "{text}");
    assert!(text.contains("it has said nothing for 2 s"), "{text}");
}

#[test]
fn a_server_that_falls_silent_counts_as_lost_and_the_tables_follow_once_it_speaks_again() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 2);
    let straight = postgres.source(&journal_dir, "silent");
    let proxy = Proxy::start(format!("{}:{}", postgres.host, postgres.port).parse().expect("an address"));
    let server = postgres.reach_within(ANSWER_MAX, "silent", proxy.port);
    let source = Source { server: Some(server), ..straight.clone() };
    let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    assert!(projector.step(50).expect("a batch") > 0);
    // Nobody has asked for anything meanwhile: that is no silence.
    super::server::pass(ANSWER_MAX * 2);
    assert!(projector.step(100).expect("another batch") > 0);
    proxy.be_silent(true);
    // It may hold a lock of the server, and is dropped where it has ended.
    let error = in_time("a batch", move || projector.step(u64::MAX).expect_err("silent"));
    assert_lost(&error);
    let asked = source.clone();
    let error = in_time("a connection", move || Projector::open(&asked, Care::Live).expect_err("silent"));
    assert_lost(&error);
    proxy.be_silent(false);
    let until = Instant::now() + DEADLINE;
    // The server hears only now that those are gone.
    while let Err(error) = Projector::open(&source, Care::Live) {
        assert!(error.may_pass() && Instant::now() < until, "{error}");
    }
    catch_up(&source);
    assert_is_a_fold(&straight, "speaks again");
}

#[test]
fn a_server_that_is_slow_is_waited_for_and_one_that_works_for_too_long_gives_up_by_itself() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 2);
    let straight = postgres.source(&journal_dir, "slow");
    let within = |answer_max| Some(postgres.reach_within(answer_max, "slow", postgres.port));
    let source = Source { server: within(ANSWER_MAX), ..straight.clone() };
    let patient = Source { server: within(ANSWER_MAX * 20), ..straight.clone() };
    let mut projector = Projector::open(&patient, Care::Live).expect("opens").expect("goes on");
    assert!(projector.step(50).expect("a batch") > 0);
    let mut client = postgres.client();
    let mut take = |seconds: &str| {
        client
            .batch_execute(&format!(
                "CREATE OR REPLACE FUNCTION slow.wait() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$; \
                 DROP TRIGGER IF EXISTS wait ON slow.events; \
                 CREATE TRIGGER wait AFTER INSERT ON slow.events EXECUTE FUNCTION slow.wait()"
            ))
            .expect("made");
    };
    take("3");
    assert!(projector.step(100).expect("it was waited for") > 0);
    drop(projector);
    take("3600");
    let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    let before = projector.position().clone();
    let error = in_time("a batch", move || projector.step(u64::MAX).expect_err("too slow"));
    assert!(trouble_of(&error) == Trouble::Busy && error.may_pass(), "{error}");
    assert!(error.to_string().contains("pg_stat_activity"), "{error}");
    let found = Store::open_to_read(&straight).expect("opens").position().expect("read");
    assert_eq!(found, before, "its transaction was taken back");
    take("0");
    catch_up(&source);
    assert_is_a_fold(&straight, "quick again");
}

#[test]
fn a_gateway_whose_server_is_silent_ends_when_it_is_asked_to() {
    let postgres = Postgres::get();
    let proxy = Proxy::start(format!("{}:{}", postgres.host, postgres.port).parse().expect("an address"));
    let dir = configured(&postgres, "held");
    let path = dir.path().join("gateway.toml");
    let text = std::fs::read_to_string(&path).expect("read");
    // Longer than is waited for below.
    let port = format!("port = {}\nanswer_timeout_s = 3600", proxy.port);
    std::fs::write(&path, text.replace(&format!("port = {}", postgres.port), &port)).expect("written");
    let mut gateway = Gateway(command(dir.path(), "run").stdout(Stdio::null()).spawn().expect("runs"));
    let until = Instant::now() + DEADLINE;
    let mut client = postgres.client();
    while client.query_opt("SELECT 1 FROM held.projection_positions WHERE seq > 0", &[]).ok().flatten().is_none() {
        assert!(Instant::now() < until, "no event is in the tables");
    }
    proxy.be_silent(true);
    // An event, for which the server is asked.
    let output = super::host::run(dir.path(), "kill on --session 1 --account 1 --json");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pid = rustix::process::Pid::from_raw(gateway.0.id().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
    let until = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = gateway.0.try_wait().expect("asked") {
            break status;
        }
        assert!(Instant::now() < until, "it does not end");
        std::thread::park_timeout(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0));
}
