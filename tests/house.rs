//! The house rules, read off the sources: who may know whom, where `unsafe` may stand, what must not be called.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, with its text; build output left out.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the house") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a text");
                files.push((path.strip_prefix(root()).expect("below the root").to_owned(), text));
            }
        }
    }
    assert!(!files.is_empty(), "{folder} has sources");
    files
}

/// The code of a file: without comments and tests, and with every import on a line of its own.
fn code(text: &str) -> String {
    let indent = |line: &str| line.len().saturating_sub(line.trim_start().len());
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if line.trim_start().starts_with("#[cfg(test)]") {
            // What it is for ends at its own depth: as rustfmt writes it.
            let own = indent(line);
            lines.find(|line| indent(line) == own && (line.ends_with(';') || line.ends_with('}')));
            continue;
        }
        code.push_str(line);
        code.push('\n');
    }
    let imports: Vec<String> = code
        .split("use ")
        .skip(1)
        .filter_map(|rest| rest.split_once(';'))
        .flat_map(|(tree, _)| imports(tree.split_whitespace().collect::<Vec<_>>().join(" ").trim()))
        .collect();
    code + &imports.join("\n")
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn imports(tree: &str) -> Vec<String> {
    let Some((stem, rest)) = tree.split_once('{') else { return vec![tree.to_owned()] };
    let Some((inner, _)) = rest.rsplit_once('}') else { return vec![tree.to_owned()] };
    let mut depth = 0_i32;
    let branches = inner.split(|character| {
        depth += i32::from(character == '{') - i32::from(character == '}');
        depth == 0 && character == ','
    });
    branches
        .map(str::trim)
        .filter(|branch| !branch.is_empty())
        .flat_map(imports)
        .map(|branch| format!("{stem}{branch}"))
        .collect()
}

/// The tests that stand in a source file.
fn tests_of(text: &str) -> String {
    text.split_once("#[cfg(test)]\nmod tests {").map_or(String::new(), |(_, tests)| tests.to_owned())
}

