//! What a running gateway has measured and counted, seen from outside.

use std::process::Output;

use super::*;

const STAGES: [&str; 11] =
    ["poll", "read", "rules", "decide", "append", "apply", "report", "others", "release", "write", "total"];

fn ask(dir: &Path, words: &[&str]) -> Output {
    Command::new(BINARY).args(words).args(["--config", "gateway.toml"]).current_dir(dir).output().expect("ran")
}

fn asked(gateway: &Gateway, words: &[&str]) -> Value {
    let run = Run::of(ask(gateway.dir.path(), words));
    assert_eq!((run.code, run.lines.len()), (0, 1), "{words:?}: {run:?}");
    run.last().clone()
}

fn refused(dir: &Path, code: i32, said: &str) {
    for words in [["stages", "--json"], ["counters", "--json"]] {
        let run = Run::of(ask(dir, &words));
        run.failed(code, run.text("reason"), said);
    }
}

/// What may be beyond 2⁵³ is text.
fn count(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

/// The file of the gateway in `dir`.
fn file_of(dir: &Path) -> std::path::PathBuf {
    let own = std::fs::read_dir(dir.join("hot")).expect("there").next().expect("a directory").expect("an entry");
    own.path().join("counters")
}

#[test]
fn the_stages_of_an_order_and_the_counters_are_seen_while_the_gateway_runs_and_not_after() {
    let mut gateway = start();
    gateway.rest();
    let stages = asked(&gateway, &["stages", "--json"]);
    let rows = stages["stages"].as_array().expect("a list");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["stage"].as_str()).collect();
    assert_eq!(names, STAGES);
    let number = |row: &Value, name: &str| count(&row[name]).unwrap_or_else(|| panic!("{name}: {stages}"));
    let total = rows.last().expect("a total");
    assert!(number(total, "count") >= 1, "{stages}");
    // The gateway parks, so a poll may wait and is no stage; all others were passed.
    for row in &rows[1..] {
        assert_eq!(number(row, "count"), number(total, "count"), "{stages}");
        assert!(number(row, "p50_ns") <= number(row, "p99_ns") && number(row, "p99_ns") <= number(row, "max_ns"));
    }
    let write = &rows[9];
    // A system call takes between 100 ns and a stall of the machine: the ticks were turned into time.
    assert!((100..10_000_000_000).contains(&number(write, "max_ns")), "{stages}");
    let shares: u64 = rows[..10].iter().filter_map(|row| row["share_ppm"].as_u64()).sum();
    assert!((990_000..=1_000_000).contains(&shares), "{stages}");
    assert_eq!(stages["process"], gateway.child.id());

    let table = String::from_utf8(ask(gateway.dir.path(), &["stages"]).stdout).expect("text");
    let first_words: Vec<&str> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(first_words[1..], STAGES, "{table}");

    let counters = asked(&gateway, &["counters", "--json"]);
    assert_eq!((count(&counters["open_orders"]), counters["connections"].is_string()), (Some(1), true), "{counters}");
    let again = asked(&gateway, &["counters", "--json"]);
    assert!(count(&again["turns"]) > count(&counters["turns"]), "the loop goes on: {again}");

    let dir = gateway.dir.path().to_owned();
    gateway.child.kill().expect("sent");
    gateway.child.wait().expect("ended");
    refused(&dir, 69, "was left by one that was killed");
    std::fs::remove_file(file_of(&dir)).expect("removed");
    refused(&dir, 69, "is not there");
}

#[test]
fn figures_of_another_release_are_refused_and_a_clean_stop_takes_them_away() {
    use std::os::unix::fs::FileExt as _;
    let mut gateway = start();
    let path = file_of(gateway.dir.path());
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("there");
    file.write_at(&[99], 8).expect("written");
    refused(gateway.dir.path(), 91, "version 99");
    kill_process(Pid::from_child(&gateway.child), Signal::TERM).expect("sent");
    assert!(gateway.child.wait().expect("ended").success());
    assert!(!path.exists() && !path.parent().expect("a directory").exists(), "nothing is left in memory");
    refused(gateway.dir.path(), 69, "has no hot segments");
}

#[test]
fn stages_are_followed_until_the_gateway_ends() {
    let gateway = start();
    let mut follow = Command::new(BINARY)
        .args(["stages", "--follow", "--json", "--config", "gateway.toml"])
        .current_dir(gateway.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    let started = Instant::now();
    let mut line = || -> Value {
        // One comes every second, whatever happens.
        assert!(started.elapsed() < DEADLINE, "waited in vain");
        serde_json::from_str(&lines.next().expect("it goes on").expect("readable")).expect("JSON")
    };
    // Each tells of what came since the one before: the first says that it has begun.
    line();
    gateway.rest();
    while count(&line()["stages"][10]["count"]).expect("a number") == 0 {}
    drop(gateway);
    let last = loop {
        let line = line();
        if line["type"] == "Failure" {
            break line;
        }
    };
    assert_eq!(
        (last["reason"].as_str(), follow.wait().expect("ended").code()),
        (Some("Unavailable"), Some(69)),
        "{last}"
    );
}

#[test]
fn a_gateway_that_measures_no_stages_counts_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    write_key(&dir.path().join("key"), "a key for these tests");
    let config = CONFIG.replace("idle = \"park\"", "idle = \"park\"\nstages = false");
    let gateway = Gateway { child: run(dir.path(), &config, &[]), dir };
    gateway.rest();
    assert_eq!(asked(&gateway, &["stages", "--json"])["stages"][10]["count"], "0");
    assert_eq!(asked(&gateway, &["counters", "--json"])["open_orders"], "1");
}
