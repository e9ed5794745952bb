//! The processor's own counter, which tells in a few nanoseconds whether something happened only just now. It is no
//! clock: what the time is, the application says.

/// The counter now; `None` where none is known that a program may read.
#[cfg(target_arch = "x86_64")]
pub(super) fn ticks() -> Option<u64> {
    // SAFETY: every x86-64 processor has this instruction. A program that may not use it may not ask the kernel's clock
    // through the vDSO either, as the application does.
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}

/// The counter now; `None` where none is known that a program may read.
#[cfg(all(target_arch = "aarch64", target_os = "linux"))]
pub(super) fn ticks() -> Option<u64> {
    let ticks: u64;
    // SAFETY: Linux lets programs read this register, which the vDSO's clock is made of; nothing else is touched.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags)) };
    Some(ticks)
}

/// The counter now; `None` where none is known that a program may read.
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_os = "linux"))))]
pub(super) fn ticks() -> Option<u64> {
    None
}

/// Ticks that take less than half a millisecond on every processor: 20 to 125 µs at 5 to 0.8 GHz.
#[cfg(target_arch = "x86_64")]
pub(super) const JUST_NOW: u64 = 100_000;
/// Ticks that take less than half a millisecond on every processor: ARM's timer counts at 1 MHz to 1 GHz, mostly at 24 or
/// 54 MHz.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const JUST_NOW: u64 = 400;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn half_a_millisecond_is_not_just_now() {
        let Some(before) = ticks() else { return };
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(500) {}
        assert!(ticks().is_some_and(|after| after.wrapping_sub(before) > JUST_NOW));
    }
}
