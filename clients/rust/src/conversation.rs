//! The recovery recipe, without sockets or clocks: a client's end of all its connections, one after the other.
//!
//! Owns what is in doubt, what has been received and what the caller has taken, and when to connect again. Must not
//! know how bytes travel: every verb takes the time, and appends what has to be sent to the caller's buffer. A caller
//! sends these bytes also when the conversation is not connected any more afterwards: they are its last words.

mod answers;
mod logon;
mod refusal;

use std::collections::{BTreeSet, VecDeque};
use std::mem;

use tradecore_protocol::codes::{ReplayMode, TakeoverPolicy};
use tradecore_protocol::fields::ClOrdId;
use tradecore_protocol::frame::{Frame, next_frame};
use tradecore_protocol::layout::Message;
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::{ClientAction, ClientSession, Now, REPLY_BYTES_MAX, Step};
use tradecore_protocol::transcript::MacKey;

use crate::events::Event;
use crate::options::{ClientError, IN_DOUBT_MAX, Options};
use crate::requests::{self, NewOrder};
use crate::store::{Request, Store};

/// Longest application frame that a client sends, bytes.
const REQUEST_BYTES_MAX: usize = 256;
const BACKOFF_MIN_NS: u64 = 20_000_000;
const BACKOFF_MAX_NS: u64 = 1_000_000_000;

/// A connection that is open.
struct Link {
    session: ClientSession,
    /// The start of a frame that is not whole yet: at most the longest frame.
    incoming: Vec<u8>,
    is_logged_on: bool,
    /// The last request that the gateway had decided on at logon: what lies above it has had no effect.
    last_client_seq: u64,
    /// The replay is over, and what was in doubt has been sent again.
    is_ready: bool,
}

/// What waits for the caller; nothing to show for reports that only count.
struct Queued {
    /// The last report that is applied once the caller has dealt with this.
    through_seq: u64,
    /// ClOrdIDs of the requests that are forgotten then.
    answers: Vec<u64>,
    event: Option<Event>,
}

/// Everything that a client is but its socket: feed it bytes and time, send what it writes, take its events.
///
/// Its memory is bounded if the caller reads from the socket only while `next_event` has none left.
pub struct Conversation {
    options: Options,
    key: MacKey,
    store: Store,
    link: Option<Link>,
    events: VecDeque<Queued>,
    /// The last report that was received; those not applied yet wait in `events`.
    received_seq: u64,
    /// What the caller has: dealt with once it comes back.
    handed: Option<Queued>,
    next_attempt_ns: u64,
    backoff_ns: u64,
    replay_mode: ReplayMode,
    last_request_id: u64,
    /// Instruments whose quotes are wanted, on this connection and on every later one.
    subscriptions: BTreeSet<u32>,
    /// Ids after which the gateway wants a new client epoch.
    ids_max: u32,
    has_logged_on: bool,
    is_taken_over: bool,
    trouble: Option<String>,
    /// Why the gateway refused the last logon.
    refusal: Option<Reason>,
}

impl Conversation {
    /// A conversation that is not connected, about what the state file holds.
    ///
    /// # Errors
    /// `Key` for a key that is too short, `Store` for a state file that cannot be used.
    pub fn new(options: Options, utc_ns: u64) -> Result<Self, ClientError> {
        let key = MacKey::new(&options.secret).ok_or(ClientError::Key)?;
        let store = match &options.state_path {
            Some(path) => Store::open(path, utc_ns)?,
            None => Store::in_memory(utc_ns),
        };
        let applied_seq = store.numbers.applied_seq;
        Ok(Self {
            replay_mode: options.replay_mode,
            options,
            key,
            store,
            link: None,
            events: VecDeque::new(),
            received_seq: applied_seq,
            handed: None,
            next_attempt_ns: 0,
            backoff_ns: BACKOFF_MIN_NS,
            last_request_id: 0,
            subscriptions: BTreeSet::new(),
            ids_max: u32::MAX,
            has_logged_on: false,
            is_taken_over: false,
            trouble: None,
            refusal: None,
        })
    }

