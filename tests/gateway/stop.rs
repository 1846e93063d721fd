//! How a gateway and a venue stop: by one signal, by two, during a start, and while something hangs.

use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tradecore_client::protocol::fields::{Px, Qty, Side};
use tradecore_client::protocol::reason::Reason;
use tradecore_client::{Client, Event, NewOrder};

use super::{BINARY, Gateway, SECRET, address, config, options, spawn, start, write_config};

const DEADLINE: Duration = Duration::from_secs(30);

fn terminate(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).expect("sent");
}

fn ended(child: &mut Child) -> ExitStatus {
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("asked") {
            return status;
        }
        assert!(since.elapsed() < DEADLINE, "it does not stop");
        std::thread::yield_now();
    }
}

/// The text and the exit code of a look at the journal of a gateway.
fn look(dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new(BINARY);
    let output = command.arg("journal").args(words).arg("--dir").arg(dir.join("data/journal")).output().expect("ran");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn is_sealed(dir: &Path) -> bool {
    let report: serde_json::Value = serde_json::from_str(&look(dir, &["verify", "--json"])).expect("an object");
    report["sealed"].as_bool().expect("a word")
}

/// An order that is rejected by a decision, once there is a broker.
fn send(client: &mut Client) {
    client.new_order(&NewOrder::limit(1, 1, Side::Buy, Qty(0), Px(1))).expect("sent");
}

/// Reason of the next report; `None`: the connection has ended.
fn next_reason(client: &mut Client) -> Option<Reason> {
    loop {
        match client.poll(DEADLINE).expect("answered") {
            Some(Event::Reject(reject)) => return Reason::from_raw(reject.reason.get()),
            Some(Event::Disconnected { reason }) => {
                assert_eq!(reason, Reason::Shutdown);
                return None;
            }
            Some(_) => {}
            None => panic!("nothing was heard"),
        }
    }
}

#[test]
fn sigterm_sends_reports_and_goodbye_then_seals_the_journal() {
    let mut gateway = start();
    let mut client = Client::connect(options(&gateway, SECRET)).expect("logs on");
    loop {
        send(&mut client);
        if next_reason(&mut client) == Some(Reason::QtyNotPositive) {
            break;
        }
    }
    assert!(!is_sealed(gateway.dir.path()), "it is at work");
    (0..50).for_each(|_| send(&mut client));
    terminate(&gateway.child);
    let mut reports = 1;
    while let Some(reason) = next_reason(&mut client) {
        assert_eq!(reason, Reason::QtyNotPositive);
        reports += 1;
    }
    let status = ended(&mut gateway.child);
    assert!(status.success(), "{status}");
    assert!(is_sealed(gateway.dir.path()));
    let events = look(gateway.dir.path(), &["dump"]);
    let decided = events.lines().filter(|line| line.contains(" OrderRejected ")).count();
    assert_eq!(reports, decided, "{events}");
    gateway.child = spawn(gateway.dir.path());
    Client::connect(options(&gateway, SECRET)).expect("logs on again");
}

#[test]
fn a_gateway_whose_log_nobody_reads_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    write_config(dir.path(), &config(""));
    let (reader, writer) = std::io::pipe().expect("made");
    drop(reader);
    let child = Command::new(BINARY)
        .args(["run", "--config"])
        .arg(dir.path().join("gateway.toml"))
        .stdin(Stdio::null())
        .stderr(writer)
        .spawn()
        .expect("started");
    let mut gateway = Gateway { child, dir };
    let mut client = Client::connect(options(&gateway, SECRET)).expect("logs on");
    send(&mut client);
    assert!(next_reason(&mut client).is_some());
    terminate(&gateway.child);
    let status = ended(&mut gateway.child);
    assert!(status.success(), "{status}");
    assert!(is_sealed(gateway.dir.path()));
}

#[test]
fn a_gateway_whose_log_is_held_by_a_reader_that_does_not_read_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    write_config(dir.path(), &config(""));
    let (mut reader, writer) = std::io::pipe().expect("made");
    let child = Command::new(BINARY)
        .args(["run", "--config"])
        .arg(dir.path().join("gateway.toml"))
        .stdin(Stdio::null())
        .stderr(writer.try_clone().expect("cloned"))
        .spawn()
        .expect("started");
    let mut gateway = Gateway { child, dir };
    drop(Client::connect(options(&gateway, SECRET)).expect("logs on"));
    // Whoever shares the pipe has filled it, to the last byte.
    // Opened anew: not to wait is a matter of the one who fills it, and not of the gateway's stderr.
    let pipe = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let mut filler = std::os::unix::fs::OpenOptionsExt::custom_flags(std::fs::File::options().write(true), flags)
        .open(pipe)
        .expect("opened");
    for piece in [4096, 1] {
        while std::io::Write::write(&mut filler, &vec![b'.'; piece]).is_ok() {}
    }
    drop(filler);
    // Every session gets a line, and so do its end and the stop.
    for _ in 0..3 {
        let mut client = Client::connect(options(&gateway, SECRET)).expect("logs on");
        send(&mut client);
        assert!(next_reason(&mut client).is_some());
    }
    terminate(&gateway.child);
    let status = ended(&mut gateway.child);
    assert!(status.success(), "{status}");
    assert!(is_sealed(gateway.dir.path()));
    drop(writer);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).expect("read");
    assert!(text.contains("ready") && !text.contains("sealed"), "{text}");
}

