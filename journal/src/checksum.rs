//! CRC-32C, for records of the lengths that there are.
//!
//! A record has some two hundred bytes. `crc-fast` is made for thousands: what it does around a short piece takes longer
//! than the piece, and its chain of `crc32` instructions waits three cycles for each eight bytes. Here three chains run
//! at once, and are brought together by one carry-less multiplication each. What is longer, and what runs on another
//! processor, is `crc-fast`'s.
//!
//! One of the files with `unsafe`: functions are called that need instructions which were asked for before.

/// CRC-32C of two pieces, one after the other.
#[must_use]
pub fn crc32c(first: &[u8], second: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if short::takes(first.len().max(second.len())) {
        // SAFETY: `takes` has asked whether the processor has what it needs.
        return unsafe { short::of_pieces(first, second) };
    }
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(first);
    digest.update(second);
    digest.finalize() as u32
}

/// CRC-32C of a record: of its segment's salt, its length, the three words behind its sum, and its payload.
#[must_use]
#[inline]
pub(crate) fn of_record(salt: u64, len: u32, words: [u64; 3], payload: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if short::takes(payload.len()) {
        let [seq, ts_ns, last] = words;
        // SAFETY: `takes` has asked whether the processor has what it needs.
        return unsafe { short::of_record(salt, len, seq, ts_ns, last, payload) };
    }
    let mut head = [0; 36];
    for (to, byte) in head.iter_mut().zip(
        salt.to_le_bytes().into_iter().chain(len.to_le_bytes()).chain(words.into_iter().flat_map(u64::to_le_bytes)),
    ) {
        *to = byte;
    }
    crc32c(&head, payload)
}

#[cfg(target_arch = "x86_64")]
mod short {
    use std::arch::x86_64::{
        _mm_clmulepi64_si128, _mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64, _mm_cvtsi64_si128, _mm_cvtsi128_si64,
    };

    /// Words of eight bytes in each of the three chains, at most.
    const CHAIN_WORDS_MAX: usize = 32;
    /// The longest piece that is taken.
    const BYTES_MAX: usize = 3 * 8 * CHAIN_WORDS_MAX + 7;
    /// The polynomial, lowest power in the highest bit.
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    /// What a sum is multiplied by to stand `n` words further on: x to the 64 n − 33, since the `crc32` of the product
    /// multiplies by x to the 33 itself.
    const SHIFTS: [u32; 2 * CHAIN_WORDS_MAX + 1] = shifts();

    #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
    const fn shifts() -> [u32; 2 * CHAIN_WORDS_MAX + 1] {
        let mut shifts = [0; 2 * CHAIN_WORDS_MAX + 1];
        // x to the 31; of no words there is none.
        let (mut power, mut words) = (1_u32, 1);
        while words < shifts.len() {
            shifts[words] = power;
            let mut bit = 0;
            while bit < 64 {
                power = (power >> 1) ^ (POLYNOMIAL & (power & 1).wrapping_neg());
                bit += 1;
            }
            words += 1;
        }
        shifts
    }

    /// True when pieces of up to `len` bytes may be summed here.
    pub(super) fn takes(len: usize) -> bool {
        len <= BYTES_MAX && is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("pclmulqdq")
    }

    #[target_feature(enable = "sse4.2,pclmulqdq")]
    pub(super) fn of_pieces(first: &[u8], second: &[u8]) -> u32 {
        !update(update(u32::MAX, first), second)
    }

    #[target_feature(enable = "sse4.2,pclmulqdq")]
    pub(super) fn of_record(salt: u64, len: u32, seq: u64, ts_ns: u64, last: u64, payload: &[u8]) -> u32 {
        let sum = _mm_crc32_u32(_mm_crc32_u64(u64::from(u32::MAX), salt) as u32, len);
        let sum = _mm_crc32_u64(_mm_crc32_u64(_mm_crc32_u64(u64::from(sum), seq), ts_ns), last);
        !update(sum as u32, payload)
    }

    /// The sum `sum`, neither end inverted, with `bytes` behind it.
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    fn update(sum: u32, bytes: &[u8]) -> u32 {
        let (words, tail) = bytes.as_chunks::<8>();
        let mut sum = u64::from(sum);
        let chain = words.len() / 3;
        let (one, rest) = words.split_at_checked(chain).unwrap_or_default();
        let (two, rest) = rest.split_at_checked(chain).unwrap_or_default();
        let (mut second, mut third) = (0, 0);
        for ((one, two), three) in one.iter().zip(two).zip(rest) {
            sum = _mm_crc32_u64(sum, u64::from_le_bytes(*one));
            second = _mm_crc32_u64(second, u64::from_le_bytes(*two));
            third = _mm_crc32_u64(third, u64::from_le_bytes(*three));
        }
        if chain > 0 {
            sum = _mm_crc32_u64(0, shifted(sum, chain.saturating_mul(2)) ^ shifted(second, chain)) ^ third;
        }
        for word in rest.get(chain..).unwrap_or_default() {
            sum = _mm_crc32_u64(sum, u64::from_le_bytes(*word));
        }
        tail.iter().fold(sum as u32, |sum, byte| _mm_crc32_u8(sum, *byte))
    }

    /// The product whose `crc32` is `sum` with `words` words of zeros behind it.
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    fn shifted(sum: u64, words: usize) -> u64 {
        let by = i64::from(SHIFTS.get(words).copied().unwrap_or_default());
        _mm_cvtsi128_si64(_mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(sum.cast_signed()), _mm_cvtsi64_si128(by)))
            .cast_unsigned()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn two_pieces_of_any_lengths_have_the_sum_of_an_independent_implementation() {
        let oracle = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
        let bytes: Vec<u8> = (0..1_700_u32).map(|nth| (nth.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for first in (0..=20).chain((21..=840).step_by(91)) {
            for second in 0..=840 {
                let (one, rest) = bytes.split_at(first);
                let two = rest.get(..second).unwrap();
                let whole = bytes.get(..first + second).unwrap();
                assert_eq!(crc32c(one, two), oracle.checksum(whole), "{first} and {second} bytes");
            }
        }
    }
}
