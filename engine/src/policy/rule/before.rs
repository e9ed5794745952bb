//! Which rules before one could be about everything that it is about, so that not each has to be compared with each: such a rule has
//! every address, port and name of it, and so each single one of them. It is found by the one that fewest rules have.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::{Cidr, Left, PortRange, Rule, Set};

/// So many addresses, ports or names of a rule are tried: whoever has a longer list is found by its beginning.
const TRIED: usize = 16;

/// What a rule has numbers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Field {
    Guest,
    Host,
    Named,
    GuestPorts,
    HostPorts,
}

impl Field {
    const ALL: [Field; 5] = [Field::Guest, Field::Host, Field::Named, Field::GuestPorts, Field::HostPorts];

    fn blocks(self, rule: &Rule) -> Vec<Block> {
        let of_addresses = |set: &Set| set.prefixes().map(|cidr| Block::of_prefix(&cidr)).collect();
        let of_ports = |ports: &[PortRange]| ports.iter().flat_map(|range| Block::of_ports(*range)).collect();
        match self {
            Field::Guest => of_addresses(&rule.guest),
            Field::Host => of_addresses(&rule.host),
            Field::Named => of_addresses(&rule.named),
            Field::GuestPorts => of_ports(&rule.guest_ports),
            Field::HostPorts => of_ports(&rule.host_ports),
        }
    }

    /// The number that whoever has all of them has as well.
    fn any(self) -> Block {
        match self {
            Field::Guest | Field::Host | Field::Named => Block { first: MAPPED, free: 0 },
            Field::GuestPorts | Field::HostPorts => Block { first: 0, free: 0 },
        }
    }
}

/// Numbers with the same bits in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Block {
    first: u128,
    /// How many bits at the end may be anything.
    free: u32,
}

/// An address of IPv4 as one of IPv6 (RFC 4291 section 2.5.5.2).
const MAPPED: u128 = 0xffff_0000_0000;

impl Block {
    fn of_prefix(cidr: &Cidr) -> Block {
        let (first, bits) = match cidr.first() {
            IpAddr::V4(ip) => (MAPPED | u128::from(ip.to_bits()), 32),
            IpAddr::V6(ip) => (ip.to_bits(), 128),
        };
        Block { first, free: bits - u32::from(cidr.prefix_len()) }
    }

    /// Those that a range is put together from.
    fn of_ports(range: PortRange) -> impl Iterator<Item = Block> {
        let mut at = u32::from(range.first);
        std::iter::from_fn(move || {
            let left = (u32::from(range.last) + 1).checked_sub(at).filter(|left| *left > 0)?;
            let free = at.trailing_zeros().min(left.ilog2());
            let block = Block { first: at.into(), free };
            at += 1 << free;
            Some(block)
        })
    }

    /// The block of so many free bits that this one is in.
    fn within(self, free: u32) -> Block {
        let ones = 1_u128.checked_shl(free).unwrap_or(0).wrapping_sub(1);
        Block { first: self.first & !ones, free }
    }
}

/// What a rule is found by.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    /// Numbers that it has.
    Block(Field, Block),
    /// It says nothing of this.
    Anything(Field),
    /// A name that it has.
    Name(&'a str),
    /// It has the names below this one.
    Below(&'a str),
    /// It has no name.
    Nameless,
}

/// Rules, by what they have. They are known by their index.
#[derive(Debug, Default)]
pub(in crate::policy) struct Before<'a> {
    rules: HashMap<Key<'a>, Vec<usize>>,
    /// Which free bits there are in the blocks of a field.
    free: BTreeSet<(Field, u32)>,
}

impl<'a> Before<'a> {
    /// Adds the rule with the next index.
    pub(in crate::policy) fn add(&mut self, index: usize, rule: &'a Rule) {
        // It is never about everything of another: what it decides depends on first bytes.
        if rule.listens() {
            return;
        }
        for field in Field::ALL {
            let blocks = field.blocks(rule);
            if blocks.is_empty() {
                self.note(Key::Anything(field), index);
            }
            for block in blocks {
                self.free.insert((field, block.free));
                self.note(Key::Block(field, block), index);
            }
        }
        if rule.names.is_empty() {
            self.note(Key::Nameless, index);
        }
        for name in &rule.names {
            self.note(if name.is_below() { Key::Below(name.name()) } else { Key::Name(name.name()) }, index);
        }
    }

