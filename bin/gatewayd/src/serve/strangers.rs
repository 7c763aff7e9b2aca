//! How much of what strangers do is put on record one by one.
//!
//! A stranger is whoever was turned away before it was known who calls, or sent what was no request at all. It costs them
//! nothing, and each entry stays for ever; so each source has a few entries a minute, all sources together some more, and
//! the rest is counted: one entry a source tells how many there were.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatewayd_core::{Event, EventKind, Peer};

/// How often what was counted is told.
pub(crate) const EACH: Duration = Duration::from_secs(60);
/// Entries of one source in that time.
const OF_ONE: u64 = 100;
/// Entries of all sources in that time.
const IN_ALL: u64 = 500;
/// Sources that are counted by themselves in that time.
const SOURCES: usize = 1000;
/// Of these, so many are told by themselves: the busiest.
const TOLD: usize = 20;

/// Counts what strangers do. A clone is the same handle.
#[derive(Clone, Default)]
pub(crate) struct Strangers(Arc<Mutex<Count>>);

#[derive(Default)]
struct Count {
    recorded: u64,
    sources: HashMap<Option<IpAddr>, Of>,
    /// From sources beyond those that are counted by themselves.
    others: u64,
}

#[derive(Default)]
struct Of {
    recorded: u64,
    left_out: u64,
}

impl Strangers {
    /// Whether this one is put on record by itself. If not, it is counted.
    pub(crate) fn is_recorded(&self, from: Option<Peer>) -> bool {
        let mut count = self.lock();
        let source = from.map(|peer| source(peer.address.ip()));
        if count.sources.len() >= SOURCES && !count.sources.contains_key(&source) {
            count.others += 1;
            return false;
        }
        let all = count.recorded;
        let of = count.sources.entry(source).or_default();
        if of.recorded >= OF_ONE || all >= IN_ALL {
            of.left_out += 1;
            return false;
        }
        of.recorded += 1;
        count.recorded += 1;
        true
    }

    /// What was counted since the last time, as entries.
    pub(crate) fn tell(&self) -> Vec<Event> {
        let Count { sources, mut others, .. } = std::mem::take(&mut *self.lock());
        let mut left_out: Vec<(Option<IpAddr>, u64)> =
            sources.into_iter().map(|(source, of)| (source, of.left_out)).filter(|(_, n)| *n > 0).collect();
        left_out.sort_unstable_by_key(|(_, number)| std::cmp::Reverse(*number));
        others += left_out.iter().skip(TOLD).map(|(_, number)| number).sum::<u64>();
        left_out.truncate(TOLD);
        let told = left_out.into_iter().map(|(source, number)| {
            let source = source.map_or_else(|| "unknown".to_owned(), |source| source.to_string());
            event(&source, number)
        });
        told.chain((others > 0).then(|| event("others", others))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One source: an address, or the network of 64 bits that an IPv6 address is one of.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

fn event(source: &str, number: u64) -> Event {
    Event {
        kind: EventKind::StrangersCounted,
        actor: None,
        object: source.into(),
        outcome: format!("{number} without an entry of their own").into(),
        request: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Option<Peer> {
        Some(Peer { address: format!("{address}:4000").parse().unwrap(), tls: false })
    }

    fn recorded(strangers: &Strangers, address: &str, times: u64) -> u64 {
        (0..times).filter(|_| strangers.is_recorded(from(address))).count() as u64
    }

    #[test]
    fn a_flood_leaves_a_few_entries_and_its_number() {
        let strangers = Strangers::default();
        assert_eq!(recorded(&strangers, "192.0.2.1", 1000), OF_ONE);
        assert_eq!(recorded(&strangers, "192.0.2.2", 3), 3, "another source is heard");
        assert_eq!(
            recorded(&strangers, "[2001:db8::1]", 60) + recorded(&strangers, "[2001:db8::2]", 60),
            OF_ONE
        );
        let told = strangers.tell();
        let words: Vec<_> = told.iter().map(|event| (&*event.object, &*event.outcome)).collect();
        assert_eq!(
            words,
            [
                ("192.0.2.1", "900 without an entry of their own"),
                ("2001:db8::", "20 without an entry of their own")
            ]
        );
        assert!(strangers.tell().is_empty());
        assert_eq!(recorded(&strangers, "192.0.2.1", 1), 1, "a new minute");
    }

    #[test]
    fn many_sources_are_bounded_together_and_in_memory() {
        let strangers = Strangers::default();
        let mut all = 0;
        for n in 0..5000_u32 {
            all += recorded(&strangers, &std::net::Ipv4Addr::from_bits(n << 8).to_string(), 1);
        }
        assert_eq!(all, IN_ALL);
        assert_eq!(strangers.lock().sources.len(), SOURCES);
        let told = strangers.tell();
        assert_eq!(told.len(), TOLD + 1);
        assert_eq!(
            &*told[TOLD].outcome,
            &*format!("{} without an entry of their own", 5000 - IN_ALL - TOLD as u64)
        );
    }
}
