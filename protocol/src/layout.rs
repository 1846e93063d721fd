//! How a message is declared, once, and what follows from the declaration.
//!
//! Owns the `layouts!` macro, the metadata types and the field types of the wire. Must not know any
//! message. Every multi-byte number is little-endian; every struct has alignment 1 and no padding,
//! so that a block is read in place from any buffer, while the declared offsets are naturally
//! aligned (16-byte numbers on 8) for readers in other languages.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The number types that blocks are made of: little-endian, alignment 1.
pub mod wire {
    pub use zerocopy::little_endian::{I64, I128, U16, U32, U64};
}
use wire::{I64, I128, U16, U32, U64};

/// Fixed-width text: ASCII, padded with NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// No text.
    pub const EMPTY: Self = Self([0; N]);

    /// The text, cut after `N` bytes; what is not printable ASCII becomes `?`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; N];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = if is_printable(from) { from } else { b'?' };
        }
        Self(bytes)
    }

    /// The text that these bytes are, with their padding.
    #[must_use]
    pub const fn of(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The text up to the first NUL; empty if it is not ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        if text.is_ascii() { core::str::from_utf8(text).unwrap_or_default() } else { "" }
    }

    /// The bytes with their padding: what keys are compared by.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> core::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> core::fmt::Display for Text<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

const fn is_printable(byte: u8) -> bool {
    byte >= b' ' && byte <= b'~'
}

/// True when `bytes` is printable ASCII followed by nothing but NUL.
#[must_use]
pub fn is_text(bytes: &[u8]) -> bool {
    let mut rest = bytes.iter().skip_while(|byte| is_printable(**byte));
    rest.all(|byte| *byte == 0)
}

/// How the bytes of a field are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits, little-endian.
    U16,
    /// Unsigned, 32 bits, little-endian.
    U32,
    /// Unsigned, 64 bits, little-endian.
    U64,
    /// Signed, 64 bits, little-endian, two's complement.
    I64,
    /// Signed, 128 bits, little-endian, two's complement.
    I128,
    /// ASCII, padded with NUL.
    Text,
    /// Opaque bytes.
    Bytes,
}

/// A type that a block may contain.
pub trait WireField {
    /// How its bytes are read.
    const TYPE: FieldType;
    /// Alignment of its offset within the block, bytes.
    const ALIGN: usize;
}

macro_rules! wire_fields {
    ($($ty:ty: $kind:ident, $align:literal;)*) => {$(
        impl WireField for $ty {
            const TYPE: FieldType = FieldType::$kind;
            const ALIGN: usize = $align;
        }
    )*};
}

wire_fields! {
    u8: U8, 1;
    U16: U16, 2;
    U32: U32, 4;
    U64: U64, 8;
    I64: I64, 8;
    I128: I128, 8;
}

impl<const N: usize> WireField for Text<N> {
    const TYPE: FieldType = FieldType::Text;
    const ALIGN: usize = 8;
}

impl<const N: usize> WireField for [u8; N] {
    const TYPE: FieldType = FieldType::Bytes;
    const ALIGN: usize = 8;
}

/// Who sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Client to server.
    ToServer,
    /// Server to client.
    ToClient,
    /// Either.
    Both,
}

/// Whether a message takes a number in its sender's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequencing {
    /// Always: `seq` counts from 1 without gaps.
    Sequenced,
    /// Never: `seq` is 0 and the message is not replayed.
    Unsequenced,
    /// A decision is sequenced; an answer to a query or a refusal has `seq` 0.
    Either,
}

/// One field of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// Name, as in the struct.
    pub name: &'static str,
    /// How its bytes are read.
    pub ty: FieldType,
    /// Offset from the start of the block, bytes.
    pub offset: u16,
    /// Length, bytes.
    pub len: u16,
    /// Unit, enum or flag list; empty for opaque values.
    pub unit: &'static str,
    /// Meaning and rule.
    pub doc: &'static str,
    /// Must be zero.
    pub reserved: bool,
}

/// A run of bytes that is checked before a frame is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Offset from the start of the block, bytes.
    pub offset: u16,
    /// Length, bytes; 0 ends the list.
    pub len: u16,
    /// True for text, false for reserved bytes.
    pub text: bool,
}

/// Checked runs that a message may have at most.
pub const CHECKS_MAX: usize = 4;

