//! Host forwards: sockets of the host that lead to the guest. `host` is what a program says of one, `listener` the table of
//! those that accept connections; `check` judges a forward of either direction, and `error` is why one is refused. What comes through is a flow, and that
//! of UDP is one from the beginning. (Guest forwards are `flow/tcp/guest/`.)
#![forbid(unsafe_code)]

pub(crate) mod check;
pub(crate) mod error;
pub(crate) mod host;
pub(crate) mod listener;
