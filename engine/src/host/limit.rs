//! Limits of the process.

/// How many descriptors it may have.
#[cfg(unix)]
pub(crate) fn descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the place is one for a limit, and is only written to.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    // Where the system does not tell there is no limit to be met. (Its type is not the same everywhere.)
    #[allow(clippy::unnecessary_cast)]
    if got == 0 { limit.rlim_cur as u64 } else { u64::MAX }
}

/// How many handles it may have: as many as there is memory for.
#[cfg(windows)]
pub(crate) fn descriptors() -> u64 {
    u64::MAX
}
