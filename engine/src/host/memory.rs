//! Memory that nobody uses any more, back to the system.

/// Has the C library give back what was freed. It keeps most of that for what is allocated next, and for good if nothing is:
/// a program that had a busy minute would look as large as then until it ends. Takes about as long as it takes to fill
/// the memory again, so it is for quiet times.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn trim() {
    // SAFETY: malloc_trim has no conditions; it takes the locks that it needs.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give back by themselves, or have no call for it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn trim() {}

/// Frees memory so that the system has it back, whatever the C library would keep of it: glibc never gives back the end of
/// the memory of a thread that is not the first one.
pub(crate) fn give_back(mut slab: Vec<u8>) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let start = slab.as_mut_ptr();
        let skip = start.align_offset(PAGE);
        let length = slab.capacity().saturating_sub(skip) / PAGE * PAGE;
        if length > 0 {
            // SAFETY: the pages lie within the slab's memory, which is about to be freed; its bytes are not looked at again. A
            // kernel with larger pages refuses what is not aligned to them, and nothing happens.
            unsafe { libc::madvise(start.add(skip).cast(), length, libc::MADV_DONTNEED) };
        }
    }
    slab.clear();
}
