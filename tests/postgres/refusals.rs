//! What a server refuses: the named state, the next step, nothing lost, and on it goes once it is mended.

use postgres::Client;
use tradecore::projections::aggregate::Aggregate;
use tradecore::projections::ask::parked;
use tradecore::projections::server::Trouble;
use tradecore::projections::store::{Care, Store};
use tradecore::projections::{ProjectionError, Projector, Source, open, rebuild, rebuild_unasked, verify};
use tradecore_domain::event::{AccountDefined, Event, KillSwitchChanged, Meta};

use super::server::Postgres;
use super::support::{catch_up, events_of, write, write_history};
use super::{assert_is_a_fold, differing};

pub(crate) fn refused(source: &Source) -> ProjectionError {
    match Projector::open(source, Care::Live) {
        Err(error) => error,
        Ok(other) => panic!("{other:?}"),
    }
}

pub(crate) fn trouble_of(error: &ProjectionError) -> Trouble {
    match error {
        ProjectionError::Postgres { trouble, .. } => *trouble,
        other => panic!("{other}"),
    }
}

fn tables_in(client: &mut Client, schema: &str) -> i64 {
    let sql = "SELECT count(*) FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relkind IN ('r', 'v')";
    client.query_one(sql, &[&schema]).expect("a count").get(0)
}

#[test]
fn a_server_that_is_away_or_lets_nobody_in_is_named_with_the_next_step_and_tried_again() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 2);
    let source = postgres.source(&journal_dir, "away");
    // A port that nobody has: it was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let cases = [
        (postgres.reach("away", port), Trouble::Unreachable, "check host and port"),
        (
            postgres.reach_as("away", postgres.port, "nobody_of_that_name", "secret-7a1"),
            Trouble::Unauthorized,
            "pg_hba.conf",
        ),
        (postgres.reach_to("no_such_database", "away"), Trouble::NoDatabase, "CREATE DATABASE"),
    ];
    for (server, trouble, step) in cases {
        let error = refused(&Source { server: Some(server), ..source.clone() });
        let text = error.to_string();
        assert_eq!(trouble_of(&error), trouble, "{text}");
        assert!(error.may_pass() && text.contains(trouble.words().0) && text.contains(step), "{text}");
        assert!(!text.contains("secret-7a1"), "{text}");
    }
}

#[test]
fn a_user_without_rights_is_told_what_to_make_and_goes_on_once_it_is_there() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 2);
    let source = postgres.source(&journal_dir, "rights");
    let mut client = postgres.client();
    client
        .batch_execute("DROP ROLE IF EXISTS tradecore_poor; CREATE ROLE tradecore_poor LOGIN PASSWORD 'poor'")
        .expect("a role");
    let poor = Source { server: Some(postgres.reach_as("rights", postgres.port, "tradecore_poor", "poor")), ..source };
    let error = refused(&poor);
    assert!(trouble_of(&error) == Trouble::NoRights && error.to_string().contains("CREATE SCHEMA"), "{error}");
    client.batch_execute("CREATE SCHEMA rights").expect("made");
    assert_eq!(trouble_of(&refused(&poor)), Trouble::NoRights, "it is another's");
    client.batch_execute("ALTER SCHEMA rights OWNER TO tradecore_poor").expect("given");
    catch_up(&poor);
    assert_is_a_fold(&poor, "with rights");
    client.batch_execute("DROP SCHEMA rights CASCADE; DROP ROLE tradecore_poor").expect("cleared");
}

#[test]
fn tables_of_others_of_a_newer_release_or_of_another_core_are_refused_and_left_as_they_are() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 2);
    let source = postgres.source(&journal_dir, "others");
    let mut client = postgres.client();
    for theirs in ["CREATE TABLE others.wages (name text)", "CREATE TABLE others.projection_positions (name text)"] {
        client
            .batch_execute(&format!("DROP SCHEMA IF EXISTS others CASCADE; CREATE SCHEMA others; {theirs}"))
            .expect("made");
        for error in [refused(&source), rebuild(&source, &mut |_, _| true).expect_err("theirs")] {
            assert!(matches!(error, ProjectionError::Foreign { .. }) && !error.may_pass(), "{error}");
            assert!(error.to_string().contains("a schema of its own"), "{error}");
        }
        assert_eq!(tables_in(&mut client, "others"), 1);
    }
    client.batch_execute("DROP SCHEMA others CASCADE").expect("cleared");
    assert!(matches!(Store::open_to_read(&source), Err(ProjectionError::Missing { .. })));
    catch_up(&source);
    let other = Source { stream: "2-live".to_owned(), ..source.clone() };
    let error = refused(&other);
    assert!(error.to_string().contains("holds the rows of 1-virtual, and the configuration is of 2-live"), "{error}");
    let comment = |client: &mut Client, schema: u32| {
        let text = format!("tradecore read model, schema {schema}, views 0");
        client.batch_execute(&format!("COMMENT ON TABLE others.projection_positions IS '{text}'")).expect("said");
    };
    comment(&mut client, 999);
    let error = refused(&source);
    assert!(matches!(error, ProjectionError::Newer { found: 999, .. }), "{error}");
    assert!(matches!(verify(&source, &mut |_, _| true), Err(ProjectionError::Newer { .. })));
    // An older one, with a table that there is no more: as the gateway does it at its start.
    comment(&mut client, 0);
    client
        .batch_execute("CREATE TABLE others.old (n int); COMMENT ON TABLE others.old IS 'tradecore read model: old'")
        .expect("made");
    let before = tables_in(&mut client, "others");
    drop(open(&source, &mut |_, _| true).expect("made anew"));
    assert_eq!(tables_in(&mut client, "others"), before - 1, "the old table is gone");
    assert_is_a_fold(&source, "made anew");
    // Views that others have built on them are not taken away.
    comment(&mut client, 0);
    client.batch_execute("CREATE VIEW public.theirs AS SELECT seq FROM others.fills").expect("made");
    let error = open(&source, &mut |_, _| true).expect_err("depended on");
    assert!(trouble_of(&error) == Trouble::Depended && error.to_string().contains("drop the views"), "{error}");
    client.batch_execute("DROP VIEW public.theirs").expect("dropped");
    drop(open(&source, &mut |_, _| true).expect("made anew"));
    assert_is_a_fold(&source, "made anew again");
}

