//! The info texts. Reads the stack, changes nothing.

#![forbid(unsafe_code)]
