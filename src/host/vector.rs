//! Sums over many bytes with the vector registers that the processor has. Knows nothing but bytes, so that `wire`, the
//! lowest floor, may use it.
//!
//! The loop is plain Rust that the compiler turns into vector instructions. It is compiled once for what every processor of
//! the architecture has (SSE2 on x86-64, NEON on AArch64, else 64-bit registers) and once more for AVX2, which is chosen
//! when the program runs. (For AVX-512 the compiler makes a loop that is several times slower.)

/// Bytes the inner loop takes per step: two 32-byte or four 16-byte registers.
const BLOCK: usize = 64;

/// The lanes of the loop. Each takes 32-bit words, so it cannot overflow before 2^32 blocks, which is 256 GiB.
type Lanes = [u64; BLOCK / 4];

/// The sum of all 16-bit words in the machine's byte order, an odd last byte padded with a zero, folded so far that sums
/// of some thousand runs can be added.
#[inline]
pub fn sum(data: &[u8]) -> u64 {
    // Headers are shorter than a block; for them the lanes would cost more than the sum.
    if data.len() < BLOCK {
        return sum_tail(data);
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, which is all that the function asks for.
        return unsafe { sum_avx2(data) };
    }
    sum_everywhere(data)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(data: &[u8]) -> u64 {
    sum_blocks(data)
}

fn sum_everywhere(data: &[u8]) -> u64 {
    sum_blocks(data)
}

#[inline(always)]
fn sum_blocks(data: &[u8]) -> u64 {
    let (blocks, tail) = data.as_chunks::<BLOCK>();
    let mut lanes: Lanes = [0; BLOCK / 4];
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let joined: u64 = lanes.iter().map(|lane| (lane & 0xffff_ffff) + (lane >> 32)).sum();
    joined + sum_tail(tail)
}

/// Sums what is left after the last whole block.
#[inline(always)]
fn sum_tail(tail: &[u8]) -> u64 {
    let (words, rest) = tail.as_chunks::<4>();
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let last = match *rest {
        [a] => u16::from_ne_bytes([a, 0]).into(),
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c] => u64::from(u16::from_ne_bytes([a, b])) + u64::from(u16::from_ne_bytes([c, 0])),
        _ => 0,
    };
    sum + last
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Word by word, as RFC 1071 has it, in one's complement of 16 bits.
    fn naive(data: &[u8]) -> u16 {
        data.chunks(2).fold(0u16, |sum, pair| {
            let word = u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            let (sum, carry) = sum.overflowing_add(word);
            sum + u16::from(carry)
        })
    }

    fn folded(mut sum: u64) -> u16 {
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    fn check(data: &[u8]) {
        let expected = naive(data);
        assert_eq!(folded(sum(data)), expected, "{} bytes", data.len());
        assert_eq!(folded(sum_everywhere(data)), expected, "{} bytes", data.len());
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            assert_eq!(folded(unsafe { sum_avx2(data) }), expected, "{} bytes with AVX2", data.len());
        }
    }

    #[test]
    fn every_way_agrees_with_the_plain_sum_at_every_length_and_alignment() {
        let mut state = 1u32;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(64 + 4 * BLOCK)
        .collect();
        for start in 0..64 {
            for length in 0..=4 * BLOCK {
                check(&bytes[start..start + length]);
            }
        }
    }

    #[test]
    fn long_runs_of_ones_do_not_overflow() {
        for length in [65_535, 65_536, 1 << 20] {
            check(&vec![0xff; length]);
        }
    }
}
