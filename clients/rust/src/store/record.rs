//! A record of the state file: `{kind u16, len u16, CRC-32C of these, CRC-32C of the payload, payload}`.

const HEADER_BYTES: usize = 12;

/// Bytes that were not written so.
pub(super) struct Damage;

/// A whole record.
pub(super) struct Record<'a> {
    pub(super) kind: u16,
    pub(super) payload: &'a [u8],
    /// Where the next one begins.
    pub(super) next_offset: usize,
}

/// Disks write no less: a file that lost its end with the power has zeros from such an offset on.
const SECTOR_BYTES: usize = 512;

/// The record at an offset in the file; `None` at the end, and for an end that is torn.
pub(super) fn next_record(file: &[u8], offset: usize) -> Result<Option<Record<'_>>, Damage> {
    let bytes = file.get(offset..).unwrap_or_default();
    let torn_or_damaged = |record_bytes: usize| {
        // Zeros from the record's first byte on, or from the first sector that begins within it.
        let sector = offset.next_multiple_of(SECTOR_BYTES);
        let zeros_from = if sector < offset.saturating_add(record_bytes) { sector } else { offset };
        let is_torn = file.iter().skip(zeros_from).all(|byte| *byte == 0);
        if is_torn { Ok(None) } else { Err(Damage) }
    };
    let Some((header, behind)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let [k0, k1, l0, l1, h0, h1, h2, h3, p0, p1, p2, p3] = *header;
    if crc_32c(&[k0, k1, l0, l1]) != u32::from_le_bytes([h0, h1, h2, h3]) {
        return torn_or_damaged(HEADER_BYTES);
    }
    let Some(payload) = behind.get(..usize::from(u16::from_le_bytes([l0, l1]))) else { return Ok(None) };
    let record_bytes = HEADER_BYTES.saturating_add(payload.len());
    let is_whole = crc_32c(payload) == u32::from_le_bytes([p0, p1, p2, p3]);
    if !is_whole {
        return torn_or_damaged(record_bytes);
    }
    let next_offset = offset.saturating_add(record_bytes);
    Ok(Some(Record { kind: u16::from_le_bytes([k0, k1]), payload, next_offset }))
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
