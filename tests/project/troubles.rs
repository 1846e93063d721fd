//! A server that refuses, has no room or falls silent: the worker says so, loses nothing, and ends when it is asked to.

use super::host::DEADLINE;
use super::proxy::{Cut, Proxy};
use super::{configured, edit, end, started, worker};

#[test]
fn a_worker_whose_user_may_do_nothing_and_whose_server_is_full_says_so_and_goes_on_once_that_is_mended() {
    let (postgres, host, mut core) = configured("project_refused");
    let mut client = postgres.client();
    let role = "DROP ROLE IF EXISTS tradecore_bare; CREATE ROLE tradecore_bare LOGIN PASSWORD 'bare'";
    client.batch_execute(role).expect("a role");
    edit(&host, &format!("user = \"{}\"", postgres.user), "user = \"tradecore_bare\"");
    std::fs::write(host.dir.path().join("pg-password"), "bare").expect("written");
    let mut last = core.grow(60);
    core.ship();
    let mut live = worker(&host);
    let line = live.wait_for("no-rights");
    assert!(line.contains("make the schema with CREATE SCHEMA name AUTHORIZATION user"), "{line}");
    client.batch_execute("CREATE SCHEMA project_refused AUTHORIZATION tradecore_bare").expect("made");
    core.assert_is_a_fold(last, "with rights");
    // As the server says it, in the middle of a batch.
    client
        .batch_execute(
            "CREATE FUNCTION project_refused.refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'as asked for' USING ERRCODE = '53100'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON project_refused.events EXECUTE FUNCTION project_refused.refuse()",
        )
        .expect("made");
    let before = last;
    last = core.grow(60);
    core.ship();
    let line = live.wait_for("no-room");
    assert!(line.contains("make room on the disk of the server"), "{line}");
    core.assert_is_a_fold(before, "nothing was taken in");
    client.batch_execute("DROP FUNCTION project_refused.refuse CASCADE").expect("dropped");
    core.assert_is_a_fold(last, "there is room");
    end(live);
    client.batch_execute("DROP SCHEMA project_refused CASCADE; DROP ROLE tradecore_bare").expect("cleared");
}

#[test]
fn a_worker_whose_server_falls_silent_says_so_goes_on_once_it_speaks_and_ends_in_the_midst_of_a_batch() {
    let (postgres, host, mut core, live, mut last) = started("project_silent", "");
    end(live);
    let proxy = Proxy::start(format!("{}:{}", postgres.host, postgres.port).parse().expect("an address"));
    let port = format!("port = {}\nanswer_timeout_s = ", proxy.port);
    edit(&host, &format!("port = {}\n", postgres.port), &format!("{port}2\n"));
    let mut live = worker(&host);
    live.wait_for("projecting");
    proxy.be_silent(true);
    last = core.grow(60).max(last);
    core.ship();
    let line = live.wait_for("it has said nothing for 2 s");
    assert!(line.contains("unreachable"), "{line}");
    proxy.be_silent(false);
    core.assert_is_a_fold(last, "it speaks again");
    end(live);
    // Longer than a stop may take.
    edit(&host, &format!("{port}2\n"), &format!("{port}3600\n"));
    let mut live = worker(&host);
    live.wait_for("projecting");
    proxy.plan(Cut::Hold);
    let before = last;
    last = core.grow(60);
    core.ship();
    // The rows are with the server, which waits for the end of the transaction.
    assert_eq!(proxy.done.recv_timeout(DEADLINE), Ok(Cut::Hold));
    end(live);
    core.assert_is_a_fold(before, "nothing is half there");
    proxy.be_silent(false);
    let live = worker(&host);
    core.assert_is_a_fold(last, "another goes on");
    end(live);
}
