use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_text_that_is_no_toml_names_the_line() {
    check_refused(
        &with("[broker]", "[broker"),
        Code::Syntax,
        "gateway.toml:6: unclosed table, expected `]`; allowed: TOML 1.1",
    );
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let error = Config::load(Path::new("/nowhere/gateway.toml"), std::iter::empty()).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "/nowhere/gateway.toml: No such file or directory (os error 2); allowed: a file of at most 4194304 bytes, UTF-8"
    );
}

/// The configuration in a directory of its own, with the key's file as given.
fn key_refusal(key: Option<(&[u8], u32)>) -> (String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("gateway.toml");
    fs::write(&file, TEXT).expect("written");
    if let Some((bytes, mode)) = key {
        fs::write(dir.path().join("key"), bytes).expect("written");
        fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(mode)).expect("set");
    }
    let config = Config::load(&file, std::iter::empty()).expect("accepted");
    let error = config.secret_among(&config.sessions[0], None).expect_err("refused");
    assert_eq!(error.code, Code::Secret);
    (error.to_string(), dir.path().display().to_string())
}

const KEY_ALLOWED: &str = "allowed: a file that only its owner can read, with a key of at least 16 bytes in it; make one \
     with: umask 077; head -c 32 /dev/urandom | base64 > FILE";

#[test]
fn a_key_that_is_not_there_is_refused() {
    let (message, dir) = key_refusal(None);
    let problem = format!("{dir}/key: No such file or directory (os error 2)");
    let at = format!("{dir}/gateway.toml:38: sessions[0].secret_file = \"key\"");
    assert_eq!(message, format!("{at}: {problem}; {KEY_ALLOWED}"));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let (message, dir) = key_refusal(Some((b"0123456789abcdef", 0o640)));
    let problem = format!("{dir}/key: others can read this key; run chmod 600 on it");
    let at = format!("{dir}/gateway.toml:38: sessions[0].secret_file = \"key\"");
    assert_eq!(message, format!("{at}: {problem}; {KEY_ALLOWED}"));
}

#[test]
fn a_key_that_is_too_short_is_refused() {
    let (message, dir) = key_refusal(Some((b"0123456789abcde\n", 0o600)));
    let problem = format!("{dir}/key: a key has at least 16 bytes, this has 15");
    let at = format!("{dir}/gateway.toml:38: sessions[0].secret_file = \"key\"");
    assert_eq!(message, format!("{at}: {problem}; {KEY_ALLOWED}"));
}

/// No text may make the reader panic: each line of the sample replaced by things that are wrong.
#[test]
fn no_line_of_the_file_can_make_a_start_panic() {
    let sample = sample();
    let lines: Vec<&str> = sample.lines().collect();
    let wrong = [
        "",
        "[",
        "[[core]]",
        "x = ",
        "= 1",
        "\u{feff}",
        "id = 99999999999999999999",
        "id = [[1]]",
        "a.b.c = 1",
        "é = \"\u{1F980}\"",
        "tick_size = inf",
        "[core.id]",
        "core.x = 1",
        "'a[0].b' = 1",
    ];
    let mut refused = 0;
    for index in 0..lines.len() {
        for line in wrong {
            let mut lines = lines.clone();
            lines[index] = line;
            match parse(&lines.join("\n")) {
                Ok(config) => assert!(!config.show().is_empty()),
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().starts_with("gateway.toml"), "{error}");
                }
            }
        }
    }
    assert!(refused > lines.len(), "{refused} refused");
}

#[test]
fn a_capture_that_is_not_there_is_named_by_the_check_of_the_host() {
    let there = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let with =
        |paths: &str| parse(&format!("{TEXT}[venue.capture]\npaths = [{paths}]\n")).expect("accepted").check_host();
    assert_eq!(with(&format!("{there:?}")), Ok(()));
    let error = with(&format!("{there:?}, \"missing.gz\"")).expect_err("missing").to_string();
    assert!(
        error.contains("venue.capture.paths[1] = \"missing.gz\": ") && error.contains("missing.gz: No such"),
        "{error}"
    );
    // Its venue is another process.
    let elsewhere = format!("{TEXT}[venue.capture]\npaths = [\"missing.gz\"]\n")
        .replace("kind = \"paper\"", "kind = \"venue\"\naddress = \"127.0.0.1:9\"");
    assert_eq!(parse(&elsewhere).expect("accepted").check_host(), Ok(()));
}
