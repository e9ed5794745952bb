//! How much may pass: bytes a second each way, flows, new flows a second, and bytes in all; of everything, of each address of the guest,
//! and of the connections that a rule of the policy is about.
//!
//! ```
//! use oxislirp::limits::{Limit, Limits};
//! use oxislirp::{Config, Stack};
//!
//! // A megabyte a second down, and no address of the guest with more than a hundred flows.
//! let limits = Limits::new().whole(Limit::new().down(1_000_000)).each_guest(Limit::new().flows(100));
//! let stack = Stack::new(Config::builder().limits(limits).build()?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
// `limit` is what is wished for, `bucket` one rate, `pot` all that one of these may do, `ledger` all of them together, `words` what a person reads. The time is
// an argument. Nothing comes in of sockets, frames or rules: a rule is a number here, and who pays is an address. What becomes of a flow
// that has to wait, or may not begin, is its own affair.
#![forbid(unsafe_code)]

mod bucket;
mod ledger;
mod limit;
mod pot;
mod words;

pub(crate) use ledger::{Allowed, Ledger, Meter};
pub use limit::{Limit, Limits};
pub(crate) use pot::Way;
