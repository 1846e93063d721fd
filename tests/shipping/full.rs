//! A full disk under the files. Needs root, to mount one.

use std::path::Path;
use std::process::Command;

use super::export::journal_of_a_history;
use super::files::{
    Writer, assert_parquet_of_all_that_ended, files_in, lines_of_the_journal, text_of, wait_for_parquet,
    wait_until_it_is,
};
use super::host::wait_for;

/// A small disk.
struct Disk<'a>(&'a Path);

impl Disk<'_> {
    fn mount(&self, options: &str) {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.0).status();
        assert!(status.expect("mount is there").success(), "this test mounts a tmpfs: run it as root");
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(self.0).status());
    }
}

fn bytes_in(dir: &Path) -> u64 {
    files_in(dir).iter().filter_map(|path| Some(path.metadata().ok()?.len())).sum()
}

#[test]
fn on_a_full_disk_the_files_stay_whole_and_are_gone_on_with_when_there_is_room() {
    let place = tempfile::tempdir().expect("a directory");
    let (journal, dir) = (place.path().join("journal"), place.path().join("disk"));
    journal_of_a_history(&journal, 3, 1_700_000_000_000_000_000, 1_000);
    let lines = lines_of_the_journal(&journal);
    let wanted = lines.join("\n") + "\n";
    assert!(wanted.len() > 1_000_000, "{} bytes", wanted.len());
    std::fs::create_dir(&dir).expect("made");
    let disk = Disk(&dir);
    disk.mount("size=700k");
    let writer = Writer::start(&journal, &dir, 200_000);
    // There is no room for much more, and by far not for all.
    wait_for("the disk to be nearly full", || (bytes_in(&dir) > 500_000).then_some(()));
    disk.mount("remount,size=16m");
    wait_until_it_is(&dir, &wanted);
    drop(writer);
}

#[test]
fn where_there_is_no_room_for_parquet_the_lines_are_there_and_it_is_made_once_there_is() {
    let place = tempfile::tempdir().expect("a directory");
    let (journal, dir) = (place.path().join("journal"), place.path().join("disk"));
    journal_of_a_history(&journal, 3, 1_700_000_000_000_000_000, 1_000);
    let wanted = lines_of_the_journal(&journal).join("\n") + "\n";
    std::fs::create_dir(&dir).expect("made");
    let disk = Disk(&dir);
    // What the lines take, a page for the end of each file, and little more.
    let (file_bytes, page_bytes) = (100_000, 4_096);
    let pages = wanted.len().div_ceil(page_bytes) + 2 * wanted.len().div_ceil(file_bytes);
    disk.mount(&format!("size={}", pages * page_bytes));
    let writer = || Writer::with_parquet(&journal, &dir, file_bytes as u64);
    let first = writer();
    wait_until_it_is(&dir, &wanted);
    drop(first);
    assert!(text_of(&dir) == wanted, "nothing was cut for it");
    disk.mount("remount,size=64m");
    let second = writer();
    wait_for_parquet(&dir, files_in(&dir).len() - 1);
    drop(second);
    assert_parquet_of_all_that_ended(&journal, &dir);
}

#[test]
fn a_stop_does_not_wait_for_room() {
    let place = tempfile::tempdir().expect("a directory");
    let (journal, dir) = (place.path().join("journal"), place.path().join("disk"));
    journal_of_a_history(&journal, 3, 1_700_000_000_000_000_000, 1_000);
    std::fs::create_dir(&dir).expect("made");
    let disk = Disk(&dir);
    disk.mount("size=500k");
    let writer = Writer::start(&journal, &dir, u64::MAX);
    wait_for("the disk to be nearly full", || (bytes_in(&dir) > 250_000).then_some(()));
    drop(writer);
    let text = text_of(&dir);
    let whole = &text[..text.rfind('\n').expect("a line") + 1];
    assert!(lines_of_the_journal(&journal).join("\n").starts_with(whole.trim_end()), "what is there is right");
}