    /// A connection is open: writes what has to be sent on it first. An earlier one is forgotten.
    ///
    /// # Errors
    /// `Random`; `TakenOver` once another client has the session.
    pub fn connect(&mut self, now: Now, out: &mut Vec<u8>) -> Result<(), ClientError> {
        if self.is_taken_over {
            return Err(ClientError::TakenOver);
        }
        self.back_off(now);
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|_| ClientError::Random)?;
        let config = self.options.config(self.replay_mode);
        let mut session = ClientSession::new(&config, &self.key, self.position(), nonce, now);
        let mut hello = [0; REPLY_BYTES_MAX];
        let written = session.start(now, &mut hello).unwrap_or(0);
        out.extend_from_slice(hello.get(..written).unwrap_or_default());
        self.link =
            Some(Link { session, incoming: Vec::new(), is_logged_on: false, last_client_seq: 0, is_ready: false });
        Ok(())
    }

    /// No connection could be opened, and why, for people: `poll_timeout` says when to try again.
    pub fn unreachable(&mut self, now: Now, why: String) {
        (self.trouble, self.refusal) = (Some(why), None);
        self.back_off(now);
    }

    fn back_off(&mut self, now: Now) {
        self.next_attempt_ns = now.mono_ns.saturating_add(self.backoff_ns);
        self.backoff_ns = self.backoff_ns.saturating_mul(2).min(BACKOFF_MAX_NS);
    }

    /// The connection is gone: closed by the peer, reset, or too slow.
    pub fn connection_lost(&mut self) {
        self.disconnected(Reason::ConnectionLost);
    }

    /// Takes received bytes in, of any length; appends what has to be sent to `out`.
    ///
    /// # Errors
    /// `Refused` and `Store`: what a further connection cannot mend.
    pub fn take_bytes(&mut self, now: Now, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ClientError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let mut incoming = mem::take(&mut link.incoming);
        incoming.extend_from_slice(bytes);
        let mut rest = incoming.as_slice();
        while self.link.is_some() {
            match next_frame(rest) {
                Ok(Some(frame)) => {
                    rest = rest.get(frame.bytes.len()..).unwrap_or_default();
                    self.take_frame(now, &frame, out)?;
                }
                Ok(None) => break,
                Err(fault) => {
                    self.step(out, |session, buf| session.handle_frame_error(now, fault, buf));
                    self.disconnected(fault.reason);
                }
            }
        }
        let taken = incoming.len().saturating_sub(rest.len());
        if let Some(link) = &mut self.link {
            incoming.drain(..taken);
            link.incoming = incoming;
        }
        Ok(())
    }

    /// Takes the passing of time in: a heartbeat, or the end of a connection that is silent.
    pub fn handle_timeout(&mut self, now: Now, out: &mut Vec<u8>) {
        if let ClientAction::Close { reason, .. } = self.step(out, |session, buf| session.handle_timeout(now, buf)) {
            self.disconnected(reason);
        }
    }

    /// The monotonic time, ns, at which to call `handle_timeout`; without a connection, at which to connect.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match &self.link {
            Some(link) => link.session.poll_timeout(),
            None => Some(self.next_attempt_ns),
        }
    }

    /// Sends a new order: its ClOrdID. It is kept first; whatever breaks, it has one effect.
    ///
    /// # Errors
    /// As `request`.
    pub fn new_order(&mut self, now: Now, order: &NewOrder, out: &mut Vec<u8>) -> Result<ClOrdId, ClientError> {
        self.request(now, |id| order.block(id), out)
    }

    /// Sends a request under a new ClOrdID, with which its block must begin. It is kept first.
    ///
    /// # Errors
    /// `NotReady` while disconnected or replaying, `InDoubtMax`, `NotAllowed`: nothing was kept, nothing will be sent.
    /// `Store`: nothing was sent.
    pub fn request<T: Message>(
        &mut self,
        now: Now,
        block: impl FnOnce(ClOrdId) -> T,
        out: &mut Vec<u8>,
    ) -> Result<ClOrdId, ClientError> {
        let id = self.store.next_id(self.ids_max);
        self.send_kept(now, &block(id), false, out)?;
        Ok(id)
    }

    /// Sends an order again under the id that it has: the gateway answers with what became of it.
    ///
    /// # Errors
    /// As `request`.
    pub fn repeat_order(
        &mut self,
        now: Now,
        cl_ord_id: ClOrdId,
        order: &NewOrder,
        out: &mut Vec<u8>,
    ) -> Result<(), ClientError> {
        if cl_ord_id.epoch() > ClOrdId(self.store.numbers.last_cl_ord_id).epoch() {
            return Err(ClientError::EarlierEpoch);
        }
        self.send_kept(now, &order.block(cl_ord_id), true, out)
    }

    /// Sends a query under a new request id, with which its block must begin. It is not kept.
    ///
    /// # Errors
    /// `NotReady`, `NotAllowed`: nothing was sent.
    pub fn query<T: Message>(
        &mut self,
        now: Now,
        block: impl FnOnce(u64) -> T,
        out: &mut Vec<u8>,
    ) -> Result<(), ClientError> {
        self.last_request_id = self.last_request_id.saturating_add(1);
        let block = block(self.last_request_id);
        let session = self.live_session().ok_or(ClientError::NotReady)?;
        let mut buf = [0; REQUEST_BYTES_MAX];
        let sent = session.send(now, &block, &mut buf).map_err(ClientError::NotAllowed)?;
        out.extend_from_slice(buf.get(..sent.written).unwrap_or_default());
        Ok(())
    }

    /// Asks for quotes of an instrument, now if the session is ready and after every reconnect.
    ///
    /// # Errors
    /// `NotReady`: it is asked for as soon as the session is ready. `NotAllowed`.
    pub fn subscribe(&mut self, now: Now, instrument_id: u32, out: &mut Vec<u8>) -> Result<(), ClientError> {
        self.subscriptions.insert(instrument_id);
        self.query(now, |id| requests::subscribe(id, instrument_id), out)
    }

    /// A gateway knows nothing of the subscriptions of an earlier connection.
    fn subscribe_again(&mut self, now: Now, out: &mut Vec<u8>) -> Result<(), ClientError> {
        for instrument_id in self.subscriptions.clone() {
            self.query(now, |id| requests::subscribe(id, instrument_id), out)?;
        }
        Ok(())
    }

    /// Says goodbye, and counts the last event as dealt with. Connecting again is up to the caller.
    ///
    /// # Errors
    /// `Store`: the last events will be told again.
    pub fn logout(&mut self, now: Now, out: &mut Vec<u8>) -> Result<(), ClientError> {
        self.settle();
        if let Some(mut link) = self.link.take() {
            let mut buf = [0; REPLY_BYTES_MAX];
            let written = link.session.logout(now, &mut buf).unwrap_or(0);
            out.extend_from_slice(buf.get(..written).unwrap_or_default());
        }
        Ok(self.store.save()?)
    }

    /// The next event; `None` when more bytes are needed.
    ///
    /// To ask again says that the caller has dealt with the event before: only then is its report applied, and told to
    /// the gateway as such. If the process ends in between, it comes again in the next life.
    ///
    /// # Errors
    /// `Store`.
    pub fn next_event(&mut self) -> Result<Option<Event>, ClientError> {
        self.settle();
        while let Some(queued) = self.events.pop_front() {
            let event = queued.event.clone();
            self.handed = Some(queued);
            if event.is_some() {
                return Ok(event);
            }
            self.settle();
        }
        self.store.save()?;
        Ok(None)
    }

    /// True when new orders pass.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_ready)
    }

    /// True from `connect` until the connection must be closed.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// True if `next_event` would return one.
    #[must_use]
    pub fn has_event(&self) -> bool {
        self.events.iter().any(|queued| queued.event.is_some())
    }

    /// Requests that nothing has answered yet.
    #[must_use]
    pub fn in_doubt(&self) -> usize {
        self.store.unanswered.len()
    }

    /// Why the last attempt to connect or to log on came to nothing, for people; none while connected.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The gateway's reason where `trouble` is a logon that it refused for a while.
    #[must_use]
    pub const fn refusal(&self) -> Option<Reason> {
        self.refusal
    }

    /// Where the gateway listens.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Takes the event back that says what the caller sees otherwise.
    pub(crate) fn drop_ready_event(&mut self) {
        for queued in &mut self.events {
            if matches!(queued.event, Some(Event::Ready { .. })) {
                queued.event = None;
            }
        }
    }

    fn live_session(&mut self) -> Option<&mut ClientSession> {
        self.link.as_mut().filter(|link| link.is_ready).map(|link| &mut link.session)
    }

    /// Keeps a sequenced request, then writes it.
    fn send_kept<T: Message>(
        &mut self,
        now: Now,
        block: &T,
        is_repeat: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ClientError> {
        let template_id = T::INFO.template_id;
        let in_doubt = self.in_doubt();
        let session = self.live_session().ok_or(ClientError::NotReady)?;
        if in_doubt >= IN_DOUBT_MAX && requests::adds_risk(template_id) {
            return Err(ClientError::InDoubtMax);
        }
        let mut buf = [0; REQUEST_BYTES_MAX];
        let sent = session.send(now, block, &mut buf).map_err(ClientError::NotAllowed)?;
        let block = block.as_bytes().to_vec();
        let request = Request { seq: sent.seq, is_repeat, is_closed: false, template_id, block };
        if let Err(error) = self.store.keep(request) {
            // The number is used and must not leave: only a new connection can give it to another request.
            self.disconnected(Reason::ConnectionLost);
            return Err(error.into());
        }
        // After this point it has one effect: whatever breaks is mended by the next connection.
        out.extend_from_slice(buf.get(..sent.written).unwrap_or_default());
        Ok(())
    }

    /// Counts what the caller was handed as applied.
    fn settle(&mut self) {
        let Some(handed) = self.handed.take() else { return };
        if handed.through_seq > self.store.numbers.applied_seq {
            self.store.numbers.applied_seq = handed.through_seq;
            if let Some(link) = &mut self.link {
                link.session.applied(handed.through_seq);
            }
        }
        for id in handed.answers {
            self.store.forget(id);
        }
        if matches!(handed.event, Some(Event::Resynchronize)) && self.is_ready() {
            self.store.numbers.has_gap = false;
        }
    }

    fn tell(&mut self, event: Option<Event>) {
        self.tell_answer(event, Vec::new());
    }

    fn tell_answer(&mut self, event: Option<Event>, answers: Vec<u64>) {
        self.events.push_back(Queued { through_seq: self.received_seq, answers, event });
    }

    fn disconnected(&mut self, reason: Reason) {
        (self.trouble, self.refusal) = (Some(format!("the connection ended: {}", reason.name())), None);
        if self.link.take().is_some_and(|link| link.is_ready) {
            self.tell(Some(Event::Disconnected { reason }));
        }
    }

    fn step(
        &mut self,
        out: &mut Vec<u8>,
        verb: impl FnOnce(&mut ClientSession, &mut [u8]) -> Step<ClientAction>,
    ) -> ClientAction {
        let Some(link) = &mut self.link else { return ClientAction::None };
        let mut buf = [0; REPLY_BYTES_MAX];
        let step = verb(&mut link.session, &mut buf);
        out.extend_from_slice(buf.get(..step.written).unwrap_or_default());
        step.action
    }

    fn take_frame(&mut self, now: Now, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), ClientError> {
        let action = self.step(out, |session, buf| session.handle_frame(now, frame, buf));
        let is_logged_on = self.link.as_ref().is_some_and(|link| link.is_logged_on);
        match action {
            ClientAction::LoggedOn(ack) => self.logged_on(&ack),
            ClientAction::LogonRefused { reject, is_authentic } => self.refused(now, &reject, is_authentic)?,
            ClientAction::Report(_) => {
                self.received_seq = frame.header.seq;
                self.deliver(frame)?;
            }
            ClientAction::Answer(_) => self.deliver(frame)?,
            ClientAction::Skipped => {
                self.received_seq = self.received_seq.max(frame.header.seq);
                self.tell(None);
            }
            ClientAction::GapFilled { new_seq, .. } => {
                self.store.skip_answers(self.link.as_ref().map_or(0, |link| link.session.peer_ack_seq()));
                // Before a report beyond the gap is applied: whoever dies now must be told in the next life.
                self.store.rewrite()?;
                self.received_seq = new_seq.saturating_sub(1);
                if self.is_ready() {
                    self.tell(Some(Event::Resynchronize));
                }
            }
            ClientAction::ReplayComplete { open_orders, last_id_counter } => {
                self.store.go_on_above(0, last_id_counter);
                self.settle_doubts(now, out)?;
                self.subscribe_again(now, out)?;
                if self.store.numbers.has_gap {
                    self.tell(Some(Event::Resynchronize));
                }
                self.tell(Some(Event::Ready { open_orders }));
            }
            ClientAction::Rejected(reject) => self.session_rejected(reject)?,
            ClientAction::Close { reason, by_peer: false } if !is_logged_on => self.unproven(reason)?,
            ClientAction::Close { reason: Reason::TakenOver, by_peer: true }
                if self.options.takeover == TakeoverPolicy::TakeOver =>
            {
                self.is_taken_over = true;
                self.disconnected(Reason::TakenOver);
                return Err(ClientError::TakenOver);
            }
            ClientAction::Close { reason, .. } | ClientAction::ResendRefused(reason) => self.disconnected(reason),
            // The numbers that were skipped are those of requests that have had their answer.
            ClientAction::NotApplied { .. }
            | ClientAction::None
            | ClientAction::Duplicate
            | ClientAction::Gap { .. } => {}
        }
        Ok(())
    }
}
