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
pub(crate) fn sum(data: &[u8]) -> u64 {
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
    // By powers of two: of a loop the compiler makes one for long runs, which these never are.
    let (mut sum, mut rest) = (0, tail);
    while let Some((part, next)) = rest.split_first_chunk::<32>() {
        sum += words(part);
        rest = next;
    }
    if let Some((part, next)) = rest.split_first_chunk::<16>() {
        sum += words(part);
        rest = next;
    }
    if let Some((part, next)) = rest.split_first_chunk::<8>() {
        sum += words(part);
        rest = next;
    }
    if let Some((part, next)) = rest.split_first_chunk::<4>() {
        sum += words(part);
        rest = next;
    }
    let last = match *rest {
        [a] => u16::from_ne_bytes([a, 0]).into(),
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c] => u64::from(u16::from_ne_bytes([a, b])) + u64::from(u16::from_ne_bytes([c, 0])),
        _ => 0,
    };
    sum + last
}

/// The sum of a few 32-bit words.
#[inline(always)]
fn words<const N: usize>(bytes: &[u8; N]) -> u64 {
    bytes.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum()
}

/// Copies `from` to `to`, which is as long, and gives the bytes' [`sum`].
#[inline]
pub(crate) fn copied(to: &mut [u8], from: &[u8]) -> u64 {
    let length = to.len().min(from.len());
    // SAFETY: both are at least as long, and Rust vouches for them.
    unsafe { copy_and_sum(to.as_mut_ptr(), from.as_ptr(), length) }
}

/// Copies bytes and gives their `sum`; each is read once. That is for frames that others may write to meanwhile as well: what
/// is at `to` afterwards is then what was at `from` at one time or another, and the sum may be that of other bytes.
///
/// # Safety
/// `length` bytes can be read at `from` and written at `to`, where nobody else reads or writes meanwhile, and the two do not
/// overlap.
#[inline]
pub(crate) unsafe fn copy_and_sum(to: *mut u8, from: *const u8, length: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if length >= BLOCK && is_x86_feature_detected!("avx2") {
        // SAFETY: as the caller vouches; the processor has AVX2.
        return unsafe { copy_and_sum_avx2(to, from, length) };
    }
    // SAFETY: as the caller vouches.
    unsafe { copy_then_sum(to, from, length, sum) }
}

/// # Safety
/// As for [`copy_and_sum`].
#[inline]
unsafe fn copy_then_sum(to: *mut u8, from: *const u8, length: usize, sum: impl FnOnce(&[u8]) -> u64) -> u64 {
    // SAFETY: as the caller vouches.
    unsafe { std::ptr::copy_nonoverlapping(from, to, length) };
    // The compiler must not look up a byte at its source again in place of the copy. It cannot know what this does with the
    // pointer.
    let copy = std::hint::black_box(to.cast_const());
    // SAFETY: the bytes were just written, and nobody writes there meanwhile.
    sum(unsafe { std::slice::from_raw_parts(copy, length) })
}

/// In one pass, which the compiler does not make of a loop: it turns the copy into a call of `memcpy`.
///
/// # Safety
/// As for [`copy_and_sum`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn copy_and_sum_avx2(to: *mut u8, from: *const u8, length: usize) -> u64 {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi64, _mm256_and_si256, _mm256_loadu_si256, _mm256_set1_epi64x, _mm256_setzero_si256,
        _mm256_srli_epi64, _mm256_storeu_si256,
    };
    const STEP: usize = 32;
    /// From its end on backwards, masks of any number of first bytes.
    // An index that is wrong would not compile.
    #[allow(clippy::indexing_slicing)]
    static FIRST: [u8; 3 * STEP] = {
        let mut mask = [0; 3 * STEP];
        let mut at = STEP;
        while at < 2 * STEP {
            mask[at] = 0xff;
            at += 1;
        }
        mask
    };
    let low_half = _mm256_set1_epi64x(0xffff_ffff);
    let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    let mut add = |bytes: __m256i| {
        low = _mm256_add_epi64(low, _mm256_and_si256(bytes, low_half));
        high = _mm256_add_epi64(high, _mm256_srli_epi64::<32>(bytes));
    };
    let copy = |at: usize| {
        // SAFETY: the callers below see to it that `at + STEP` is at most `length`, so that both are within what the caller
        // vouches for; neither needs to be aligned.
        unsafe {
            let bytes = _mm256_loadu_si256(from.add(at).cast::<__m256i>());
            _mm256_storeu_si256(to.add(at).cast::<__m256i>(), bytes);
            bytes
        }
    };
    // A store that crosses a cache line costs a second one, so the steps begin where none does. What comes before, of which
    // the first step copies more, counts once; the words of the rest stay words if it is even.
    let mut at = to.align_offset(STEP);
    if at.is_multiple_of(2) && at < STEP && at > 0 && length >= STEP {
        // SAFETY: the mask's place is within the table, as `at` is less than STEP.
        let first = unsafe { _mm256_loadu_si256(FIRST.as_ptr().add(2 * STEP - at).cast::<__m256i>()) };
        add(_mm256_and_si256(copy(0), first));
    } else {
        at = 0;
    }
    while length - at >= 4 * STEP {
        let four = [copy(at), copy(at + STEP), copy(at + 2 * STEP), copy(at + 3 * STEP)];
        four.into_iter().for_each(&mut add);
        at += 4 * STEP;
    }
    while length - at >= STEP {
        add(copy(at));
        at += STEP;
    }
    let mut lanes = [0u64; 4];
    // SAFETY: the place is 32 bytes long and need not be aligned.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast::<__m256i>(), _mm256_add_epi64(low, high)) };
    let joined: u64 = lanes.iter().map(|lane| (lane & 0xffff_ffff) + (lane >> 32)).sum();
    // SAFETY: what is left of both, as the caller vouches.
    joined + unsafe { copy_then_sum(to.add(at), from.add(at), length - at, sum_tail) }
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
        let mut copy = vec![0xee; data.len() + 2];
        for at in 0..2 {
            // SAFETY: both are as long, and one is ours alone.
            let sum = unsafe { copy_and_sum(copy[at..].as_mut_ptr(), data.as_ptr(), data.len()) };
            assert_eq!((folded(sum), &copy[at..at + data.len()]), (expected, data));
        }
        assert_eq!(copy[data.len() + 1], 0xee, "nothing is written behind it");
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