/// True for a file that is a module of tests as a whole.
fn is_of_tests(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

/// Words that the code of a folder must not hold.
fn violations(files: &[(PathBuf, String)], banned: &[&str], allowed_in: &[&str]) -> Vec<String> {
    let is_allowed = |path: &Path| allowed_in.iter().any(|allowed| path.starts_with(allowed));
    files
        .iter()
        .filter(|(path, _)| !is_allowed(path) && !is_of_tests(path))
        .flat_map(|(path, text)| {
            let code = code(text);
            banned
                .iter()
                .filter(|word| code.contains(**word))
                .map(|word| format!("{}: {word}", path.display()))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn assert_none(violations: &[String], rule: &str) {
    assert!(violations.is_empty(), "{rule}:\n{}", violations.join("\n"));
}

#[test]
fn a_violation_is_found_in_code_and_not_in_comments_or_tests() {
    let file = |text: &str| vec![(PathBuf::from("src/x.rs"), text.to_owned())];
    assert_eq!(violations(&file("use std::net::TcpStream;"), &["std::net"], &[]), ["src/x.rs: std::net"]);
    assert!(
        violations(&file("// std::net\n#[cfg(test)]\nmod tests {\n    use std::net;\n}"), &["std::net"], &[])
            .is_empty()
    );
    let behind_tests = "#[cfg(test)]\nmod tests;\n\nfn f() {\n    #[cfg(test)]\n    g();\n    std::net::h();\n}";
    assert_eq!(violations(&file(behind_tests), &["std::net", "g()"], &[]), ["src/x.rs: std::net"]);
    let grouped = "use a::{\n    b::{self, C},\n    d,\n};\n";
    assert_eq!(violations(&file(grouped), &["a::b::C", "a::d", "a::C"], &[]), ["src/x.rs: a::b::C", "src/x.rs: a::d"]);
    assert!(violations(&file("use std::net;"), &["std::net"], &["src/x.rs"]).is_empty());
}

#[test]
fn the_protocol_knows_no_domain_no_socket_and_no_clock() {
    let banned = [
        "tradecore_domain",
        "tradecore_journal",
        "std::net",
        "mio::",
        "std::time",
        "SystemTime",
        "Instant::",
        "std::fs",
    ];
    assert_none(&violations(&sources("protocol/src"), &banned, &[]), "protocol/ must not know");
}

#[test]
fn the_journal_knows_no_payload() {
    let banned = ["tradecore_domain", "tradecore_protocol", "rkyv", "std::net"];
    assert_none(&violations(&sources("journal/src"), &banned, &[]), "journal/ must not know");
}

#[test]
fn the_domain_is_pure() {
    let banned = [
        "std::time",
        "SystemTime",
        "Instant::",
        "std::net",
        "std::fs",
        "std::thread",
        "std::sync",
        "HashMap",
        "HashSet",
        "f32",
        "f64",
        "rand::",
        "tradecore_journal",
        "mio::",
        "println!",
        "tradecore_protocol::messages",
        "tradecore_protocol::frame",
        "tradecore_protocol::session",
    ];
    assert_none(&violations(&sources("src/domain/src"), &banned, &[]), "src/domain/ must not know");
}

#[test]
fn rkyv_stands_in_one_file() {
    let allowed = ["src/domain/src/event.rs"];
    assert_none(&violations(&sources("src"), &["rkyv"], &allowed), "rkyv belongs to event.rs");
}

#[test]
fn only_the_gateway_and_those_who_build_it_know_every_room() {
    let rules: [(&str, &[&str]); 13] = [
        ("src/ingress", &["crate::egress", "crate::outbox", "crate::brokers", "tradecore_journal", "decide("]),
        ("src/outbox", &["crate::egress", "crate::session", "tradecore_journal", "decide("]),
        (
            "src/brokers",
            &["crate::egress", "crate::session", "crate::outbox", "tradecore_journal", "tradecore_domain::State"],
        ),
        ("src/egress", &["crate::outbox", "crate::brokers", "decide("]),
        ("src/session", &["crate::outbox", "crate::brokers", "tradecore_domain", "tradecore_journal"]),
        ("src/venue", &["crate::gateway", "crate::session", "crate::outbox", "tradecore_domain", "tradecore_journal"]),
        (
            "src/market_data",
            &["crate::gateway", "crate::session", "crate::venue", "tradecore_domain", "tradecore_journal"],
        ),
        ("src/demo", &["crate::gateway", "crate::session", "crate::outbox", "crate::egress"]),
        ("src/cli", &["crate::gateway", "crate::session", "crate::outbox", "crate::egress", "decide("]),
        (
            "src/projections",
            &[
                "crate::gateway",
                "crate::session",
                "crate::outbox",
                "crate::brokers",
                "crate::egress::replay",
                "decide(",
            ],
        ),
        ("src/shipping", &["crate::gateway", "crate::session", "crate::outbox", "crate::brokers", "decide("]),
        ("src/config", &["crate::gateway", "crate::outbox", "crate::egress", "crate::brokers"]),
        ("clients/rust/src", &["tradecore::", "tradecore_domain", "tradecore_journal"]),
    ];
    for (folder, banned) in rules {
        assert_none(&violations(&sources(folder), banned, &[]), &format!("{folder} must not know"));
    }
}

#[test]
fn unsafe_stands_in_named_files_only() {
    let allowed = [
        "bench/src/allocations.rs",
        "journal/src/checksum.rs",
        "journal/src/map.rs",
        "src/mapped.rs",
        "src/memory.rs",
        "src/ticks.rs",
        "tests/allocation.rs",
        "tests/house.rs",
    ];
    for folder in ["protocol/src", "journal/src", "src", "clients/rust/src", "bench/src", "tests"] {
        assert_none(&violations(&sources(folder), &["unsafe {", "unsafe fn", "unsafe impl"], &allowed), "unsafe");
    }
}

#[test]
fn the_time_is_asked_for_in_named_places_only() {
    let allowed = [
        "src/clock.rs",
        "src/daemon.rs",
        "src/ticks.rs",
        "src/demo",
        "src/cli",
        "src/venue",
        "src/brokers",
        "src/market_data",
        "src/projections/follow.rs",
        "src/projections/link.rs",
        "src/shipping/kafka",
        "src/domain",
    ];
    let banned = ["SystemTime::now", "Instant::now"];
    assert_none(&violations(&sources("src"), &banned, &allowed), "use clock.rs, read once a turn");
}

#[test]
fn the_time_stamp_counter_is_read_by_the_stages_and_by_nobody_who_decides() {
    let allowed = ["src/ticks.rs", "src/stages.rs"];
    assert_none(&violations(&sources("src"), &["_rdtsc", "ticks::now"], &allowed), "it is no clock");
    for folder in ["src/domain/src", "protocol/src", "journal/src"] {
        assert_none(&violations(&sources(folder), &["_rdtsc", "ticks::"], &[]), "time comes from outside");
    }
}

#[test]
fn the_loop_has_no_log_no_lock_and_no_sleep() {
    let banned = ["tracing::", "println!", "Mutex", "RwLock", "thread::sleep", ".unwrap()", "HashMap", "std::fs"];
    for folder in [
        "src/ingress",
        "src/outbox",
        "src/gateway",
        "src/gateway.rs",
        "src/session",
        "src/egress/gate.rs",
        "src/egress/report.rs",
        "src/egress/text.rs",
        "src/queries.rs",
        "src/notices.rs",
        "src/counters.rs",
        "src/histogram.rs",
        "src/stages.rs",
    ] {
        let files = if folder.ends_with(".rs") {
            vec![(PathBuf::from(folder), fs::read_to_string(root().join(folder)).expect("a text"))]
        } else {
            sources(folder)
        };
        // A listener takes its file away when it goes, which is after the loop.
        assert_none(&violations(&files, &banned, &["src/session/socket.rs"]), "the loop is sacred");
    }
}

#[test]
fn no_test_sleeps_or_is_ignored() {
    let own = Path::new("tests/house.rs");
    for folder in
        ["tests", "protocol/tests", "journal/tests", "src/domain/tests", "clients/rust/tests", "src", "journal/src"]
    {
        for (path, text) in sources(folder) {
            // Of sources, only what stands behind `cfg(test)` is a test.
            let is_source = (path.starts_with("src") || path.starts_with("journal/src")) && !is_of_tests(&path);
            let text = if is_source { tests_of(&text) } else { text };
            if path != own {
                assert!(!text.contains("thread::sleep"), "{}: wait for what you wait for", path.display());
                assert!(!text.contains("#[ignore"), "{}: a test that does not run is none", path.display());
            }
        }
    }
}

#[test]
fn every_document_has_one_title_and_names_files_that_exist() {
    for name in ["README.md", "ARCHITECTURE.md", "protocol/PROTOCOL.md", "journal/FORMAT.md"] {
        let text = fs::read_to_string(root().join(name)).expect(name);
        let mut in_code = false;
        let titles = text
            .lines()
            .filter(|line| {
                in_code ^= line.starts_with("```");
                !in_code && line.starts_with("# ")
            })
            .count();
        assert_eq!(titles, 1, "{name} has one title");
    }
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the map");
    let rows: Vec<&str> = map.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 10, "the map has rooms");
    for row in rows {
        let names = row.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs") || name.ends_with('/'));
        let mut room = root().to_owned();
        for (nth, name) in names.enumerate() {
            // The first name is the room; those behind it lie in it, beside it, or at the root.
            let places =
                [root().join(name), room.join(name), room.join("src").join(name), root().join("src").join(name)];
            assert!(places.iter().any(|path| path.exists()), "ARCHITECTURE.md names {name}");
            if nth == 0 {
                room = root().join(name);
            }
        }
    }
}

#[test]
fn every_dependency_has_its_line_of_reason() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the map");
    let table = map.split("## Dependencies").nth(1).expect("a section on dependencies");
    let named: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|names| names.split(", "))
        .collect();
    let mut missing = Vec::new();
    for manifest in [
        "Cargo.toml",
        "protocol/Cargo.toml",
        "journal/Cargo.toml",
        "src/domain/Cargo.toml",
        "bench/Cargo.toml",
        "clients/rust/Cargo.toml",
    ] {
        let text = fs::read_to_string(root().join(manifest)).expect(manifest);
        let mut is_dependency = false;
        for line in text.lines() {
            if line.starts_with('[') {
                is_dependency = matches!(line, "[dependencies]" | "[dev-dependencies]");
            } else if is_dependency && line.contains('=') {
                let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
                if !name.starts_with("tradecore") && !named.contains(&name) {
                    missing.push(format!("{manifest}: {name}"));
                }
            }
        }
    }
    assert_none(&missing, "ARCHITECTURE.md says why each dependency is there");
}

#[test]
fn what_the_gateway_is_measured_against_is_linked_into_nothing() {
    let text = |path: &str| fs::read_to_string(root().join(path)).expect(path);
    let is_in = |lock: &str, name: &str| lock.lines().any(|line| line == format!("name = \"{name}\""));
    assert!(is_in(&text("bench/peers/redb/Cargo.lock"), "redb"), "it has a lock file of its own");
    let ours = text("Cargo.lock");
    for name in ["redb", "redis", "quickfix"] {
        assert!(!is_in(&ours, name), "{name} is fetched by bench/peers/fetch, and a program of its own");
    }
}

#[test]
fn no_file_is_longer_than_an_afternoon_allows() {
    // Straight lists, which read top to bottom: the wire's declarations, events, cases of tests.
    let lists = [
        "src/domain/src/event.rs",
        "src/projections/tables.rs",
        "journal/src/crash_tests.rs",
        "protocol/tests",
        "src/domain/tests",
        "tests",
        "clients/rust/tests",
    ];
    let mut long = Vec::new();
    for folder in ["src", "protocol/src", "journal/src", "bench/src", "clients/rust/src"] {
        for (path, text) in sources(folder) {
            let lines = text.lines().count();
            if lines > 500 && !lists.iter().any(|list| path.starts_with(list)) {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert_none(&long, "a file of more than 500 lines asks for a reason");
}
