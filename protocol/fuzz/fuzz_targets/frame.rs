//! Any bytes: framing ends, stays within the buffer, and what passes the checks can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tradecore_protocol::next_frame;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some(frame)) = next_frame(rest) {
        if let Ok(info) = frame.check() {
            assert!(frame.block.len() >= usize::from(info.block_len));
            for group in frame.groups() {
                assert!(group.entries.len().is_multiple_of(usize::from(group.entry_len)));
            }
        }
        rest = &rest[frame.bytes.len()..];
    }
    // Delivery byte by byte finds the same first frame.
    let first = next_frame(bytes).ok().flatten().map(|frame| frame.bytes.len());
    let pieces = (0..=bytes.len()).find_map(|len| next_frame(&bytes[..len]).ok().flatten());
    assert_eq!(first, pieces.map(|frame| frame.bytes.len()));
});
