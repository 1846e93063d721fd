//! Journals that this release must not touch: a start and every look at one say the same of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BINARY, config, exit_of, write_config};

/// A gateway's directory whose journal holds one event, of this type.
fn place(kind: u16) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    write_config(place.path(), &config(""));
    let dir = place.path().join("data/journal");
    let environment = tradecore_protocol::fields::Environment::Virtual.raw();
    let config = tradecore_journal::Config { environment, ..tradecore_journal::Config::new(dir) };
    let opened = tradecore_journal::open(&config).expect("opens");
    let (mut writer, _, _, closer) = opened.into_parts();
    writer.begin(1);
    writer.append(kind, 1, 128, |out| out.fill(1));
    writer.commit();
    closer.seal(writer);
    place
}

/// Every file of the journal but the lock, which names who looked last.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(dir.join("data/journal")).expect("listed").map(|entry| entry.expect("one").path());
    let files = paths.filter(|path| path.is_file() && !path.ends_with("LOCK"));
    files.map(|path| (path.clone(), std::fs::read(path).expect("readable"))).collect()
}

/// Exit code, stdout and stderr.
fn look(dir: &Path, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(BINARY);
    let output = command.arg("journal").args(words).arg("--dir").arg(dir.join("data/journal")).output().expect("ran");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("by itself"), text(output.stdout), text(output.stderr))
}

fn check_refused(dir: &Path, code: i32, words: &str, looks: &[&[&str]]) {
    let before = content(dir);
    let (start, message) = exit_of(dir);
    assert_eq!(start, code, "{message}");
    assert!(message.contains(words), "{message}");
    for look_words in looks {
        let (look, _, message) = look(dir, look_words);
        assert_eq!(look, code, "{look_words:?}: {message}");
        assert!(message.contains(words), "{look_words:?}: {message}");
    }
    assert_eq!(content(dir), before, "nothing was touched");
}

#[test]
fn an_event_of_a_newer_release_is_refused_and_dumped_as_what_it_is() {
    let place = place(9_999);
    let words = "event 1: event type 9999 version 1 is newer than this release; start a newer one";
    let (code, out, message) = look(place.path(), &["dump", "--json"]);
    assert_eq!(code, 82, "{message}");
    assert!(message.contains(words), "{message}");
    let line: serde_json::Value = serde_json::from_str(out.lines().next().expect("a line")).expect("an object");
    assert_eq!((&line["seq"], &line["kind"], &line["version"]), (&"1".into(), &9_999.into(), &1.into()), "{line}");
    check_refused(place.path(), 82, "event 1 of type 9999 version 1 is newer than this release", &[]);
}

#[test]
fn a_newer_format_is_refused_as_that() {
    use std::os::unix::fs::FileExt;
    let place = place(64);
    let file = std::fs::File::options().read(true).write(true).open(place.path().join("data/journal/0000000001.jnl"));
    let file = file.expect("opens");
    let mut header = [0; 60];
    file.read_exact_at(&mut header, 0).expect("read");
    header[8..10].copy_from_slice(&2_u16.to_le_bytes());
    let sum = crc32c(&header[..56]);
    header[56..].copy_from_slice(&sum.to_le_bytes());
    file.write_all_at(&header, 0).expect("written");
    let looks: [&[&str]; 4] = [&["verify"], &["stat"], &["dump"], &["tail"]];
    check_refused(place.path(), 82, "format 2 is newer than this release reads; start a newer one", &looks);
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| (sum >> 1) ^ (0x82F6_3B78 & (sum & 1).wrapping_neg());
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

#[test]
fn a_truncated_journal_is_refused_as_that() {
    let place = place(64);
    let path = place.path().join("data/journal/0000000001.jnl");
    std::fs::File::options().write(true).open(path).expect("opens").set_len(100_000).expect("set");
    let looks: [&[&str]; 3] = [&["verify"], &["stat"], &["dump"]];
    check_refused(place.path(), 87, "the file has 100000 bytes, and was made with 4194304", &looks);
}