#[test]
fn tables_that_know_what_this_journal_does_not_are_made_anew_by_a_person_s_word_alone() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (of_theirs, of_ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    [&of_theirs, &of_ours].into_iter().for_each(|dir| std::fs::create_dir(dir).expect("made"));
    let theirs = postgres.source(&write_history(&of_theirs, 5).0, "elsewhere");
    let ours = Source { journal_dir: write_history(&of_ours, 2).0, path: of_ours.join("rows"), ..theirs.clone() };
    let mut client = postgres.client();
    let go_on = &mut |_, _| true;
    let says = "SELECT obj_description('elsewhere.projection_positions'::regclass, 'pg_class')";
    for outdated in [
        "COMMENT ON TABLE elsewhere.projection_positions IS 'tradecore read model, schema 0, views 0'",
        "UPDATE elsewhere.projection_positions SET fold_version = fold_version - 1",
    ] {
        catch_up(&theirs);
        let before: i64 = client.query_one("SELECT count(*) FROM elsewhere.events", &[]).expect("a number").get(0);
        let comment: String = client.query_one(says, &[]).expect("a comment").get(0);
        client.batch_execute(outdated).expect("made so");
        for error in [open(&ours, go_on).expect_err("theirs"), rebuild_unasked(&ours, go_on).expect_err("theirs")] {
            assert!(matches!(error, ProjectionError::Elsewhere { .. }), "{outdated}: {error}");
        }
        // A rebuild of one's own takes minutes, in which another host may have come.
        client.batch_execute(&format!("COMMENT ON TABLE elsewhere.projection_positions IS '{comment}'")).expect("said");
        rebuild(&ours, go_on).expect("asked for");
        client.batch_execute(outdated).expect("made so");
        let mut comes = postgres.client();
        let moved = rebuild_unasked(&ours, &mut |_, _| {
            let come = "UPDATE elsewhere.projection_positions SET record_crc = record_crc - 1";
            comes.execute(come, &[]).expect("moved");
            true
        });
        assert!(matches!(moved, Err(ProjectionError::Elsewhere { .. })), "{outdated}: {moved:?}");
        rebuild(&theirs, go_on).expect("asked for");
        let after: i64 = client.query_one("SELECT count(*) FROM elsewhere.events", &[]).expect("a number").get(0);
        assert_eq!(after, before, "{outdated}");
        assert_is_a_fold(&theirs, outdated);
    }
}

#[test]
fn a_full_disk_a_standby_and_a_held_row_are_named_and_nothing_is_lost() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 2);
    let source = postgres.source(&journal_dir, "troubles");
    let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    assert!(projector.step(50).expect("a batch") > 0);
    drop(projector);
    let mut client = postgres.client();
    // As the server says it, in the middle of a batch.
    for (code, trouble) in [
        ("53100", Trouble::NoRoom),
        ("25006", Trouble::ReadOnly),
        ("55P03", Trouble::Busy),
        ("57P02", Trouble::Restarting),
    ] {
        client
            .batch_execute(&format!(
                "CREATE FUNCTION troubles.refuse() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'as asked for' USING ERRCODE = '{code}'; END $$; \
                 CREATE TRIGGER refuse BEFORE INSERT ON troubles.events EXECUTE FUNCTION troubles.refuse()"
            ))
            .expect("made");
        let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
        let before = projector.position().clone();
        let error = projector.step(u64::MAX).expect_err(code);
        assert!(trouble_of(&error) == trouble && error.may_pass(), "{error}");
        assert!(error.to_string().contains(trouble.words().1), "{error}");
        drop(projector);
        assert_eq!(Store::open_to_read(&source).expect("opens").position().expect("read"), before, "{code}");
        client.batch_execute("DROP FUNCTION troubles.refuse CASCADE").expect("dropped");
        assert_is_a_fold(&source, code);
    }
    catch_up(&source);
    assert_is_a_fold(&source, "mended");
}