    fn note(&mut self, key: Key<'a>, index: usize) {
        let known = self.rules.entry(key).or_default();
        if known.last() != Some(&index) {
            known.push(index);
        }
    }

    /// The rule that leaves least of this one, of several the first, with its index.
    pub(in crate::policy) fn leaving_least(&self, all: &[Rule], later: &Rule) -> Option<(Left, usize)> {
        let mut least = None;
        for index in self.candidates(later).into_iter().flat_map(|indices| indices.iter().copied()) {
            // No other leaves less, and of those that leave as much it is the first.
            let is_behind = least.is_some_and(|(left, first)| left == Left::Nothing && first <= index);
            if !is_behind && let Some(left) = all.get(index).and_then(|rule| rule.leaves(later)) {
                least = Some(least.map_or((left, index), |other: (Left, usize)| other.min((left, index))));
            }
        }
        least
    }

    /// All that could be about everything that this one is about, in several lists.
    fn candidates<'s>(&'s self, later: &'s Rule) -> Vec<&'s [usize]> {
        let fields = Field::ALL.iter().flat_map(|field| {
            let blocks = field.blocks(later);
            let tried = if blocks.is_empty() { vec![field.any()] } else { blocks };
            tried.into_iter().take(TRIED).map(|block| self.having(*field, block))
        });
        let names = later.names.iter().take(TRIED).map(|name| {
            let own = if name.is_below() { Key::Below(name.name()) } else { Key::Name(name.name()) };
            let parents = std::iter::successors(parent(name.name()), |name| parent(name)).map(Key::Below);
            self.found(std::iter::once(own).chain(parents))
        });
        let nameless = later.names.is_empty().then(|| self.found([Key::Nameless]));
        let lists = fields.chain(names).chain(nameless);
        lists.min_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>()).unwrap_or_default()
    }

    /// Those that have the beginning of a block.
    fn having(&self, field: Field, block: Block) -> Vec<&[usize]> {
        let free = self.free.range((field, 0)..=(field, u128::BITS)).map(|(_, free)| *free);
        let blocks = free.map(|free| Key::Block(field, block.within(free)));
        self.found(blocks.chain([Key::Anything(field)]))
    }

    fn found<'s>(&'s self, keys: impl IntoIterator<Item = Key<'s>>) -> Vec<&'s [usize]> {
        keys.into_iter().filter_map(|key| self.rules.get(&key)).map(Vec::as_slice).collect()
    }
}

