//! Memory that nobody uses any more, back to the system.

/// Has the C library give back what was freed. It keeps most of that for what is allocated next, and for good if nothing is:
/// a program that had a busy minute would look as large as then until it ends. Takes about as long as it takes to fill
/// the memory again, so it is for quiet times.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    // SAFETY: malloc_trim has no conditions; it takes the locks that it needs.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give back by themselves, or have no call for it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
