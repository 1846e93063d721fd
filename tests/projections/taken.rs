//! The read model taken away from below its writer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tradecore::projections::{Source, follow, verify};

use crate::support::{source_of, write_history};

/// The thread of a gateway, until it is dropped.
struct Follower(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Follower {
    fn start(source: &Source) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (asked, source) = (Arc::clone(&stop), source.clone());
        Self(stop, Some(std::thread::spawn(move || follow(&source, &asked))))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        let thread = self.1.take().expect("a thread");
        thread.thread().unpark();
        thread.join().expect("it does not panic");
    }
}

fn seq_of(path: &Path) -> Option<i64> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags).ok()?;
    connection.query_row("SELECT seq FROM projection_positions", [], |row| row.get(0)).ok()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn beside(path: &Path, ending: &str) -> std::path::PathBuf {
    format!("{}{ending}", path.display()).into()
}

#[test]
fn a_read_model_that_is_removed_or_replaced_while_it_is_written_is_made_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal_dir, _) = write_history(dir.path(), 3);
    let last_seq = tradecore_journal::stat(&journal_dir).expect("undamaged").last_seq as i64;
    type TakeAway = fn(&Path);
    let take_away: [(&str, TakeAway); 4] = [
        ("removed", |path| std::fs::remove_file(path).expect("removed")),
        ("removed with all beside it", |path| {
            for ending in ["", "-wal", "-shm"] {
                std::fs::remove_file(beside(path, ending)).expect("removed");
            }
        }),
        ("the newest rows removed", |path| std::fs::remove_file(beside(path, "-wal")).expect("removed")),
        ("replaced", |path| {
            let other = beside(path, ".other");
            Connection::open(&other).expect("opens").execute_batch("CREATE TABLE theirs (n)").expect("made");
            std::fs::rename(&other, path).expect("moved");
            // Of an earlier time, and of theirs.
            std::fs::write(beside(path, ".replaced"), "older").expect("written");
            std::fs::write(beside(path, "-journal"), "their log").expect("written");
        }),
    ];
    for (how, take_away) in take_away {
        let source = source_of(&journal_dir, &dir.path().join(format!("{how}.sqlite")));
        let follower = Follower::start(&source);
        wait_until("it follows", || seq_of(&source.path) == Some(last_seq));
        let old = Connection::open(&source.path).expect("opens");
        let first: i64 = old.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).expect("a number");
        assert!(first > 0);
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).expect("there"));
        let before = inode(&source.path);
        take_away(&source.path);
        let is_new = || std::fs::metadata(&source.path).is_ok() && inode(&source.path) != before;
        // A log that is left beside another file is read as if it were that file's.
        let theirs = beside(&source.path, if how == "replaced" { ".replaced.1" } else { ".replaced" });
        let is_aside = || how.starts_with("removed") || theirs.exists();
        wait_until(how, || is_aside() && is_new() && seq_of(&source.path) == Some(last_seq));
        drop(old);
        assert_eq!(theirs.exists(), !how.starts_with("removed"), "{how}");
        if how == "replaced" {
            let count = Connection::open(&theirs)
                .expect("opens")
                .query_row("SELECT count(*) FROM theirs", [], |row| row.get(0));
            assert_eq!(count, Ok(0), "what is somebody's stays");
            for (ending, content) in [(".replaced", "older"), ("-journal.replaced", "their log")] {
                let kept = std::fs::read_to_string(beside(&source.path, ending)).expect(ending);
                assert_eq!(kept, content, "{ending}");
            }
        }
        drop(follower);
        let (seq, compared) = verify(&source, &mut |_, _| true).expect("compared");
        assert_eq!(seq as i64, last_seq);
        assert!(compared.iter().all(|table| table.there == table.folded), "{how}: {compared:?}");
    }
}
