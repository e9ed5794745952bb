//! One connection of a guest forward in the stream. Source: docs/contract/state.md section 3.

use std::net::{IpAddr, Ipv4Addr};

use super::Error;
use super::stream::{Reader, Writer};
use crate::flow::FlowKey;
use crate::flow::key::Endpoint;
use crate::tcp::{Saved, SeqNumber, State};
use crate::time::Duration;

/// Upstream's tick, in which its times are counted.
const TICK: Duration = Duration::from_millis(500);
/// The address families a stream may name: IPv4, and IPv6 as several systems number it.
const AF_INET: u16 = 2;
/// `so_type` of TCP.
const TYPE_TCP: u8 = 6;
/// `so_state`: the far side is gone; it is connected; nothing more comes from it; nothing more goes to it.
const GONE: u32 = 1;
const CONNECTED: u32 = 4;
const NOTHING_COMES: u32 = 8;
const NOTHING_GOES: u32 = 0x10;
/// `t_flags`: the FIN was sent.
const FIN_SENT: u16 = 0x10;
/// The size of upstream's buffers before they are rounded up to whole segments, in bytes.
const BUFFER: usize = 128 * 1024;
/// The largest buffer a stream may bring, in bytes.
const BUFFER_MAX: u32 = 16 * 1024 * 1024;

/// A connection as the stream has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub key: FlowKey,
    pub tos: u8,
    pub tcp: Saved,
    /// Bytes of the guest that the application has not taken.
    pub received: Vec<u8>,
    /// Bytes for the guest that it has not acknowledged.
    pub unacknowledged: Vec<u8>,
}

impl Record {
    pub(super) fn write(&self, to: &mut Writer) {
        to.u32(0);
        for end in [self.key.remote, self.key.guest] {
            to.u16(AF_INET);
            to.address(match end.ip {
                IpAddr::V4(ip) => ip,
                IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
            });
            to.port(end.port);
        }
        to.u8(self.tos);
        to.u8(0);
        to.u8(TYPE_TCP);
        to.u32(self.so_state());
        write_buffer(to, &self.received, self.tcp.mss);
        write_buffer(to, &self.unacknowledged, self.tcp.mss);
        self.write_tcp(to);
    }

    fn so_state(&self) -> u32 {
        match (self.tcp.state.has_ended(), self.tcp.state.peer_has_ended()) {
            (false, false) => CONNECTED,
            (true, false) => CONNECTED | NOTHING_COMES,
            (false, true) => CONNECTED | NOTHING_GOES,
            (true, true) => GONE,
        }
    }

    fn write_tcp(&self, to: &mut Writer) {
        let tcp = &self.tcp;
        let outstanding = tcp.snd_max != tcp.snd_una;
        to.i16(state_number(tcp.state));
        // Timers: retransmission, persist, keep-alive, 2 MSL.
        to.i16(if outstanding { 2 } else { 0 });
        to.i16(0);
        to.i16(14400);
        to.i16(if tcp.state == State::TimeWait { 20 } else { 0 });
        to.i16(0);
        to.i16(12);
        to.i16(0);
        to.u16(tcp.mss);
        to.u8(0);
        to.u16(if tcp.state.has_ended() { FIN_SENT } else { 0 });
        let window = tcp.rcv_adv.distance(tcp.rcv_nxt);
        for number in [
            tcp.snd_una.0,
            tcp.snd_max.0,
            tcp.snd_una.0,
            tcp.snd_wl1.0,
            tcp.snd_wl2.0,
            tcp.iss.0,
            tcp.snd_wnd,
            window,
            tcp.rcv_nxt.0,
            tcp.rcv_nxt.0,
            tcp.irs.0,
            tcp.rcv_adv.0,
            tcp.snd_max.0,
            tcp.cwnd,
            tcp.ssthresh.min(0x3fff_c000),
        ] {
            to.u32(number);
        }
        to.i16(0);
        to.i16(0);
        to.u32(tcp.snd_max.0);
        to.i16(ticks(tcp.srtt, 8));
        to.i16(ticks(tcp.rttvar, 4));
        to.u16(2);
        to.u32(tcp.max_snd_wnd);
        to.u8(0);
        to.u8(0);
        to.i16(0);
        for _ in 0..4 {
            to.u8(0);
        }
        to.u32(0);
        to.u32(0);
        to.u32(tcp.rcv_nxt.0);
    }

    /// Has its addresses and ports in the other byte order: those of a machine that has another one than this.
    pub(super) fn turn(&mut self) {
        for end in [&mut self.key.guest, &mut self.key.remote] {
            if let IpAddr::V4(ip) = &mut end.ip {
                *ip = Ipv4Addr::from(u32::from(*ip).swap_bytes());
            }
            end.port = end.port.swap_bytes();
        }
    }

    /// Reads a record. `Ok(None)` is a connection that was not established, which there is no use in taking over.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) fn read<R: FnMut(&mut [u8]) -> Option<()>>(
        from: &mut Reader<R>,
        version: i32,
    ) -> Result<Option<Record>, Error> {
        from.u32().ok_or(Error::Truncated)?;
        let (remote, guest) = read_ends(from, version)?;
        // The two bits of explicit congestion notification are not the application's (RFC 3168).
        let tos = from.u8().ok_or(Error::Truncated)? & !3;
        from.u8().ok_or(Error::Truncated)?;
        from.u8().ok_or(Error::Truncated)?;
        from.u32().ok_or(Error::Truncated)?;
        let received = read_buffer(from)?;
        let unacknowledged = read_buffer(from)?;
        let tcp = read_tcp(from).ok_or(Error::Truncated)?;
        Ok(tcp.map(|tcp| Record { key: FlowKey { guest, remote }, tos, tcp, received, unacknowledged }))
    }
}

