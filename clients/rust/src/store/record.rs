//! A record of the state file: `{kind u16, len u16, CRC-32C of these, CRC-32C of the payload, payload}`.

const HEADER_BYTES: usize = 12;

/// Bytes that were not written so.
pub(super) struct Damage;

/// A whole record.
pub(super) struct Record<'a> {
    pub(super) kind: u16,
    pub(super) payload: &'a [u8],
    /// What follows it.
    pub(super) next: &'a [u8],
}

/// The first record; `None` at the end, and for an end that is torn.
pub(super) fn next_record(bytes: &[u8]) -> Result<Option<Record<'_>>, Damage> {
    let Some((header, behind)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let [k0, k1, l0, l1, h0, h1, h2, h3, p0, p1, p2, p3] = *header;
    if crc_32c(&[k0, k1, l0, l1]) != u32::from_le_bytes([h0, h1, h2, h3]) {
        // A file system may leave zeros where the power failed before the bytes came.
        return if bytes.iter().all(|byte| *byte == 0) { Ok(None) } else { Err(Damage) };
    }
    let Some((payload, next)) = behind.split_at_checked(usize::from(u16::from_le_bytes([l0, l1]))) else {
        return Ok(None);
    };
    let is_whole = crc_32c(payload) == u32::from_le_bytes([p0, p1, p2, p3]);
    if is_whole { Ok(Some(Record { kind: u16::from_le_bytes([k0, k1]), payload, next })) } else { Err(Damage) }
}

fn crc_32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// The bytes of a record.
pub(super) fn record(kind: u16, payload: &[u8]) -> Vec<u8> {
    // A request's block is the longest payload, and has less than 256 bytes.
    let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut bytes = [kind.to_le_bytes(), len.to_le_bytes()].concat();
    bytes.extend_from_slice(&crc_32c(&bytes).to_le_bytes());
    bytes.extend_from_slice(&crc_32c(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
