//! What happens once in a while: strangers, refused frames, resends, take-overs, mass cancels, lost connections to
//! clients and to the broker, kill switches. Over TCP, by peers that write their own frames.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tradecore_client::protocol::codes::{BatchStatus, KillAction, KillScope, MassCancelScope, kill_flags};
use tradecore_client::protocol::fields::{CodMode, ExecType, OrdStatus, Role};
use tradecore_client::protocol::messages::{
    CancelOrder, ExecReport, KillSwitch, KillSwitchReport, MassCancel, MassCancelReport, ReplayComplete, RequestReject,
    ResendBegin, ResendRequest, SessionReject, Terminate,
};
use tradecore_client::protocol::reason::Reason;
use tradecore_client::protocol::wire::{U16, U32, U64};

use crate::host::BINARY;
use crate::peer::{Identity, Peer, Said, reason, resting};

pub(crate) const TRADER: u32 = 5;
pub(crate) const ADMIN: u32 = 6;

/// The venue as a process of its own, which can be lost.
pub(crate) struct Venue(Child);

impl Venue {
    pub(crate) fn start(dir: &Path) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["venue", "--config", "gateway.toml"]).current_dir(dir);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started"))
    }

    fn kill(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }

    /// It answers nothing any more.
    fn stop(&self) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::STOP).expect("sent");
        waitpid(Some(pid), WaitOptions::UNTRACED).expect("a child").expect("it has stopped");
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A session over its connections: where its streams stand.
struct Session<'a> {
    address: &'a str,
    identity: Identity,
    cod_mode: CodMode,
    peer: Peer,
    replayed: VecDeque<Said>,
}

impl<'a> Session<'a> {
    fn open(address: &'a str, identity: Identity, cod_mode: CodMode) -> Self {
        let mut session =
            Self { address, identity, cod_mode, peer: Peer::connect_to(address), replayed: VecDeque::new() };
        session.log_on();
        session
    }

    /// A further connection; the one before is handed out.
    fn reopen(&mut self) -> Peer {
        let old = std::mem::replace(&mut self.peer, Peer::connect_to(self.address));
        self.log_on();
        old
    }

    fn log_on(&mut self) {
        let mut logon = self.identity.logon();
        logon.cod_mode = self.cod_mode.raw();
        self.peer.log_on_with(&self.identity.key_id(), &logon);
        let (replayed, _) = self.peer.read_to::<ReplayComplete>();
        self.replayed = replayed.into();
    }

    fn next(&mut self) -> Said {
        let said = self.replayed.pop_front().unwrap_or_else(|| self.peer.next_told());
        self.identity.next_expected_seq = self.identity.next_expected_seq.max(said.header.seq + 1);
        said
    }

    /// Sends under the next number, which is handed out.
    fn send<T: tradecore_client::protocol::Message>(&mut self, block: impl Fn(u64) -> T) -> u64 {
        let seq = self.identity.next_client_seq;
        self.peer.send(seq, &block(seq));
        self.identity.next_client_seq += 1;
        seq
    }

    fn place(&mut self) -> u64 {
        let id = self.send(resting);
        self.read_to(|said| is_report(said, id, ExecType::New));
        id
    }

    fn read_to(&mut self, is_wanted: impl Fn(&Said) -> bool) -> Said {
        loop {
            let said = self.next();
            assert!(said.read::<RequestReject>().is_none_or(|_| is_wanted(&said)), "refused: {said:?}");
            if is_wanted(&said) {
                return said;
            }
        }
    }
}

fn is_report(said: &Said, cl_ord_id: u64, exec_type: ExecType) -> bool {
    said.read::<ExecReport>()
        .is_some_and(|report| report.cl_ord_id.get() == cl_ord_id && report.exec_type == exec_type.raw())
}

fn is_in_doubt(said: &Said) -> bool {
    said.read::<ExecReport>().is_some_and(|report| report.ord_status == OrdStatus::InDoubt.raw())
}

fn is_done(said: &Said) -> bool {
    said.read::<MassCancelReport>().is_some_and(|report| report.status == BatchStatus::Done.raw())
}

