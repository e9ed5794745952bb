//! What a flow notes of itself: how much it has carried, and why it ends where that does not show.

/// How a flow has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "capture"), allow(dead_code))]
pub(crate) enum End {
    /// In order, both ways.
    Closed,
    /// The guest has reset it.
    GuestReset,
    /// The guest did not answer any more.
    GuestSilent,
    /// The host's side has broken off.
    HostReset,
    /// The host could not be connected.
    NotConnected,
    /// The proxy does not let it through, or is none.
    #[cfg_attr(not(feature = "policy"), allow(dead_code))]
    ProxyRefused,
    /// The proxy wants another name and password, or some where none are given.
    #[cfg_attr(not(feature = "policy"), allow(dead_code))]
    ProxyCredentials,
    /// What its first bytes said, or did not say, is forbidden; or a policy that came later forbids it.
    Policy,
    /// Its limit of bytes is used up.
    #[cfg_attr(not(feature = "policy"), allow(dead_code))]
    Limit,
    /// The library has reset it.
    Reset,
    /// Nothing went through it for its time.
    Expired,
    /// It made room for another one.
    MadeRoom,
    /// A new one has its place.
    Replaced,
    /// The host lacks what it needs.
    NoResources,
    /// All flows were ended.
    Stopped,
}

/// See the module. Bytes are those of payload: what was given to the host's side, and what came from there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    to_host: u64,
    to_guest: u64,
    end: Option<End>,
}

impl Account {
    /// So many bytes of the guest were given to the host's side.
    #[inline]
    pub(crate) fn gave_host(&mut self, bytes: usize) {
        self.to_host += bytes as u64;
    }

    /// So many bytes came from the host's side.
    #[inline]
    pub(crate) fn gave_guest(&mut self, bytes: usize) {
        self.to_guest += bytes as u64;
    }

    /// It is about to end, for a reason that does not show otherwise. The first one counts.
    #[cold]
    pub(crate) fn ends(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    #[cfg(feature = "capture")]
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    #[cfg(feature = "capture")]
    pub(crate) fn to_host(self) -> u64 {
        self.to_host
    }

    #[cfg(feature = "capture")]
    pub(crate) fn to_guest(self) -> u64 {
        self.to_guest
    }
}
