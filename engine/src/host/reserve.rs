//! Descriptors kept back for the moment at which the process has no other one left.
//!
//! A socket that is given up closes only once the application was told of it, which is too late for whoever found no
//! descriptor. Those kept here go in its place: what met the limit has its descriptor at once, and what is given up for it
//! pays the reserve back.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use super::fault::Fault;
use super::owned::Owned;

/// Descriptors kept back: what the largest undertaking takes at one time, the start of a command.
const KEPT: usize = 4;
/// Whoever finds the reserve empty, although it was paid back, has others to thank who take what is given up. Only each
/// so many of those are reported.
const IN_VAIN: u32 = 16;

/// The descriptors kept back, and what became of them.
#[derive(Debug)]
pub(crate) struct Reserve {
    kept: Vec<Owned<OwnedFd>>,
    /// The limit was met, and this was not reported yet.
    met: bool,
    /// Something was given up that closes soon.
    paid: bool,
    /// How often in a row the reserve was of no help.
    in_vain: u32,
}

impl Default for Reserve {
    fn default() -> Reserve {
        let mut reserve = Reserve { kept: Vec::with_capacity(KEPT), met: false, paid: false, in_vain: 0 };
        reserve.refill();
        reserve
    }
}

fn lacks_descriptors(error: &io::Error) -> bool {
    Fault::of(error) == Fault::Descriptors
}

impl Reserve {
    /// Makes what takes one descriptor or a few, in the place of some that were kept when there are no others.
    ///
    /// # Errors
    /// What `make` said at last.
    pub(crate) fn spend<T>(&mut self, mut make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.refill();
        let mut result = make();
        if result.as_ref().is_err_and(lacks_descriptors) {
            self.in_vain = if self.kept.is_empty() { self.in_vain.wrapping_add(1) } else { 0 };
            self.met |= self.in_vain == 0 || self.in_vain % IN_VAIN == 1;
            while result.as_ref().is_err_and(lacks_descriptors) && self.kept.pop().is_some() {
                result = make();
            }
        }
        result
    }

    /// Whether the limit was met since this was last asked, so that something should be given up.
    #[inline]
    pub(crate) fn was_met(&mut self) -> bool {
        std::mem::take(&mut self.met)
    }

    /// Descriptors were given up, which close as soon as the application was told.
    pub(crate) fn pay_back(&mut self) {
        self.paid = true;
    }

    /// The application was told of all that was given up: before others take what is free now, the reserve does.
    #[inline]
    pub(crate) fn take_back(&mut self) {
        if std::mem::take(&mut self.paid) {
            self.refill();
        }
    }

    fn refill(&mut self) {
        while self.kept.len() < KEPT {
            let one = match self.kept.first() {
                Some(first) => first.try_clone(),
                None => UnixDatagram::unbound().map(OwnedFd::from),
            };
            let Ok(one) = one else { return };
            self.kept.push(Owned::new(one));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lack<T>() -> io::Result<T> {
        Err(io::Error::from_raw_os_error(libc::EMFILE))
    }

    #[test]
    fn what_meets_the_limit_has_as_many_as_it_needs() {
        let mut reserve = Reserve::default();
        assert!(reserve.spend(|| Ok(1)).is_ok_and(|one| one == 1) && !reserve.was_met());
        let mut tries = 0;
        let made = reserve.spend(|| {
            tries += 1;
            if tries <= 2 { lack() } else { Ok(tries) }
        });
        assert_eq!((made.ok(), reserve.kept.len()), (Some(3), KEPT - 2));
        assert!(reserve.was_met() && !reserve.was_met());
        // Other errors cost nothing.
        let refused = reserve.spend(|| Err::<(), _>(io::Error::from_raw_os_error(libc::EACCES)));
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EACCES));
        assert_eq!((reserve.kept.len(), reserve.was_met()), (KEPT, false));
    }
}
