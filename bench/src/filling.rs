//! Orders that rest, so many that a measurement can ask whether their number matters.

use std::time::{Duration, Instant};

use tradecore_protocol::fields::{ExecType, Tif};
use tradecore_protocol::frame::Frame;
use tradecore_protocol::messages::{ExecReport, RequestReject};

use crate::Failure;
use crate::orders::Load;
use crate::peer::Peer;

/// Orders on their way at once.
const IN_FLIGHT_MAX: u64 = 2048;
/// Orders that are written before the socket is looked at again.
const BATCH: u64 = 64;
/// How long an order that was refused for what is short for a while is left before another is sent.
const BACK_OFF: Duration = Duration::from_millis(10);
/// Without an answer for so long, there is none.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// What has become of the orders.
#[derive(Clone, Copy, Debug, Default)]
struct Fill {
    sent: u64,
    resting: u64,
    refused: u64,
    last_reason: u16,
}

/// Sends orders as a session until so many rest at the broker. How long it took.
pub(crate) fn rest(address: &str, session_id: u32, load: Load, orders: u64) -> Result<Duration, Failure> {
    let mut peer = Peer::log_on(address, session_id)?;
    let mut counter = peer.last_client_seq().saturating_add(1);
    let mut fill = Fill::default();
    let started = Instant::now();
    let mut last_answer = started;
    while fill.resting < orders {
        let (answered, refused) = (fill.answered(), fill.refused);
        peer.poll(&mut |frame: &Frame<'_>, _| fill.take_in(frame))?;
        if fill.answered() != answered {
            last_answer = Instant::now();
        } else {
            // What is waited for may be the broker, which shares this CPU.
            rustix::thread::sched_yield();
        }
        if last_answer.elapsed() > ANSWER_DEADLINE {
            let Fill { resting, last_reason, .. } = fill;
            return Err(format!("{resting} of {orders} orders rest; last refusal {last_reason}; no answer").into());
        }
        if fill.refused > refused {
            std::thread::sleep(BACK_OFF);
        }
        let now = peer.now();
        let room = IN_FLIGHT_MAX.saturating_sub(fill.in_flight());
        let wanted = orders.saturating_sub(fill.resting).saturating_sub(fill.in_flight());
        for _ in 0..room.min(wanted).min(BATCH) {
            peer.queue(now, &load.order(counter, Tif::Gtc))?;
            counter = counter.saturating_add(1);
            fill.sent = fill.sent.saturating_add(1);
        }
        peer.flush()?;
    }
    Ok(started.elapsed())
}

impl Fill {
    const fn answered(&self) -> u64 {
        self.resting.saturating_add(self.refused)
    }

    const fn in_flight(&self) -> u64 {
        self.sent.saturating_sub(self.answered())
    }

    fn take_in(&mut self, frame: &Frame<'_>) {
        match frame.header.template_id {
            ExecReport::TEMPLATE_ID => {
                let Ok(report) = frame.read::<ExecReport>() else { return };
                if report.exec_type == ExecType::New.raw() {
                    self.resting = self.resting.saturating_add(1);
                }
            }
            RequestReject::TEMPLATE_ID => {
                if let Ok(reject) = frame.read::<RequestReject>() {
                    self.refused = self.refused.saturating_add(1);
                    self.last_reason = reject.reason.get();
                }
            }
            _ => {}
        }
    }
}
