//! A raw echo on the CPU of a gateway's loop, at the same time as the gateway: what else the machine does meanwhile, it does
//! to both.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::echo::{REPLY_BYTES, REQUEST_BYTES};
use crate::timing::{RoundTrips, between, round_trips};
use crate::{Failure, cpus, host};

/// From one request to the next: seldom, so that hardly an order meets one, and so that it is as cold as an order is.
const INTERVAL: Duration = Duration::from_millis(6);

/// A server and a client of it, until this is dropped.
#[derive(Debug)]
pub(crate) struct Beside {
    times: Arc<Mutex<RoundTrips>>,
    asking: TcpStream,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Beside {
    pub(crate) fn start() -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let asking = TcpStream::connect(listener.local_addr()?)?;
        let (answering, _) = listener.accept()?;
        for stream in [&asking, &answering] {
            stream.set_nodelay(true)?;
        }
        let times = Arc::new(Mutex::new(round_trips()));
        let (taken, asks) = (Arc::clone(&times), asking.try_clone()?);
        let threads =
            vec![on(cpus::server(), move || answer(answering, &taken)), on(cpus::generator(), move || ask(asks))];
        Ok(Self { times, asking, threads })
    }

    /// What each took from before its read until behind its write, ns, since the last call.
    pub(crate) fn take(&self) -> RoundTrips {
        std::mem::replace(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner), round_trips())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Both ends see it, and with it their threads end.
        let _ = self.asking.shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A thread that goes before all else on a CPU: the loop never gives its own away.
fn on(cpu: Option<usize>, run: impl FnOnce() -> io::Result<()> + Send + 'static) -> JoinHandle<io::Result<()>> {
    std::thread::spawn(move || {
        if let Some(cpu) = cpu {
            tradecore::affinity::pin(cpu).map_err(io::Error::other)?;
        }
        host::ahead();
        run()
    })
}

fn answer(mut stream: TcpStream, times: &Mutex<RoundTrips>) -> io::Result<()> {
    let (mut request, reply) = ([0; REQUEST_BYTES], [0; REPLY_BYTES]);
    // The wait is not its own.
    while stream.peek(&mut request)? > 0 {
        let began = Instant::now();
        stream.read_exact(&mut request)?;
        stream.write_all(&reply)?;
        let took_ns = between(began, Instant::now());
        times.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took_ns);
    }
    Ok(())
}

fn ask(mut stream: TcpStream) -> io::Result<()> {
    let mut reply = [0; REPLY_BYTES];
    loop {
        std::thread::sleep(INTERVAL);
        stream.write_all(&[1; REQUEST_BYTES])?;
        stream.read_exact(&mut reply)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_timed_once_and_a_window_has_only_its_own() {
        let beside = Beside::start().expect("started");
        let mut taken = round_trips();
        while taken.len() < 3 {
            std::thread::yield_now();
            taken.add(beside.take()).expect("the same bounds");
        }
        assert!(taken.min() > 0);
        let times = Arc::clone(&beside.times);
        drop(beside);
        assert_eq!(Arc::strong_count(&times), 1, "its threads have ended");
    }
}
