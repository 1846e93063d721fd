//! Reads captured WebSocket streams: one line a message, gzip or plain.
//!
//! A line is the receive time in nanoseconds, one space, and the message as received. Messages without
//! `stream` (a depth snapshot) and streams other than `bookTicker` and `trade` are skipped and counted; a
//! last line that was cut off ends the capture and is counted.

use super::decimal::{DecimalError, parse_px, parse_qty};
use super::{Quote, Tick, TickKind, TradePrint};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest line that is read, bytes; the real ones stay below 100 KB.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// First two bytes of a gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Why a capture could not be read on; the caller stops playing it.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file could not be opened or read.
    #[error("capture {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line in the middle is not a capture line.
    #[error("capture {path} line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What was wrong.
        reason: LineError,
    },
}

/// Why a line was refused.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// No receive time, or no message after it.
    #[error("expected `<receive time in ns> <json>`")]
    Shape,
    /// Longer than any message may be.
    #[error("longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// The message is not the JSON that its stream promises.
    #[error("message: {0}")]
    Json(#[from] serde_json::Error),
    /// A price or quantity that is not exact in units of 10⁻⁹.
    #[error("number: {0}")]
    Number(#[from] DecimalError),
}

/// What a reader has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    /// Lines read, whole ones.
    pub lines: u64,
    /// Best bid/ask updates.
    pub quotes: u64,
    /// Trades.
    pub trades: u64,
    /// Messages of streams that are not used.
    pub skipped: u64,
    /// Messages without a stream.
    pub snapshots: u64,
    /// 1 when the last line was cut off.
    pub cut: u64,
}

#[derive(Deserialize)]
struct StreamName<'a> {
    #[serde(borrow)]
    stream: Option<&'a str>,
}

#[derive(Deserialize)]
struct Envelope<D> {
    data: D,
}

#[derive(Deserialize)]
struct BookTicker<'a> {
    u: u64,
    s: &'a str,
    b: &'a str,
    #[serde(rename = "B")]
    bid_qty: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_qty: &'a str,
}

#[derive(Deserialize)]
struct TradeMessage<'a> {
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    #[serde(rename = "T")]
    trade_ts_ms: u64,
    m: bool,
}

/// A streaming reader: an iterator of ticks in file order.
pub struct CaptureReader {
    input: Box<dyn BufRead + Send>,
    path: PathBuf,
    line: String,
    symbols: BTreeMap<String, Arc<str>>,
    counts: CaptureCounts,
    ended: bool,
}

