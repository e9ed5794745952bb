//! Saved state (contract: version 4 of upstream's stream).

#![forbid(unsafe_code)]