#[test]
fn a_verify_finds_a_changed_row_and_a_rebuild_heals_it_while_a_reader_sees_the_old_rows_and_keeps_its_rights() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 5);
    let source = postgres.source(&journal_dir, "healed");
    catch_up(&source);
    let mut client = postgres.client();
    client
        .batch_execute(
            "GRANT SELECT ON healed.orders TO PUBLIC; UPDATE healed.orders SET cum_qty = cum_qty + 1 \
             WHERE order_id = (SELECT min(order_id) FROM healed.orders); \
             DELETE FROM healed.fills WHERE seq = (SELECT max(seq) FROM healed.fills)",
        )
        .expect("changed");
    let (_, all) = verify(&source, &mut |_, _| true).expect("compared");
    let found = differing(&all);
    assert!(found.len() == 2 && found[0].starts_with("orders: ") && found[1].starts_with("fills: "), "{found:?}");
    let mut reader = postgres.client();
    let count = "SELECT count(*) FROM healed.fills";
    let mut moment =
        reader.build_transaction().isolation_level(postgres::IsolationLevel::RepeatableRead).start().expect("begun");
    let before: i64 = moment.query_one(count, &[]).expect("a count").get(0);
    let rebuilt = rebuild(&source, &mut |_, _| true).expect("made anew");
    assert_eq!(differing(&rebuilt.differing.expect("compared")), found);
    assert_eq!(moment.query_one(count, &[]).expect("a count").get::<_, i64>(0), before, "as of its moment");
    drop(moment);
    assert_eq!(reader.query_one(count, &[]).expect("a count").get::<_, i64>(0), before + 1);
    assert_is_a_fold(&source, "healed");
    let granted = "SELECT has_table_privilege('pg_monitor', 'healed.orders', 'SELECT')";
    assert!(client.query_one(granted, &[]).expect("told").get::<_, bool>(0), "rights stay");
}

#[test]
fn a_server_that_was_restored_from_a_backup_goes_on_from_its_older_position() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 7);
    let source = postgres.source(&journal_dir, "restored");
    let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    assert!(projector.step(200).expect("a batch") > 0);
    let older = projector.position().seq;
    let mut client = postgres.client();
    let names: Vec<&str> = tradecore::projections::tables::TABLES.iter().map(|table| table.name).collect();
    let each = |words: &dyn Fn(&str) -> String| names.iter().map(|name| words(name)).collect::<String>();
    let copied = each(&|name| format!("CREATE TABLE backup.{name} AS TABLE restored.{name};"));
    client
        .batch_execute(&format!("DROP SCHEMA IF EXISTS backup CASCADE; CREATE SCHEMA backup; {copied}"))
        .expect("saved");
    assert!(projector.step(400).expect("a batch") > 0);
    let restored =
        each(&|name| format!("DELETE FROM restored.{name}; INSERT INTO restored.{name} SELECT * FROM backup.{name};"));
    client.batch_execute(&format!("BEGIN; {restored} COMMIT; DROP SCHEMA backup CASCADE")).expect("restored");
    // Who wrote meanwhile stands elsewhere.
    assert!(matches!(projector.step(u64::MAX), Err(ProjectionError::Moved { found, .. }) if found == older));
    drop(projector);
    assert_eq!(assert_is_a_fold(&source, "restored"), older);
    catch_up(&source);
    assert!(assert_is_a_fold(&source, "caught up") > older);
}

#[test]
fn an_event_whose_parts_are_parked_together_is_one_row_that_says_why() {
    let postgres = Postgres::get();
    let dir = tempfile::tempdir().expect("a directory");
    let mut groups = events_of(4);
    let meta = Meta { account_id: 1, ..Meta::default() };
    let (initial_cash, currency) = (i128::MAX, *b"USDT\0\0\0\0");
    groups.push(vec![
        // What does not fit parks the account; its kill switch changes the account and has a row of its own.
        Event::AccountDefined(AccountDefined { meta, initial_cash, currency, ..Default::default() }),
        Event::KillSwitchChanged(KillSwitchChanged { meta, engaged: 1, ..Default::default() }),
    ]);
    let journal_dir = dir.path().join("journal");
    write(&journal_dir, &groups);
    let source = postgres.source(&journal_dir, "parked");
    catch_up(&source);
    assert_is_a_fold(&source, "parked");
    let parked = parked(&mut Store::open_to_read(&source).expect("opens")).expect("told");
    let [one] = parked.as_slice() else { panic!("{parked:?}") };
    assert_eq!((one.aggregate, one.events), (Some(Aggregate::Account(1)), 2));
    assert!(one.error.starts_with("initial_cash = 170141183460469231731687303715884105727"), "{}", one.error);
}