impl CaptureReader {
    /// Opens `path`, gzip or plain by its first two bytes.
    ///
    /// # Errors
    /// `CaptureError::Io` when the file cannot be read.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let io_error = |source| CaptureError::Io { path: path.to_path_buf(), source };
        let mut file = BufReader::with_capacity(64 * 1024, File::open(path).map_err(io_error)?);
        let gzip = file.fill_buf().map_err(io_error)?.starts_with(&GZIP_MAGIC);
        let input: Box<dyn BufRead + Send> =
            if gzip { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) };
        Ok(Self::new(input, path))
    }

    /// Reads plain capture text from `input`; `path` names it in errors.
    #[must_use]
    pub fn new(input: Box<dyn BufRead + Send>, path: &Path) -> Self {
        Self {
            input,
            path: path.to_path_buf(),
            line: String::new(),
            symbols: BTreeMap::new(),
            counts: CaptureCounts::default(),
            ended: false,
        }
    }

    /// What has been read so far.
    #[must_use]
    pub fn counts(&self) -> CaptureCounts {
        self.counts
    }

    fn read_line(&mut self) -> Result<bool, CaptureError> {
        self.line.clear();
        let read = (&mut self.input).take(LINE_BYTES_MAX).read_line(&mut self.line);
        match read {
            Ok(count) => Ok(count > 0),
            // A capture that was still being written ends inside a gzip block.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(!self.line.is_empty()),
            Err(source) => Err(CaptureError::Io { path: self.path.clone(), source }),
        }
    }

    fn next_tick(&mut self) -> Result<Option<Tick>, CaptureError> {
        while self.read_line()? {
            let whole = self.line.ends_with('\n');
            let parsed = parse_line(&self.line, &mut self.symbols, &mut self.counts);
            match parsed {
                Ok(tick) => {
                    self.counts.lines = self.counts.lines.saturating_add(1);
                    if let Some(tick) = tick {
                        return Ok(Some(tick));
                    }
                }
                Err(_) if !whole && (self.line.len() as u64) < LINE_BYTES_MAX => {
                    self.counts.cut = 1;
                    return Ok(None);
                }
                Err(reason) => {
                    let reason = if whole { reason } else { LineError::TooLong };
                    let line = self.counts.lines.saturating_add(1);
                    return Err(CaptureError::Line { path: self.path.clone(), line, reason });
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for CaptureReader {
    type Item = Result<Tick, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_tick().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

fn parse_line(
    line: &str,
    symbols: &mut BTreeMap<String, Arc<str>>,
    counts: &mut CaptureCounts,
) -> Result<Option<Tick>, LineError> {
    let (time, message) = line.trim_end().split_once(' ').ok_or(LineError::Shape)?;
    let recv_ns: u64 = time.parse().map_err(|_| LineError::Shape)?;
    let name: StreamName<'_> = serde_json::from_str(message)?;
    let Some(stream) = name.stream else {
        counts.snapshots = counts.snapshots.saturating_add(1);
        return Ok(None);
    };
    let channel = stream.split_once('@').map_or("", |(_, channel)| channel);
    let mut intern = |symbol: &str| -> Arc<str> {
        if let Some(known) = symbols.get(symbol) {
            return Arc::clone(known);
        }
        let fresh: Arc<str> = Arc::from(symbol);
        symbols.insert(symbol.to_owned(), Arc::clone(&fresh));
        fresh
    };
    let (symbol, kind) = match channel {
        "bookTicker" => {
            let m = serde_json::from_str::<Envelope<BookTicker<'_>>>(message)?.data;
            let quote = Quote {
                bid_px: parse_px(m.b)?,
                bid_qty: parse_qty(m.bid_qty)?,
                ask_px: parse_px(m.a)?,
                ask_qty: parse_qty(m.ask_qty)?,
                update_id: m.u,
            };
            counts.quotes = counts.quotes.saturating_add(1);
            (intern(m.s), TickKind::Quote(quote))
        }
        "trade" => {
            let m = serde_json::from_str::<Envelope<TradeMessage<'_>>>(message)?.data;
            let print = TradePrint {
                px: parse_px(m.p)?,
                qty: parse_qty(m.q)?,
                trade_id: m.t,
                buyer_is_maker: m.m,
                trade_ts_ms: m.trade_ts_ms,
            };
            counts.trades = counts.trades.saturating_add(1);
            (intern(m.s), TickKind::Trade(print))
        }
        _ => {
            counts.skipped = counts.skipped.saturating_add(1);
            return Ok(None);
        }
    };
    Ok(Some(Tick { recv_ns, symbol, kind }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use tradecore_protocol::fields::Px;

    const QUOTE: &str =
        r#"5 {"stream":"btcusdt@bookTicker","data":{"u":7,"s":"BTCUSDT","b":"1.50","B":"2","a":"1.6","A":"3"}}"#;
    const TRADE: &str = r#"6 {"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":9,"p":"1.5","q":"0.1","T":4,"m":true,"M":true}}"#;
    const DEPTH: &str = r#"4 {"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","b":[["1","2"]]}}"#;
    const SNAPSHOT: &str = r#"4 {"lastUpdateId":3,"bids":[["1","2"]],"asks":[]}"#;

    fn read(text: &str) -> (Vec<Result<Tick, String>>, CaptureCounts) {
        let mut reader = CaptureReader::new(Box::new(Cursor::new(text.to_owned())), Path::new("test"));
        let ticks = reader.by_ref().map(|t| t.map_err(|e| e.to_string())).collect();
        (ticks, reader.counts())
    }

    #[test]
    fn quotes_and_trades_are_read_and_the_rest_is_counted() {
        let (ticks, counts) = read(&format!("{DEPTH}\n{SNAPSHOT}\n{QUOTE}\n{TRADE}\n"));
        assert_eq!(ticks.len(), 2);
        let quote = ticks[0].as_ref().unwrap();
        assert_eq!((quote.recv_ns, &*quote.symbol), (5, "BTCUSDT"));
        assert!(matches!(quote.kind, TickKind::Quote(q) if q.bid_px == Px(1_500_000_000) && q.update_id == 7));
        assert!(
            matches!(ticks[1].as_ref().unwrap().kind, TickKind::Trade(t) if t.buyer_is_maker && t.trade_ts_ms == 4)
        );
        let expected = CaptureCounts { lines: 4, quotes: 1, trades: 1, skipped: 1, snapshots: 1, cut: 0 };
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_last_line_cut_anywhere_ends_the_capture_without_error() {
        for cut in 1..TRADE.len() {
            let (ticks, counts) = read(&format!("{QUOTE}\n{}", &TRADE[..cut]));
            assert_eq!((ticks.len(), counts.cut), (1, 1), "cut at {cut}");
        }
    }

    #[test]
    fn a_bad_line_in_the_middle_is_an_error_that_names_the_line() {
        let bad = QUOTE.replace("1.50", "0.0000000001");
        let (ticks, _) = read(&format!("{TRADE}\n{bad}\n{TRADE}\n"));
        assert_eq!(ticks.len(), 2, "nothing after the error");
        assert_eq!(
            ticks[1].as_ref().unwrap_err(),
            "capture test line 2: number: more decimal places than the unit has"
        );
    }
}
