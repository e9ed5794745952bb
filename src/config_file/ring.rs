//! How long the files of a capture or a log may become, and how many there may be.

/// The least and the most bytes of a file.
pub(super) const MAX_BYTES: (u64, u64) = (1 << 20, u64::MAX);
/// The least and the most files.
pub(super) const FILES: (u32, u32) = (1, 64);

/// A number, if it is one of these.
///
/// # Errors
/// It is none: where it stands, and what is wrong with it.
pub(super) fn within<T: PartialOrd + Copy + std::fmt::Display + TryInto<u64>>(
    number: &toml::Spanned<T>,
    (least, most): (T, T),
) -> Result<T, (std::ops::Range<usize>, String)> {
    let value = *number.get_ref();
    if value < least || value > most {
        // A bound that nothing can pass is none for whoever reads this.
        let range = if most.try_into().is_ok_and(|most| most == u64::MAX) {
            format!("{least} or more")
        } else {
            format!("{least} to {most}")
        };
        return Err((number.span(), format!("{value} is not {range}")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_names_no_bound_that_is_none() {
        let said = |outcome: Result<u64, (std::ops::Range<usize>, String)>| outcome.unwrap_err().1;
        let number = |value| toml::Spanned::new(0..1, value);
        assert_eq!(said(within(&number(5), MAX_BYTES)), "5 is not 1048576 or more");
        assert_eq!(said(within(&number(65), (1, 64))), "65 is not 1 to 64");
        assert_eq!(within(&number(64), (1, 64)).unwrap(), 64);
    }
}