/// A host that takes no connection and refuses none: its queue is full.
fn silent() -> (std::os::fd::OwnedFd, Vec<std::net::TcpStream>, std::net::SocketAddr) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
    listen(&listener, 0).expect("listens");
    let address = std::net::SocketAddr::try_from(getsockname(&listener).expect("named")).expect("an address");
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let waiting = std::iter::from_fn(connect).collect();
    (listener, waiting, address)
}

#[test]
fn a_stop_does_not_wait_for_a_broker_that_is_silent() {
    let (_listener, _waiting, silent) = silent();
    let dir = tempfile::tempdir().expect("a directory");
    let broker = format!("kind = \"venue\"\naddress = \"{silent}\"");
    write_config(dir.path(), &config("").replace("kind = \"paper\"", &broker));
    let mut gateway = Gateway { child: spawn(dir.path()), dir };
    address(&gateway);
    terminate(&gateway.child);
    let status = ended(&mut gateway.child);
    assert!(status.success(), "{status}");
    assert!(is_sealed(gateway.dir.path()));
}

/// A manager's socket.
fn manager(dir: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(dir.join("notify")).expect("bound");
    socket.set_read_timeout(Some(DEADLINE)).expect("set");
    socket
}

fn spawn_managed(dir: &Path) -> Child {
    Command::new(BINARY)
        .args(["run", "--config"])
        .arg(dir.join("gateway.toml"))
        .env("NOTIFY_SOCKET", dir.join("notify"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started")
}

/// Messages up to the one that is waited for.
fn told(socket: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let length = match socket.recv(&mut bytes) {
            // A child of another test has ended.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            received => received.expect("told in time"),
        };
        told.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        if told.last().is_some_and(|text| text.contains(wanted)) {
            return told;
        }
    }
}

#[test]
fn the_second_signal_ends_a_stop_that_hangs() {
    let dir = tempfile::tempdir().expect("a directory");
    write_config(dir.path(), &config(""));
    let socket = manager(dir.path());
    let mut gateway = Gateway { child: spawn_managed(dir.path()), dir };
    told(&socket, "READY=1");
    // A manager that takes no message any more: to tell it of the stop takes its time.
    let flood = UnixDatagram::unbound().expect("a socket");
    flood.set_nonblocking(true).expect("set");
    while flood.send_to(b"full", gateway.dir.path().join("notify")).is_ok() {}
    let since = Instant::now();
    let status = loop {
        terminate(&gateway.child);
        if let Some(status) = gateway.child.try_wait().expect("asked") {
            break status;
        }
        assert!(since.elapsed() < DEADLINE, "it does not stop");
    };
    assert_eq!(status.code(), Some(88), "{status}");
}

/// A configuration of which the start hangs: its capture is a pipe that nothing comes through.
fn hanging() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("ran").success());
    let capture = format!("[venue.capture]\npaths = [{pipe:?}]\n[venue.exchange]");
    write_config(dir.path(), &config("").replace("[venue.exchange]", &capture).replace("[]", "[\"127.0.0.1:0\"]"));
    dir
}

#[test]
fn a_signal_during_a_start_ends_it_at_once() {
    for command in ["run", "venue"] {
        let dir = hanging();
        let mut child = Command::new(BINARY)
            .args([command, "--config"])
            .arg(dir.path().join("gateway.toml"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        // Opened for writing once the start has come to read it.
        let since = Instant::now();
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        let pipe = loop {
            match rustix::fs::open(dir.path().join("pipe"), flags, rustix::fs::Mode::empty()) {
                Ok(pipe) => break pipe,
                Err(_) => assert!(since.elapsed() < DEADLINE, "{command} does not come so far"),
            }
        };
        terminate(&child);
        let status = ended(&mut child);
        let mut said = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        assert!(status.success(), "{command}: {status}, {said}");
        assert!(!dir.path().join("data/listening").exists(), "{command}");
        drop(pipe);
    }
}

#[test]
fn the_service_manager_is_told_of_start_progress_and_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    write_config(dir.path(), &config(""));
    let socket = manager(dir.path());
    let mut gateway = Gateway { child: spawn_managed(dir.path()), dir };
    let ready = told(&socket, "READY=1").pop().expect("told");
    assert!(ready.contains(&format!("STATUS=listening on {}\n", address(&gateway))), "{ready}");
    told(&socket, "WATCHDOG=1");
    terminate(&gateway.child);
    told(&socket, "STOPPING=1");
    let status = ended(&mut gateway.child);
    assert!(status.success(), "{status}");
    // A start that has a journal to look through asks for the time that it takes.
    gateway.child = spawn_managed(gateway.dir.path());
    let start = told(&socket, "READY=1");
    assert!(start.iter().any(|text| text.starts_with("EXTEND_TIMEOUT_USEC=60000000")), "{start:?}");
}
