//! What the logon MACs cover.
//!
//! Owns the labels, the order of the parts and the comparison in constant time. Must not know where
//! keys come from. Each MAC is HMAC-SHA256 under the session's key over a label and the parts:
//!
//! | MAC | label | parts |
//! |---|---|---|
//! | logon | `TC1 client` | hello frame, challenge frame, logon block after its MAC |
//! | ack | `TC1 server` | hello frame, challenge frame, whole logon block, ack block after its MAC |
//! | reject | `TC1 reject` | hello frame, challenge frame, whole logon block, reject block after its MAC |

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zerocopy::IntoBytes;

use crate::layout::Message;
use crate::messages::{Logon, LogonAck, LogonReject};

/// Length of a MAC, bytes; it opens the block that it belongs to.
pub const MAC_BYTES: usize = 32;
/// Length of the shortest key that is accepted, bytes.
pub const KEY_BYTES_MIN: usize = 16;

/// A session's secret key, prepared for use. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl core::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("MacKey(..)")
    }
}

impl MacKey {
    /// The key with these bytes; `None` if they are fewer than `KEY_BYTES_MIN`.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        if key.len() < KEY_BYTES_MIN {
            return None;
        }
        Hmac::new_from_slice(key).ok().map(Self)
    }
}

/// The two frames that both sides have seen before the logon.
#[derive(Clone, Copy, Debug)]
pub struct Greeting<'a> {
    /// The hello frame, header included.
    pub hello: &'a [u8],
    /// The challenge frame, header included.
    pub challenge: &'a [u8],
}

impl Greeting<'_> {
    fn start(self, key: &MacKey, label: &[u8]) -> Hmac<Sha256> {
        key.0.clone().chain_update(label).chain_update(self.hello).chain_update(self.challenge)
    }

    fn client(self, key: &MacKey, logon: &Logon) -> Hmac<Sha256> {
        self.start(key, b"TC1 client").chain_update(after_mac(logon))
    }

    fn server(self, key: &MacKey, logon: &Logon, ack: &LogonAck) -> Hmac<Sha256> {
        self.start(key, b"TC1 server").chain_update(logon.as_bytes()).chain_update(after_mac(ack))
    }

    fn reject(self, key: &MacKey, logon: &Logon, reject: &LogonReject) -> Hmac<Sha256> {
        self.start(key, b"TC1 reject").chain_update(logon.as_bytes()).chain_update(after_mac(reject))
    }

    /// Puts the client's MAC into a logon whose other fields are final.
    pub fn sign_logon(self, key: &MacKey, logon: &mut Logon) {
        logon.mac = self.client(key, logon).finalize().into_bytes().into();
    }

    /// True if the logon was made with this key, for this connection.
    #[must_use]
    pub fn verify_logon(self, key: &MacKey, logon: &Logon) -> bool {
        self.client(key, logon).verify_slice(&logon.mac).is_ok()
    }

    /// Puts the server's MAC into an ack whose other fields are final.
    pub fn sign_ack(self, key: &MacKey, logon: &Logon, ack: &mut LogonAck) {
        ack.mac = self.server(key, logon, ack).finalize().into_bytes().into();
    }

    /// True if the ack was made with this key, for this logon.
    #[must_use]
    pub fn verify_ack(self, key: &MacKey, logon: &Logon, ack: &LogonAck) -> bool {
        self.server(key, logon, ack).verify_slice(&ack.mac).is_ok()
    }

    /// Puts the server's MAC into a reject whose other fields are final.
    pub fn sign_reject(self, key: &MacKey, logon: &Logon, reject: &mut LogonReject) {
        reject.mac = self.reject(key, logon, reject).finalize().into_bytes().into();
    }

    /// True if the reject was made with this key, for this logon: its numbers may be believed.
    #[must_use]
    pub fn verify_reject(self, key: &MacKey, logon: &Logon, reject: &LogonReject) -> bool {
        self.reject(key, logon, reject).verify_slice(&reject.mac).is_ok()
    }
}

fn after_mac<T: Message>(block: &T) -> &[u8] {
    block.as_bytes().get(MAC_BYTES..).unwrap_or_default()
}