/// What a name is below.
fn parent(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, parent)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Direction, HelloKind, Protocol, Service};

    /// Each with each.
    fn plainly(rules: &[Rule], index: usize) -> Option<(Left, usize)> {
        (0..index).filter_map(|before| Some((rules[before].leaves(&rules[index])?, before))).min()
    }

    /// The same numbers each time.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, most: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % most
        }

        fn some<'w>(&mut self, words: &[&'w str]) -> Vec<&'w str> {
            let count = [0, 0, 1, 1, 2, 3][self.below(6)];
            (0..count).map(|_| words[self.below(words.len())]).collect()
        }

        fn cidrs(&mut self) -> Vec<Cidr> {
            let all = [
                "0.0.0.0/0",
                "::/0",
                "10.0.0.0/8",
                "10.0.0.0/9",
                "10.128.0.0/9",
                "10.1.2.3",
                "2001:db8::/32",
                "2001:db8::1",
                "::/64",
                "::1",
            ];
            self.some(&all).into_iter().map(|text| text.parse().unwrap()).collect()
        }

        fn ports(&mut self) -> Vec<PortRange> {
            let all = [(0, 65535), (0, 79), (80, 65535), (80, 80), (81, 443), (1, 9), (7, 12), (65535, 65535)];
            let some = [0, 1, 1, 2][self.below(4)];
            (0..some)
                .map(|_| all[self.below(all.len())])
                .map(|(first, last)| PortRange::new(first, last).unwrap())
                .collect()
        }

        fn rule(&mut self) -> Rule {
            let mut rule = [Rule::allow, Rule::deny, Rule::drop][self.below(3)]();
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
                rule = if self.below(4) == 0 { rule.protocol(protocol) } else { rule };
            }
            rule = match self.below(12) {
                0 => rule.service(Service::Dns),
                1 => rule.direction(Direction::In),
                2 => rule.hello(HelloKind::Tls),
                _ => rule,
            };
            // Most rules say something of one or two fields.
            for field in [self.below(8), self.below(8)] {
                rule = match field {
                    0 | 1 => rule.host(self.cidrs()),
                    2 => rule.guest(self.cidrs()),
                    3 => rule.named(self.cidrs()),
                    4 => rule.host_ports(self.ports()),
                    5 => rule.guest_ports(self.ports()),
                    6 => rule.names(
                        self.some(&["test", "a.test", "b.a.test", "*.test", "*.a.test", "*.b.a.test"])
                            .into_iter()
                            .map(|name| name.parse().unwrap()),
                    ),
                    _ => rule,
                };
            }
            rule
        }
    }

    #[test]
    fn no_rule_is_found_less_than_by_comparing_each_with_each() {
        let mut dice = Dice(7);
        let (mut found, mut kinds) = (0, BTreeSet::new());
        for _ in 0..300 {
            let rules: Vec<Rule> = (0..40).map(|_| dice.rule()).collect();
            let mut before = Before::default();
            for (index, rule) in rules.iter().enumerate() {
                let least = before.leaving_least(&rules, rule);
                assert_eq!(least, plainly(&rules, index), "{rule} after {:?}", &rules[..index]);
                found += usize::from(least.is_some());
                kinds.extend(least.map(|(left, _)| left));
                before.add(index, rule);
            }
        }
        assert!(found > 1000 && kinds.len() == 3, "{found} {kinds:?}");
    }

    #[test]
    fn rules_that_differ_in_one_thing_are_hardly_compared() {
        const RULES: u16 = 2000;
        let address = |number: u16| Cidr::from(IpAddr::from([10, 0, (number >> 8) as u8, number as u8]));
        let tcp = || Rule::allow().protocol(Protocol::Tcp);
        let makers: [&dyn Fn(u16) -> Rule; 6] = [
            &|number| tcp().host([address(number)]),
            &|number| tcp().host([address(0)]).host_ports([PortRange::one(number)]),
            &|number| tcp().named([address(0), address(number)]),
            &|number| tcp().names([format!("a{number}.test").parse().unwrap()]),
            &|number| tcp().names([format!("*.a{number}.test").parse().unwrap()]).host_ports([PortRange::one(443)]),
            &|number| tcp().guest([address(number)]).direction(Direction::In),
        ];
        for (which, make) in makers.iter().enumerate() {
            let rules: Vec<Rule> = (1..=RULES).map(make).collect();
            let mut before = Before::default();
            let mut compared = 0;
            for (index, rule) in rules.iter().enumerate() {
                compared += before.candidates(rule).iter().map(|list| list.len()).sum::<usize>();
                before.add(index, rule);
            }
            assert!(compared < usize::from(RULES), "{which}: {compared}");
        }
    }

    #[test]
    fn ranges_of_ports_are_put_together_from_blocks() {
        for (first, last) in [(0, 65535), (1, 65534), (80, 80), (7, 12), (65535, 65535)] {
            let blocks = Block::of_ports(PortRange::new(first, last).unwrap());
            let ports: Vec<u128> = blocks.flat_map(|block| block.first..block.first + (1 << block.free)).collect();
            assert_eq!(ports, (first.into()..=last.into()).collect::<Vec<u128>>());
        }
    }
}
