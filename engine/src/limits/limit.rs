//! What is wished for.

/// How much one of those that are counted may do. What is not said is not bounded; nothing at all (0) is what the policy is for, and
/// counts as 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Limit {
    pub(super) up: Option<u64>,
    pub(super) down: Option<u64>,
    pub(super) begins: Option<u32>,
    pub(super) flows: Option<u32>,
    pub(super) volume: Option<u64>,
}

impl Limit {
    /// No bound.
    pub const fn new() -> Limit {
        Limit { up: None, down: None, begins: None, flows: None, volume: None }
    }

    /// Bytes of payload a second from the guest.
    pub const fn up(mut self, bytes: u64) -> Limit {
        self.up = Some(if bytes == 0 { 1 } else { bytes });
        self
    }

    /// Bytes of payload a second to the guest.
    pub const fn down(mut self, bytes: u64) -> Limit {
        self.down = Some(if bytes == 0 { 1 } else { bytes });
        self
    }

    /// Flows that may begin in a second; as many may begin at once after a second without any.
    pub const fn new_flows_per_second(mut self, flows: u32) -> Limit {
        self.begins = Some(if flows == 0 { 1 } else { flows });
        self
    }

    /// Flows at a time.
    pub const fn flows(mut self, flows: u32) -> Limit {
        self.flows = Some(if flows == 0 { 1 } else { flows });
        self
    }

    /// Bytes of payload in all, both ways together, since the stack was made.
    pub const fn volume(mut self, bytes: u64) -> Limit {
        self.volume = Some(if bytes == 0 { 1 } else { bytes });
        self
    }

    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Limit::new()
    }
}

/// All limits of a stack.
///
/// A flow takes from each that it is under. Streams that are over a rate are slowed by their windows, and nothing of them is lost;
/// datagrams and pings over it are dropped. A flow that may not begin is refused, and the guest is told. When the volume is used up
/// nothing begins any more, and what has begun ends when it would carry more.
///
/// Not governed is what stays in the virtual network or belongs to it: the name server, DHCP, TFTP, guest forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Limits {
    pub(super) whole: Limit,
    pub(super) guest: Limit,
    pub(super) rules: Vec<(u32, Limit)>,
}

impl Limits {
    /// No bound.
    pub const fn new() -> Limits {
        Limits { whole: Limit::new(), guest: Limit::new(), rules: Vec::new() }
    }

    /// What the whole stack may do.
    pub fn whole(mut self, limit: Limit) -> Limits {
        self.whole = limit;
        self
    }

    /// What each address of the guest may do. 256 addresses are remembered; those without a flow make room for others.
    pub fn each_guest(mut self, limit: Limit) -> Limits {
        self.guest = limit;
        self
    }

    /// What all connections and datagrams may do together that the policy's rule of this number, from 1, lets the guest begin (and
    /// connections that it lets in). Of datagrams each port of the guest is a flow. The last call for a rule counts.
    pub fn rule(mut self, number: u32, limit: Limit) -> Limits {
        self.rules.push((number, limit));
        self
    }

    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.whole.is_none() && self.guest.is_none() && self.rules.iter().all(|(_, limit)| limit.is_none())
    }
}
