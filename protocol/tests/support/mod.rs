//! Sample blocks and their JSON form, made from the catalogue alone.

use serde_json::{Map, Value, json};
use tradecore_protocol::frame::{HEADER_BYTES, Header};
use tradecore_protocol::layout::{FieldInfo, FieldType, MessageInfo, Sequencing};
use tradecore_protocol::messages::MAGIC;

/// Greatest integer that every JSON reader keeps exact.
const JSON_EXACT_MAX: i128 = 1 << 53;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "whole bytes");
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).expect("hex")).collect()
}

/// A sample value that says something about the field's unit.
pub fn sample_value(info: &MessageInfo, field: &FieldInfo) -> Value {
    let offset = i128::from(field.offset);
    if field.reserved {
        return json!(0);
    }
    let number = match (field.ty, field.unit) {
        (FieldType::Text, _) => {
            let text: String = field.name.chars().take(usize::from(field.len)).collect();
            return json!(text);
        }
        (FieldType::Bytes, _) => {
            let bytes: Vec<u8> = (0..field.len).map(|i| (i + field.offset + info.template_id) as u8).collect();
            return json!(hex(&bytes));
        }
        (_, "constant") => i128::from(MAGIC),
        (FieldType::U8, _) => 1,
        (FieldType::I128, "10⁻¹⁸") => -(1_000_000_000_000_000_000 * (1_000 + offset)) - 1,
        (_, "10⁻⁹") => 101_250_000_000 + offset * 10_000_000,
        (_, "ns UTC") => 1_767_225_600_000_000_000 + offset,
        (_, "Reason") => 120,
        (_, "FNV-1a") => -1 + (1 << 64),
        (FieldType::U16, "template") => 100,
        (FieldType::U64, "id") => (1 << 48) + 1_000 + offset,
        _ => 1 + offset,
    };
    integer(number)
}

fn integer(number: i128) -> Value {
    if number.abs() <= JSON_EXACT_MAX { json!(number as i64) } else { json!(number.to_string()) }
}

pub fn sample_fields(info: &MessageInfo) -> Map<String, Value> {
    let all = info.fields.iter().map(|field| (field.name.to_owned(), sample_value(info, field)));
    all.collect()
}

pub fn sample_header(info: &MessageInfo) -> Header {
    let is_sequenced = info.sequencing != Sequencing::Unsequenced;
    Header {
        frame_len: info.block_len + HEADER_BYTES as u16,
        template_id: info.template_id,
        block_len: info.block_len,
        version: 1,
        flags: 0,
        seq: if is_sequenced { 7 } else { 0 },
        ack_seq: 41,
        send_ts_ns: 1_767_225_600_000_000_000,
    }
}

pub fn header_json(header: &Header) -> Value {
    json!({
        "frame_len": header.frame_len, "template_id": header.template_id, "block_len": header.block_len,
        "version": header.version, "flags": header.flags, "seq": header.seq, "ack_seq": header.ack_seq,
        "send_ts_ns": header.send_ts_ns.to_string(),
    })
}

pub fn header_bytes(header: &Header) -> Vec<u8> {
    let mut bytes = vec![];
    bytes.extend(header.frame_len.to_le_bytes());
    bytes.extend(header.template_id.to_le_bytes());
    bytes.extend(header.block_len.to_le_bytes());
    bytes.extend([header.version, header.flags]);
    bytes.extend(header.seq.to_le_bytes());
    bytes.extend(header.ack_seq.to_le_bytes());
    bytes.extend(header.send_ts_ns.to_le_bytes());
    bytes
}

fn number_of(value: &Value) -> i128 {
    match value {
        Value::String(text) => text.parse().expect("an integer in a string"),
        other => i128::from(other.as_i64().expect("an integer")),
    }
}

/// Writes a block by the metadata alone.
pub fn block_from_json(info: &MessageInfo, fields: &Map<String, Value>) -> Vec<u8> {
    let mut block = vec![];
    for field in info.fields {
        assert_eq!(block.len(), usize::from(field.offset), "{}.{}: no holes", info.name, field.name);
        let value = &fields[field.name];
        match field.ty {
            FieldType::Text => {
                let mut bytes = value.as_str().expect("text").as_bytes().to_vec();
                bytes.resize(usize::from(field.len), 0);
                block.extend(bytes);
            }
            FieldType::Bytes => block.extend(unhex(value.as_str().expect("hex"))),
            FieldType::U8 | FieldType::U16 | FieldType::U32 | FieldType::U64 | FieldType::I64 | FieldType::I128 => {
                block.extend(&number_of(value).to_le_bytes()[..usize::from(field.len)]);
            }
        }
    }
    assert_eq!(block.len(), usize::from(info.block_len), "{}", info.name);
    block
}

/// Reads a block by the metadata alone.
pub fn block_to_json(info: &MessageInfo, block: &[u8]) -> Map<String, Value> {
    let read = |field: &FieldInfo| {
        let bytes = &block[usize::from(field.offset)..][..usize::from(field.len)];
        let is_signed = matches!(field.ty, FieldType::I64 | FieldType::I128);
        let fill = if is_signed && bytes[bytes.len() - 1] >= 0x80 { 0xff } else { 0 };
        match field.ty {
            FieldType::Text => {
                let text: Vec<u8> = bytes.iter().copied().take_while(|byte| *byte != 0).collect();
                json!(String::from_utf8(text).expect("ASCII"))
            }
            FieldType::Bytes => json!(hex(bytes)),
            FieldType::U8 | FieldType::U16 | FieldType::U32 | FieldType::U64 | FieldType::I64 | FieldType::I128 => {
                let mut wide = [fill; 16];
                wide[..bytes.len()].copy_from_slice(bytes);
                integer(i128::from_le_bytes(wide))
            }
        }
    };
    info.fields.iter().map(|field| (field.name.to_owned(), read(field))).collect()
}

pub fn sample_frame(info: &MessageInfo) -> Vec<u8> {
    let mut bytes = header_bytes(&sample_header(info));
    bytes.extend(block_from_json(info, &sample_fields(info)));
    bytes
}
