//! Many datagrams in one system call: `send` with `sendmmsg` and `UDP_SEGMENT` (udp(7)), `receive` with `recvmmsg` and
//! `UDP_GRO`, both where the kernel has them. Other systems take one datagram per call behind the same functions.

mod receive;
mod send;

pub(crate) use receive::{MAX_RECEIVE, ReceiveBuffer, Received};
pub(crate) use send::MAX_SEND;
