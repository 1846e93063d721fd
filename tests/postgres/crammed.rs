//! A disk below the tables that fills: a small tmpfs as the tablespace of the server's user. Needs root, to mount it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use tradecore::projections::Projector;
use tradecore::projections::server::Trouble;
use tradecore::projections::store::{Care, Store};

use super::refusals::trouble_of;
use super::server::Postgres;
use super::support::{events_of, write};
use super::{Follower, LONG, assert_is_a_fold, wait_for};

/// A small disk that belongs to the server, and takes new tables of its user.
struct Disk<'a> {
    postgres: &'a Postgres,
    path: PathBuf,
}

impl Disk<'_> {
    fn mount(&self, options: &str) {
        let words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs"];
        assert!(as_root(&words, &self.path), "this test mounts a tmpfs: run it as root, or as one who may use sudo");
    }

    fn take_tables(&self) {
        let mut client = self.postgres.client();
        let made = format!("CREATE TABLESPACE small LOCATION '{}'", self.path.display());
        client.batch_execute(&made).expect("made");
        let user = &self.postgres.user;
        client.batch_execute(&format!("ALTER ROLE {user} SET default_tablespace = small")).expect("set");
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let mut client = self.postgres.client();
        let reset = format!("ALTER ROLE {} RESET default_tablespace", self.postgres.user);
        // One by one: each is a transaction.
        for sql in [reset.as_str(), "DROP SCHEMA IF EXISTS crammed CASCADE", "DROP TABLESPACE IF EXISTS small"] {
            drop(client.batch_execute(sql));
        }
        as_root(&["umount", "--lazy"], &self.path);
    }
}

fn as_root(words: &[&str], path: &Path) -> bool {
    let sudo = (!rustix::process::geteuid().is_root()).then_some("sudo");
    let mut words = sudo.iter().chain(words);
    let status = Command::new(words.next().expect("a program")).args(words).arg(path).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_of_the_server_is_named_and_the_tables_go_on_once_there_is_room() {
    let Ok(server_dir) = std::env::var("TRADECORE_TEST_POSTGRES_DIR") else {
        println!("skipped: the server has no directory of this host");
        return;
    };
    let postgres = Postgres::get();
    let owner = std::fs::metadata(Path::new(&server_dir).join("data")).expect("its data").uid();
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("set");
    let disk = Disk { postgres: &postgres, path: dir.path().join("disk") };
    std::fs::create_dir(&disk.path).expect("made");
    disk.mount(&format!("size=8m,mode=700,uid={owner}"));
    disk.take_tables();
    let journal_dir = dir.path().join("journal");
    let groups = events_of(LONG);
    write(&journal_dir, &groups.iter().cycle().take(groups.len() * 8).cloned().collect::<Vec<_>>());
    let last_seq = tradecore_journal::stat(&journal_dir).expect("undamaged").last_seq;
    let source = postgres.source(&journal_dir, "crammed");
    let mut projector = Projector::open(&source, Care::Live).expect("opens").expect("goes on");
    let (before, error) = loop {
        let before = projector.position().clone();
        match projector.step(before.seq + 500) {
            Ok(count) => assert!(count > 0, "all {last_seq} events have room"),
            Err(error) => break (before, error),
        }
    };
    assert!(trouble_of(&error) == Trouble::NoRoom && error.may_pass(), "{error}");
    assert!(error.to_string().contains("no-room") && error.to_string().contains("make room"), "{error}");
    drop(projector);
    assert!(before.seq > 500, "{before:?}");
    assert_eq!(Store::open_to_read(&source).expect("opens").position().expect("read"), before, "as it was");
    // As the gateway does, which tries again.
    let follower = Follower::start(&source);
    disk.mount("remount,size=512m");
    wait_for(&source, last_seq, "there is room again");
    drop(follower);
    assert_eq!(assert_is_a_fold(&source, "with room"), last_seq);
}
