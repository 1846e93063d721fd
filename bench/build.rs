//! Tells the binary what it was built with, and from which sources: asked when it runs, git would tell of those that are
//! there then.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=RUSTC");
    for path in ["build.rs", "../.git/logs/HEAD", "../Cargo.lock", "../src", "../journal", "../protocol", "src"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let commit = said(Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]));
    let committed_s = said(Command::new("git").args(["show", "--no-patch", "--format=%ct", "HEAD"]));
    println!("cargo::rustc-env=BENCH_RUSTC={}", said(Command::new(rustc).arg("--version")).unwrap_or_default());
    println!("cargo::rustc-env=BENCH_COMMIT={}", commit.unwrap_or_else(|| "unknown".to_owned()));
    println!("cargo::rustc-env=BENCH_COMMITTED_UTC_S={}", committed_s.unwrap_or_default());
}

/// What a command prints, where there is such a command, and it can.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