fn kill(cl_ord_id: u64, action: KillAction, flags: u8) -> KillSwitch {
    KillSwitch {
        cl_ord_id: U64::new(cl_ord_id),
        scope: KillScope::Core.raw(),
        action: action.raw(),
        flags,
        ..KillSwitch::default()
    }
}

/// All of it, on sessions that are new; the venue is another process afterwards.
pub(crate) fn do_what_is_rare(address: &str, dir: &Path, venue: &mut Venue) {
    let mut stranger = Peer::connect_to(address);
    stranger.ask_to_log_on("nobody", &Identity::of(TRADER).logon());
    stranger.expect_reject();
    let mut trader = Session::open(address, Identity::of(TRADER), CodMode::None);
    let mut admin = Session::open(address, Identity { role: Role::Admin, ..Identity::of(ADMIN) }, CodMode::None);

    // Frames that are refused, and reports that are sent again.
    trader.send(|_| KillSwitch::default());
    trader.read_to(|said| said.read::<SessionReject>().is_some());
    trader.send(|seq| CancelOrder { cl_ord_id: U64::new(seq), ..CancelOrder::default() });
    trader.read_to(|said| said.read::<RequestReject>().is_some());
    let kept = trader.place();
    let again = ResendRequest { from_seq: U64::new(1), count: U32::new(3), ..ResendRequest::default() };
    trader.peer.send(0, &again);
    trader.peer.expect::<ResendBegin>();
    (0..3).for_each(|_| drop(trader.peer.next_told()));

    // A second connection takes the session over, a third loses its line, and a fourth its orders as it goes.
    let (_, terminate) = trader.reopen().read_to_terminate();
    assert_eq!(reason(terminate.reason), Reason::TakenOver);
    trader.send(|seq| MassCancel {
        cl_ord_id: U64::new(seq),
        scope: MassCancelScope::Session.raw(),
        ..MassCancel::default()
    });
    trader.read_to(|said| is_report(said, kept, ExecType::Canceled));
    trader.cod_mode = CodMode::Both;
    drop(trader.reopen());
    std::mem::replace(&mut trader.peer, Peer::connect_to(address)).reset();
    trader.log_on();
    let left = trader.place();
    trader.peer.send(0, &Terminate { reason: U16::new(Reason::Logout.raw()), ..Terminate::default() });
    trader.peer.read_to_terminate();
    trader.cod_mode = CodMode::None;
    drop(trader.reopen());
    trader.read_to(|said| is_report(said, left, ExecType::Canceled));

    // A kill switch that cancels.
    let killed = trader.place();
    admin.send(|seq| kill(seq, KillAction::Engage, kill_flags::CANCEL_OPEN));
    admin.read_to(is_done);
    trader.read_to(|said| is_report(said, killed, ExecType::Canceled));
    admin.send(|seq| kill(seq, KillAction::Release, 0));
    admin.read_to(|said| said.read::<KillSwitchReport>().is_some());

    // The broker is lost with orders on their way; a cancel finds it gone; it comes back with no word of them.
    let canceled = trader.place();
    venue.stop();
    let sent = [(); 40].map(|()| trader.send(resting));
    trader.read_to(|said| is_report(said, sent[39], ExecType::PendingNew));
    venue.kill();
    trader.read_to(is_in_doubt);
    trader.send(|seq| CancelOrder {
        cl_ord_id: U64::new(seq),
        orig_cl_ord_id: U64::new(canceled),
        ..CancelOrder::default()
    });
    trader.read_to(|said| is_report(said, canceled, ExecType::PendingCancel));
    trader.read_to(|said| is_report(said, canceled, ExecType::InDoubt));
    *venue = Venue::start(dir);
    trader.read_to(|said| is_report(said, canceled, ExecType::Canceled));
    admin.send(|seq| MassCancel { cl_ord_id: U64::new(seq), scope: MassCancelScope::Core.raw(), ..Default::default() });
    admin.read_to(is_done);
}
