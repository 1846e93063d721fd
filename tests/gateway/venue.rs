//! How a venue ends that cannot start or go on: by itself, and inside a gateway, with the same exit code.

use std::path::Path;
use std::process::{Command, Stdio};

use tradecore::venue::log::log_path;

use super::{BINARY, config, end_of, exit_of, write_config};

const QUOTE: &str = r#"1723161254087891268 {"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"61837.63","B":"3.7","a":"61837.64","A":"1.5"}}"#;

/// A gateway's directory; the configuration plays `capture.txt`, where it is there, and the venue listens on
/// `listen`.
fn place(capture: &str, listen: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a directory");
    let mut text = config("").replace("listen = []", &format!("listen = [{listen}]"));
    if !capture.is_empty() {
        std::fs::write(place.path().join("capture.txt"), capture).expect("written");
        let path = place.path().join("capture.txt");
        text = text.replace("[venue.exchange]", &format!("[venue.capture]\npaths = [{path:?}]\n[venue.exchange]"));
    }
    write_config(place.path(), &text);
    std::fs::create_dir(place.path().join("venue")).expect("made");
    place
}

fn exit_of_venue(dir: &Path) -> (i32, String) {
    let mut command = Command::new(BINARY);
    command.args(["venue", "--config"]).arg(dir.join("gateway.toml"));
    end_of(command.stderr(Stdio::piped()).spawn().expect("started"))
}

fn check(dir: &Path, code: i32, words: &str) {
    for (end, said) in [exit_of_venue(dir), exit_of(dir)] {
        assert_eq!(end, code, "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_venue_whose_log_is_damaged_or_in_use_ends_itself_and_a_gateway_with_80_and_81() {
    let damaged = place("", "\"127.0.0.1:0\"");
    std::fs::write(log_path(&damaged.path().join("venue")), "no group\n").expect("written");
    check(damaged.path(), 80, "line 1 is damaged");
    let locked = place("", "\"127.0.0.1:0\"");
    let lock = std::fs::File::create(locked.path().join("venue/venue.lock")).expect("made");
    lock.lock().expect("locked");
    check(locked.path(), 81, "another venue runs here");
}

#[test]
fn an_address_that_is_taken_ends_both_with_69_and_a_capture_that_is_not_there_a_venue_with_74_and_a_gateway_with_78() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = taken.local_addr().expect("named");
    check(place("", &format!("\"{address}\"")).path(), 69, "cannot listen on");
    let gone = place(QUOTE, "\"127.0.0.1:0\"");
    std::fs::remove_file(gone.path().join("capture.txt")).expect("removed");
    let ends = [(exit_of_venue(gone.path()), 74), (exit_of(gone.path()), 78)];
    for ((end, said), code) in ends {
        assert!(end == code && said.contains("capture.txt"), "{end}, not {code}: {said}");
    }
}

#[test]
fn a_venue_that_cannot_go_on_ends_a_gateway_that_is_at_work_with_its_own_exit_code() {
    // A start reads two lines.
    let broken = place(&format!("{QUOTE}\n{QUOTE}\nno tick\n"), "\"127.0.0.1:0\"");
    check(broken.path(), 78, "capture.txt line 3");
    assert!(exit_of(broken.path()).1.contains("the venue cannot go on"));
}

#[test]
fn a_venue_that_nobody_could_connect_to_is_refused_before_it_takes_its_log() {
    let silent = place("", "");
    let (end, said) = exit_of_venue(silent.path());
    assert_eq!(end, 78, "{said}");
    assert!(said.contains("venue.listen is empty: nobody can connect; allowed:"), "{said}");
    assert!(!silent.path().join("venue/venue.lock").exists());
}
