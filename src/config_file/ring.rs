//! How long the files of a capture or a log may become, and how many there may be.

/// The least and the most bytes of a file.
pub(super) const MAX_BYTES: (u64, u64) = (1 << 20, u64::MAX);
/// The least and the most files.
pub(super) const FILES: (u32, u32) = (1, 64);

/// A number, if it is one of these.
///
/// # Errors
/// It is none: where it stands, and what is wrong with it.
pub(super) fn within<T: PartialOrd + Copy + std::fmt::Display>(
    number: &toml::Spanned<T>,
    (least, most): (T, T),
) -> Result<T, (std::ops::Range<usize>, String)> {
    let value = *number.get_ref();
    if value < least || value > most {
        return Err((number.span(), format!("{value} is not {least} to {most}")));
    }
    Ok(value)
}