/// The forward's end and the guest's. Up to version 3 the stream names no families and mixes the two.
fn read_ends<R: FnMut(&mut [u8]) -> Option<()>>(
    from: &mut Reader<R>,
    version: i32,
) -> Result<(Endpoint, Endpoint), Error> {
    if version <= 3 {
        let read = |from: &mut Reader<R>| Some((from.address()?, from.address()?, from.port()?, from.port()?));
        let (remote, guest, remote_port, guest_port) = read(from).ok_or(Error::Truncated)?;
        return Ok((Endpoint::new(remote, remote_port), Endpoint::new(guest, guest_port)));
    }
    let mut end = || {
        if from.u16().ok_or(Error::Truncated)? != AF_INET {
            return Err(Error::Invalid);
        }
        let address = from.address().ok_or(Error::Truncated)?;
        Ok(Endpoint::new(address, from.port().ok_or(Error::Truncated)?))
    };
    Ok((end()?, end()?))
}

/// Writes a ring buffer that begins with its bytes; what is free is zero.
fn write_buffer(to: &mut Writer, bytes: &[u8], mss: u16) {
    let size = BUFFER.max(bytes.len()).next_multiple_of(usize::from(mss.max(1)));
    let mut ring = bytes.to_vec();
    ring.resize(size, 0);
    to.u32(bytes.len() as u32);
    to.u32(size as u32);
    to.u32((bytes.len() % size) as u32);
    to.u32(0);
    to.bytes(ring);
}

/// Reads a ring buffer and gives its bytes in order.
fn read_buffer<R: FnMut(&mut [u8]) -> Option<()>>(from: &mut Reader<R>) -> Result<Vec<u8>, Error> {
    let mut number = || from.u32().ok_or(Error::Truncated);
    let (used, size, write, read) = (number()?, number()?, number()?, number()?);
    if size > BUFFER_MAX || used > size {
        return Err(Error::Invalid);
    }
    if size == 0 {
        return Ok(Vec::new());
    }
    if read >= size || write >= size || (read + used) % size != write {
        return Err(Error::Invalid);
    }
    let mut ring = from.bytes(size as usize).ok_or(Error::Truncated)?;
    ring.rotate_left(read as usize);
    ring.truncate(used as usize);
    ring.shrink_to_fit();
    Ok(ring)
}

/// The TCP variables; `Some(None)` when the connection was not established.
fn read_tcp<R: FnMut(&mut [u8]) -> Option<()>>(from: &mut Reader<R>) -> Option<Option<Saved>> {
    let state = from.i16()?;
    for _ in 0..7 {
        from.i16()?;
    }
    let mss = from.u16()?;
    from.u8()?;
    from.u16()?;
    let mut numbers = [0; 15];
    for number in &mut numbers {
        *number = from.u32()?;
    }
    let [snd_una, _, _, snd_wl1, snd_wl2, iss, snd_wnd, _, rcv_nxt, _, irs, rcv_adv, snd_max, cwnd, ssthresh] = numbers;
    from.i16()?;
    from.i16()?;
    from.u32()?;
    let (srtt, rttvar) = (from.i16()?, from.i16()?);
    from.u16()?;
    let max_snd_wnd = from.u32()?;
    from.u16()?;
    from.i16()?;
    from.u32()?;
    from.u32()?;
    from.u32()?;
    from.u32()?;
    Some(state_of(state).map(|state| Saved {
        state,
        iss: SeqNumber(iss),
        snd_una: SeqNumber(snd_una),
        snd_max: SeqNumber(snd_max),
        snd_wl1: SeqNumber(snd_wl1),
        snd_wl2: SeqNumber(snd_wl2),
        snd_wnd,
        max_snd_wnd,
        snd_scale: 0,
        irs: SeqNumber(irs),
        rcv_nxt: SeqNumber(rcv_nxt),
        rcv_adv: SeqNumber(rcv_adv),
        rcv_scale: 0,
        mss,
        cwnd,
        ssthresh,
        srtt: time(srtt, 8),
        rttvar: time(rttvar, 4),
    }))
}

/// A time in upstream's fixed-point ticks.
fn ticks(time: Option<Duration>, parts: u64) -> i16 {
    let Some(time) = time else { return 0 };
    i16::try_from(time.total_micros().saturating_mul(parts) / TICK.total_micros()).unwrap_or(i16::MAX)
}

fn time(ticks: i16, parts: u64) -> Option<Duration> {
    let ticks = u64::try_from(ticks).ok().filter(|&ticks| ticks > 0)?;
    Some(Duration::from_micros(ticks * TICK.total_micros() / parts))
}

const STATES: [(i16, State); 7] = [
    (4, State::Established),
    (5, State::CloseWait),
    (6, State::FinWait1),
    (7, State::Closing),
    (8, State::LastAck),
    (9, State::FinWait2),
    (10, State::TimeWait),
];

fn state_number(state: State) -> i16 {
    STATES.iter().find(|(_, known)| *known == state).map_or(0, |(number, _)| *number)
}

fn state_of(number: i16) -> Option<State> {
    STATES.iter().find(|(known, _)| *known == number).map(|(_, state)| *state)
}