/// Everything that is declared about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageInfo {
    /// Template id, unique.
    pub template_id: u16,
    /// Name, as the struct.
    pub name: &'static str,
    /// What the message is for.
    pub doc: &'static str,
    /// Who sends it.
    pub direction: Direction,
    /// Whether it takes a sequence number.
    pub sequencing: Sequencing,
    /// Roles that may send it (or that it is sent to): bit `1 << Role::raw()` each.
    pub roles: u8,
    /// Length of the block in its first version, bytes, a multiple of 8.
    pub block_len: u16,
    /// The fields, in order, without holes.
    pub fields: &'static [FieldInfo],
    /// What is checked before the block is passed on.
    pub checks: [Check; CHECKS_MAX],
}

impl MessageInfo {
    /// True when the message may have a sequence number.
    #[must_use]
    pub const fn may_be_sequenced(&self) -> bool {
        !matches!(self.sequencing, Sequencing::Unsequenced)
    }

    /// The field of this name, if there is one.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static FieldInfo> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A block that can be read in place and written as it is.
pub trait Message: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned + Copy {
    /// What is declared about it.
    const INFO: &'static MessageInfo;
}

pub(crate) const fn is_reserved(name: &str) -> bool {
    matches!(name.as_bytes(), [b'r', b'e', b's', b'e', b'r', b'v', b'e', b'd', b'0'..=b'9'])
}

/// The checked runs of a message.
// Evaluated by the compiler: an index out of bounds is an error of the build.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub(crate) const fn checks_of(fields: &[FieldInfo]) -> [Check; CHECKS_MAX] {
    let mut checks = [Check { offset: 0, len: 0, text: false }; CHECKS_MAX];
    let (mut from, mut to) = (0, 0);
    while from < fields.len() {
        let FieldInfo { offset, len, reserved, ty, .. } = fields[from];
        let text = matches!(ty, FieldType::Text);
        if reserved || text {
            checks[to] = Check { offset, len, text };
            to += 1;
        }
        from += 1;
    }
    checks
}

/// Declares messages: struct, metadata, and compile-time proofs of size, offsets and alignment.
macro_rules! layouts {
    ($(#[$list_doc:meta])* $list:ident: $(
        $(#[doc = $doc:literal])*
        $name:ident = $id:literal, $direction:ident, $sequencing:ident, $roles:expr, block $size:literal {
            $($offset:literal $field:ident: $ty:ty, $unit:literal, $field_doc:literal;)*
        }
    )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(
                Clone, Copy, Debug, PartialEq, Eq,
                zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout,
                zerocopy::Immutable, zerocopy::Unaligned,
            )]
            #[repr(C)]
            pub struct $name {
                $(
                    #[doc = $field_doc]
                    #[doc = concat!("\n\nOffset ", $offset, "; unit: ", $unit, ".")]
                    pub $field: $ty,
                )*
            }

            impl $name {
                /// The template id, for use in patterns.
                pub const TEMPLATE_ID: u16 = $id;
                /// Length of a whole frame of this version, bytes.
                pub const FRAME_BYTES: usize = $crate::frame::HEADER_BYTES.wrapping_add($size);
                const FIELDS: &'static [$crate::layout::FieldInfo] = &[$($crate::layout::FieldInfo {
                    name: stringify!($field),
                    ty: <$ty as $crate::layout::WireField>::TYPE,
                    offset: $offset,
                    len: size_of::<$ty>() as u16,
                    unit: $unit,
                    doc: $field_doc,
                    reserved: $crate::layout::is_reserved(stringify!($field)),
                },)*];
            }

            impl $crate::layout::Message for $name {
                const INFO: &'static $crate::layout::MessageInfo = &$crate::layout::MessageInfo {
                    template_id: $id,
                    name: stringify!($name),
                    doc: concat!($($doc),*),
                    direction: $crate::layout::Direction::$direction,
                    sequencing: $crate::layout::Sequencing::$sequencing,
                    roles: $roles,
                    block_len: $size,
                    fields: Self::FIELDS,
                    checks: $crate::layout::checks_of(Self::FIELDS),
                };
            }

            impl Default for $name {
                /// All zero: never a valid message, since no enum has a value 0.
                fn default() -> Self {
                    zerocopy::FromZeros::new_zeroed()
                }
            }

            const _: () = {
                assert!(size_of::<$name>() == $size, "the block is as long as declared");
                assert!($size % 8 == 0, "a block is a multiple of 8 bytes");
                $(
                    assert!(core::mem::offset_of!($name, $field) == $offset, "a field lies where declared");
                    assert!(
                        ($offset as usize).is_multiple_of(<$ty as $crate::layout::WireField>::ALIGN),
                        "a field is naturally aligned"
                    );
                )*
            };
        )*

        $(#[$list_doc])*
        pub const $list: &[&$crate::layout::MessageInfo] = &[$(<$name as $crate::layout::Message>::INFO,)*];
    };
}
pub(crate) use layouts;
