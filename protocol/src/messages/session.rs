//! Session messages, templates 1 to 18. Templates 1 to 5 never change within a major version.

use super::roles;
use crate::layout::wire::{U16, U32, U64};
use crate::layout::{Text, layouts};

/// The first eight bytes of every hello block: `TradeCor`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"TradeCor");

/// HMAC-SHA256, the only MAC of major version 1.
pub const MAC_HMAC_SHA256: u8 = 1;

layouts! {
    /// Session messages.
    SESSION:

    /// Opens a connection: who asks, and which versions it speaks.
    ClientHello = 1, ToServer, Unsequenced, roles::ALL, block 88 {
        0 magic: U64, "constant", "The bytes `TradeCor`.";
        8 client_nonce: [u8; 32], "random bytes", "Fresh for every connection; all zero is refused.";
        40 key_id: Text<16>, "key id", "Names the key that the logon's MAC is made with.";
        56 major_min: u8, "version", "Oldest major version that the client speaks.";
        57 major_max: u8, "version", "Newest major version that the client speaks.";
        58 minor_max: u8, "version", "Newest minor version of `major_max` that the client speaks.";
        59 reserved0: u8, "", "Must be 0.";
        60 reserved1: U32, "", "Must be 0.";
        64 client_build: Text<24>, "text", "Name and version of the client's build, for logs.";
    }

    /// Answers a hello: the versions chosen and the server's nonce.
    ServerChallenge = 2, ToClient, Unsequenced, roles::ALL, block 88 {
        0 server_nonce: [u8; 32], "random bytes", "Fresh for every connection; makes a recorded logon worthless.";
        32 server_time_ns: U64, "ns UTC", "The server's clock.";
        40 gateway_id: Text<16>, "text", "Name of the gateway.";
        56 instance_id: U64, "id", "Changes with every start of the gateway.";
        64 major: u8, "version", "Major version of this connection.";
        65 minor: u8, "version", "Minor version that the server writes on this connection.";
        66 mac_alg: u8, "code", "1: HMAC-SHA256.";
        67 reserved0: u8, "", "Must be 0.";
        68 heartbeat_min_ms: U32, "ms", "Shortest heartbeat interval that is accepted.";
        72 heartbeat_max_ms: U32, "ms", "Longest heartbeat interval that is accepted.";
        76 reserved1: U32, "", "Must be 0.";
        80 layout_hash: U64, "FNV-1a", "Hash of the catalogue of the server's build; advisory only.";
    }

    /// Proves the client's identity and says where its streams stand.
    Logon = 3, ToServer, Unsequenced, roles::ALL, block 104 {
        0 mac: [u8; 32], "HMAC-SHA256", "Over the client transcript.";
        32 session_id: U32, "id", "The configured session.";
        36 core: U16, "id", "The core that the session belongs to.";
        38 role: u8, "Role", "What the session wants to do.";
        39 environment: u8, "Environment", "Whose money the client believes that it trades.";
        40 session_epoch: U64, "epoch", "The epoch that the sequence numbers belong to; 0 if the client knows none.";
        48 next_expected_seq: U64, "seq", "The first report that the client has not applied; from 1.";
        56 next_client_seq: U64, "seq", "The first number that the client will send; from 1.";
        64 heartbeat_ms: U32, "ms", "Heartbeat interval of both directions, within the challenge's bounds.";
        68 cod_window_ms: U32, "ms", "Wait before cancel on disconnect; at most 60,000.";
        72 cod_mode: u8, "CodMode", "Cancel-on-disconnect mode; 0 for the configured one, `sessions.cod_mode`.";
        73 takeover_policy: u8, "TakeoverPolicy", "What to do if the session is connected already.";
        74 replay_mode: u8, "ReplayMode", "What to do about missed reports.";
        75 reserved0: u8, "", "Must be 0.";
        76 reserved1: U32, "", "Must be 0.";
        80 app_name: Text<16>, "text", "Name of the application, for logs.";
        96 app_version: Text<8>, "text", "Version of the application, for logs.";
    }

    /// Accepts a logon and says where everything stands.
    LogonAck = 4, ToClient, Unsequenced, roles::ALL, block 120 {
        0 mac: [u8; 32], "HMAC-SHA256", "Over the server transcript; a client must verify it.";
        32 session_id: U32, "id", "As in the logon.";
        36 core: U16, "id", "As in the logon.";
        38 role: u8, "Role", "As in the logon.";
        39 environment: u8, "Environment", "The gateway's.";
        40 session_epoch: U64, "epoch", "Changes only when an operator resets the session or the journal was lost.";
        48 next_report_seq: U64, "seq", "The next new report; what lies below it is replayed.";
        56 last_client_seq: U64, "seq", "The last client frame that was processed; what lies above it was not.";
        64 oldest_report_seq: U64, "seq", "The oldest report that can be replayed.";
        72 server_time_ns: U64, "ns UTC", "The server's clock.";
        80 heartbeat_ms: U32, "ms", "The interval in force.";
        84 cod_window_ms: U32, "ms", "The window in force.";
        88 cod_mode: u8, "CodMode", "The mode in force.";
        89 replay_mode: u8, "ReplayMode", "The mode in force.";
        90 trading_state: u8, "TradingState", "State of the core.";
        91 kill_state: u8, "KillState", "State of the core's kill switch.";
        92 durability: u8, "Durability", "The class that the core's reports wait for.";
        93 broker_status: u8, "BrokerStatus", "State of the connection to the broker.";
        94 resend_count_max: U16, "frames", "Most reports that one resend request may ask for.";
        96 throttle_rate: U32, "frames/s", "Sustained rate of client frames; heartbeats and cancels are apart.";
        100 throttle_burst: U32, "frames", "Size of a burst above the rate.";
        104 core_epoch: U32, "epoch", "Start epoch of the core.";
        108 ids_max: U32, "ids", "ClOrdIDs of the session in one client epoch: a client goes on in the next one after so many, so that the oldest can be forgotten.";
        112 client_epoch: U16, "epoch", "The client epoch of the session: a ClOrdID of a lower one is refused.";
        114 reserved0: U16, "", "Must be 0.";
        116 reserved1: U32, "", "Must be 0.";
    }

    /// Refuses a connection; the server closes after it.
    LogonReject = 5, ToClient, Unsequenced, roles::ALL, block 136 {
        0 mac: [u8; 32], "HMAC-SHA256", "Over the reject transcript; zero unless the logon's MAC was valid.";
        32 reason: U16, "Reason", "Why.";
        34 reserved0: U16, "", "Must be 0.";
        36 retry_after_ms: U32, "ms", "Earliest useful next attempt; 0 if waiting does not help.";
        40 session_epoch: U64, "epoch", "The current epoch; 0 unless the logon's MAC was valid.";
        48 next_report_seq: U64, "seq", "The next new report; 0 unless the logon's MAC was valid.";
        56 last_client_seq: U64, "seq", "The last client frame that was processed; 0 unless the logon's MAC was valid.";
        64 oldest_report_seq: U64, "seq", "The oldest report that can be replayed; 0 unless the logon's MAC was valid.";
        72 text: Text<64>, "text", "What is allowed; for `Redirect` the `host:port` that serves the core.";
    }

    /// Shows life after an interval of silence, and answers a test request.
    Heartbeat = 6, Both, Unsequenced, roles::ALL, block 16 {
        0 test_id: U64, "id", "Of the test request that it answers; 0 if none.";
        8 next_seq: U64, "seq", "The sender's next sequence number on this connection: shows a gap while idle.";
    }

    /// Asks for a heartbeat.
    TestRequest = 7, Both, Unsequenced, roles::ALL, block 8 {
        0 test_id: U64, "id", "Comes back in the heartbeat; from 1.";
    }

    /// Asks for reports again; one request at a time.
    ResendRequest = 8, ToServer, Unsequenced, roles::ALL, block 24 {
        0 request_id: U64, "id", "Comes back in the answer.";
        8 from_seq: U64, "seq", "The first report wanted; from 1.";
        16 count: U32, "frames", "How many; from 1, at most the logon's `resend_count_max`.";
        20 reserved0: U32, "", "Must be 0.";
    }

    /// Grants a resend; the reports follow, flagged `REPLAY`, and live ones wait meanwhile.
    ResendBegin = 9, ToClient, Unsequenced, roles::ALL, block 24 {
        0 request_id: U64, "id", "Of the request.";
        8 from_seq: U64, "seq", "The first report that follows.";
        16 count: U32, "frames", "How many follow.";
        20 reserved0: U32, "", "Must be 0.";
    }

    /// Refuses a resend; the connection goes on.
    ResendReject = 10, ToClient, Unsequenced, roles::ALL, block 32 {
        0 request_id: U64, "id", "Of the request.";
        8 oldest_report_seq: U64, "seq", "The oldest report that can be sent again.";
        16 next_report_seq: U64, "seq", "The next new report.";
        24 reason: U16, "Reason", "Why.";
        26 reserved0: U16, "", "Must be 0.";
        28 retry_after_ms: U32, "ms", "Earliest useful next attempt; 0 if waiting does not help.";
    }

    /// Stands for reports that are not sent again.
    GapFill = 11, ToClient, Unsequenced, roles::ALL, block 24 {
        0 from_seq: U64, "seq", "The first report that it stands for.";
        8 new_seq: U64, "seq", "The next report after it; a repeated gap fill changes nothing.";
        16 reason: U16, "Reason", "Why they are missing.";
        18 reserved0: U16, "", "Must be 0.";
        20 reserved1: U32, "", "Must be 0.";
    }

    /// Says which client frames the client skipped at logon: they had no effect and never will.
    NotApplied = 12, ToClient, Unsequenced, roles::ALL, block 16 {
        0 from_seq: U64, "seq", "The first skipped number.";
        8 count: U32, "frames", "How many.";
        12 reserved0: U32, "", "Must be 0.";
    }

    /// Ends the replay of a logon: what follows is live, and new orders pass.
    ReplayComplete = 13, ToClient, Unsequenced, roles::ALL, block 32 {
        0 last_seq: U64, "seq", "The last report that has been sent; 0 if there is none.";
        8 replayed: U64, "frames", "How many were replayed.";
        16 open_orders: U32, "orders", "Open orders of the session.";
        20 reserved0: U32, "", "Must be 0.";
        24 last_id_counter: U64, "number", "Greatest counter of the ClOrdIDs that orders of the session have had in its client epoch: a client goes on above it, so that one that has lost its memory gives none twice.";
    }

    /// Ends the session; the sender closes after it.
    Terminate = 14, Both, Unsequenced, roles::ALL, block 72 {
        0 last_seq: U64, "seq", "The last sequence number that the sender sent.";
        8 last_peer_seq: U64, "seq", "The last sequence number that the sender processed.";
        16 reason: U16, "Reason", "Why; a client that logs out says `Logout`.";
        18 cod_action: u8, "CodAction", "What happens to open orders; a client sends 0.";
        19 reserved0: u8, "", "Must be 0.";
        20 reconnect_ms: U32, "ms", "Earliest useful next connection; 0 if waiting does not help.";
        24 text: Text<48>, "text", "What was wrong, for people.";
    }

    /// Refuses one well-framed message; the connection goes on.
    SessionReject = 16, ToClient, Unsequenced, roles::ALL, block 64 {
        0 ref_seq: U64, "seq", "Header `seq` of the refused frame.";
        8 ref_template: U16, "template", "Template id of the refused frame.";
        10 reason: U16, "Reason", "Why.";
        12 ref_offset: U16, "bytes", "Offset of the offending byte from the start of the frame; 0 if none.";
        14 reserved0: U16, "", "Must be 0.";
        16 text: Text<48>, "text", "What was wrong, for people.";
    }
}
