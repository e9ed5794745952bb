//! Tokens of 64 bits in a poller whose own have as many as a pointer.
//!
//! The lower half of a token says which slot of which table, the upper one which flow in that slot (`flow/token.rs`). Where a
//! pointer has 32 bits the poller is told the lower half, and the upper one that it stands for is kept here: of the last flow
//! in each slot, so that there are no more than slots. News of a flow that has ended reaches the next one in its slot then, which
//! finds, as with any news, that there is nothing to read.

use mio::Token;

/// With 64 bits nothing need be kept.
#[cfg(target_pointer_width = "64")]
#[derive(Debug, Default)]
pub(super) struct Names(());

#[cfg(target_pointer_width = "64")]
impl Names {
    pub(super) fn name(&self, token: u64) -> Token {
        Token(token as usize)
    }

    pub(super) fn token(&self, name: Token) -> u64 {
        name.0 as u64
    }
}

#[cfg(not(target_pointer_width = "64"))]
pub(super) use halves::Halves as Names;

#[cfg(any(test, not(target_pointer_width = "64")))]
mod halves {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use super::Token;

    #[derive(Debug, Default)]
    pub(in crate::host) struct Halves(RefCell<HashMap<u32, u32>>);

    impl Halves {
        pub(in crate::host) fn name(&self, token: u64) -> Token {
            let (upper, lower) = ((token >> 32) as u32, token as u32);
            self.0.borrow_mut().insert(lower, upper);
            Token(lower as usize)
        }

        /// The token that was last given this name; where there was none, one that names nobody.
        pub(in crate::host) fn token(&self, name: Token) -> u64 {
            let lower = name.0 as u32;
            let upper = self.0.borrow().get(&lower).copied().unwrap_or_default();
            u64::from(upper) << 32 | u64::from(lower)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::halves::Halves;
    use super::*;

    #[test]
    fn a_token_comes_back_whole_and_a_slot_keeps_its_last() {
        let (halves, names) = (Halves::default(), Names::default());
        for token in [0x1_0000_0001, 0xffff_fffd_2000_0001, 1 << 30, 0x3_0000_0001] {
            assert_eq!(halves.token(halves.name(token)), token);
            assert_eq!(names.token(names.name(token)), token);
            assert!(u32::try_from(halves.name(token).0).is_ok());
        }
        // The first one had the slot of the last.
        assert_eq!(halves.token(Token(1)), 0x3_0000_0001);
        assert_eq!(halves.token(Token(7)), 7);
    }
}
