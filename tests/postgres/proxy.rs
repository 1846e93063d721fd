//! Stands between projector and server, and cuts the connection around a commit.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

/// What happens at the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It does not reach the server.
    Before,
    /// It does; the answer does not come back.
    Reply,
    /// It does; what happens meanwhile is done by who hears of it.
    Tell,
    /// It does not reach the server before something is passed on again: from here on nothing is.
    Hold,
}

/// As a message of the protocol has it.
const COMMIT: &[u8] = b"COMMIT\0";

pub(crate) struct Proxy {
    pub(crate) port: u16,
    plan: Arc<Mutex<Option<Cut>>>,
    relays: Arc<Relays>,
    /// Hears of each cut.
    pub(crate) done: Receiver<Cut>,
}

/// Whether anything is passed on: else all connections stay, and nothing comes by them; and what was.
#[derive(Default)]
struct Relays {
    are_silent: Mutex<bool>,
    seen: Mutex<Vec<u8>>,
    changed: Condvar,
}

impl Relays {
    fn set(&self, are_silent: bool) {
        *self.are_silent.lock().expect("no panic") = are_silent;
        self.changed.notify_all();
    }

    /// Until something is passed on; it ends with the process.
    fn wait(&self, passed: &[u8]) {
        self.seen.lock().expect("no panic").extend_from_slice(passed);
        let are_silent = self.are_silent.lock().expect("no panic");
        drop(self.changed.wait_while(are_silent, |are_silent| *are_silent).expect("no panic"));
    }
}

impl Proxy {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let plan = Arc::new(Mutex::new(None));
        let (tell, done) = channel();
        let (shared, relays) = (Arc::clone(&plan), Arc::<Relays>::default());
        let passing = Arc::clone(&relays);
        // It ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // While the server is dead, its proxy has no connection to offer.
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (plan, tell, relays) = (Arc::clone(&shared), tell.clone(), Arc::clone(&passing));
                std::thread::spawn(move || serve(client, server, &plan, &tell, &relays));
            }
        });
        Self { port, plan, relays, done }
    }

    /// From now on nothing is passed on, as by one whose other end is gone; until it is taken back.
    pub(crate) fn be_silent(&self, is_silent: bool) {
        self.relays.set(is_silent);
    }

    /// Whether such bytes came by, and how many did in all.
    pub(crate) fn has_seen(&self, part: &[u8]) -> (bool, usize) {
        let seen = self.relays.seen.lock().expect("no panic");
        (seen.windows(part.len()).any(|window| window == part), seen.len())
    }

    pub(crate) fn plan(&self, cut: Cut) {
        *self.plan.lock().expect("no panic") = Some(cut);
    }
}

fn serve(
    mut client: TcpStream,
    mut server: TcpStream,
    plan: &Mutex<Option<Cut>>,
    tell: &Sender<Cut>,
    relays: &Arc<Relays>,
) {
    let (mut answers, mut back) = (server.try_clone().expect("cloned"), client.try_clone().expect("cloned"));
    // True while an answer is to be kept back.
    let is_mute = Arc::new(Mutex::new(false));
    let (mute, answers_wait) = (Arc::clone(&is_mute), Arc::clone(relays));
    let (swallowed, hears) = channel();
    let answering = std::thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(count @ 1..) = answers.read(&mut bytes) {
            answers_wait.wait(&bytes[..count]);
            if *mute.lock().expect("no panic") {
                // The server has done it, and said so.
                swallowed.send(()).unwrap_or(());
                break;
            }
            if back.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        back.shutdown(Shutdown::Both).unwrap_or(());
    });
    let mut bytes = [0; 65_536];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let sent = &bytes[..count];
        relays.wait(sent);
        let cut = if sent.windows(COMMIT.len()).any(|part| part == COMMIT) {
            plan.lock().expect("no panic").take()
        } else {
            None
        };
        if cut == Some(Cut::Before) {
            tell.send(Cut::Before).unwrap_or(());
            break;
        }
        if cut == Some(Cut::Hold) {
            relays.set(true);
            tell.send(Cut::Hold).unwrap_or(());
            relays.wait(&[]);
        }
        *is_mute.lock().expect("no panic") = cut == Some(Cut::Reply);
        if server.write_all(sent).is_err() {
            break;
        }
        if cut == Some(Cut::Reply) {
            hears.recv().unwrap_or(());
            tell.send(Cut::Reply).unwrap_or(());
            break;
        }
        if cut == Some(Cut::Tell) {
            tell.send(Cut::Tell).unwrap_or(());
        }
    }
    for stream in [&client, &server] {
        stream.shutdown(Shutdown::Both).unwrap_or(());
    }
    drop(answering.join());
}
