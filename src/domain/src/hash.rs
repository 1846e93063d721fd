//! The same number on every machine and in every run: FNV-1a for bytes, one multiplication a number.

/// A running hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Fnv {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    pub(crate) fn number(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }

    /// The entries of a table that are not empty, each with its place.
    pub(crate) fn table<T: Default + PartialEq + core::fmt::Debug>(&mut self, table: &[T]) {
        let empty = T::default();
        self.list(table.iter().zip(0_u32..).filter(|(entry, _)| **entry != empty));
    }

    /// Entries in their order.
    pub(crate) fn list(&mut self, entries: impl Iterator<Item = impl core::fmt::Debug>) {
        entries.for_each(|entry| self.debug(&entry));
        self.number(u64::MAX);
    }

    /// Places in their order.
    pub(crate) fn places<'a>(&mut self, places: impl Iterator<Item = &'a u32>) {
        places.for_each(|place| self.number(u64::from(*place)));
        self.number(u64::MAX);
    }

    fn debug(&mut self, value: &impl core::fmt::Debug) {
        let written = core::fmt::write(self, format_args!("{value:?}"));
        debug_assert!(written.is_ok(), "a hash takes everything");
    }

    pub(crate) const fn finish(self) -> u64 {
        self.0
    }
}

impl core::fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}
