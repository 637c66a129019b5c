//! The order in which SRV targets are tried (RFC 2782).

use aws_lc_rs::rand;
use common::mra::edge_config::SrvServer;

/// Random numbers for choices that need no secrecy (`SplitMix64`), so that tests can choose the seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Starts from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts from the operating system's random source.
    #[must_use]
    pub fn from_entropy() -> Self {
        let mut seed = [0; 8];
        // Without entropy the choice is merely the same after each start.
        if rand::fill(&mut seed).is_err() {
            tracing::debug!("no entropy for load balancing");
        }
        Self(u64::from_le_bytes(seed))
    }

    /// A number from 0 to `bound`, both included.
    pub fn up_to(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The bias of the remainder is below 2^-40 for the sums of weights that occur.
        z.checked_rem(bound.saturating_add(1)).unwrap_or(z)
    }
}

/// Brings `servers` into the order in which they are tried: by priority, and within one priority by weighted chance.
#[must_use]
pub fn order(mut servers: Vec<SrvServer>, dice: &mut Dice) -> Vec<SrvServer> {
    servers.sort_by_key(|server| server.priority);
    let mut ordered = Vec::with_capacity(servers.len());
    let mut rest = servers.into_iter().peekable();
    while let Some(first) = rest.next() {
        let mut group = vec![first];
        while let Some(server) = rest.next_if(|next| {
            group
                .first()
                .is_some_and(|first| first.priority == next.priority)
        }) {
            group.push(server);
        }
        draw(group, dice, &mut ordered);
    }
    ordered
}

fn draw(mut group: Vec<SrvServer>, dice: &mut Dice, ordered: &mut Vec<SrvServer>) {
    // Servers without weight come first, so that they keep a small chance; among themselves they are shuffled, or
    // equal records would always give the same server.
    shuffle(&mut group, dice);
    group.sort_by_key(|server| server.weight != 0);
    while !group.is_empty() {
        let sum = group.iter().map(|server| u64::from(server.weight)).sum();
        let drawn = dice.up_to(sum);
        let mut running = 0;
        let chosen = group.iter().position(|server| {
            running += u64::from(server.weight);
            running >= drawn
        });
        ordered.push(group.remove(chosen.unwrap_or(0)));
    }
}

fn shuffle<T>(items: &mut [T], dice: &mut Dice) {
    for last in (1..items.len()).rev() {
        let drawn = dice.up_to(u64::try_from(last).unwrap_or(0));
        items.swap(last, usize::try_from(drawn).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use common::net::Host;
    use proptest::prelude::*;

    use super::*;

    fn server(priority: u16, weight: u16, name: &str) -> SrvServer {
        SrvServer {
            priority,
            weight,
            port: 8443,
            address: Host::parse(name).unwrap(),
        }
    }

    /// How often each server comes first in 10,000 draws.
    fn firsts(servers: &[SrvServer]) -> Vec<u32> {
        let mut dice = Dice::new(7);
        let mut counts = vec![0; servers.len()];
        for _ in 0..10_000 {
            let ordered = order(servers.to_vec(), &mut dice);
            let first = servers.iter().position(|s| *s == ordered[0]).unwrap();
            counts[first] += 1;
        }
        counts
    }

    #[test]
    fn the_lowest_priority_number_comes_first_whatever_its_weight() {
        let servers = vec![
            server(6, 30, "cucm3"),
            server(2, 20, "cucm2"),
            server(1, 5, "cucm1"),
        ];

        let ordered = order(servers, &mut Dice::new(1));

        let names: Vec<_> = ordered.iter().map(|s| s.address.to_string()).collect();
        assert_eq!(names, ["cucm1", "cucm2", "cucm3"]);
    }

    #[test]
    fn weights_share_the_load_and_no_weight_keeps_a_small_chance() {
        let counts = firsts(&[server(1, 60, "a"), server(1, 40, "b"), server(1, 0, "c")]);

        assert!((5_700..6_200).contains(&counts[0]), "{counts:?}");
        assert!((3_700..4_200).contains(&counts[1]), "{counts:?}");
        assert!((40..200).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn servers_without_weights_share_evenly() {
        let counts = firsts(&[server(1, 0, "a"), server(1, 0, "b"), server(1, 0, "c")]);

        assert!(
            counts.iter().all(|count| (3_000..3_700).contains(count)),
            "{counts:?}"
        );
    }

    proptest! {
        #[test]
        fn every_server_is_kept_once_and_priorities_never_fall(
            pairs in proptest::collection::vec((0_u16..4, any::<u16>()), 0..20),
            seed: u64,
        ) {
            let servers: Vec<_> = pairs
                .iter()
                .enumerate()
                .map(|(i, (priority, weight))| server(*priority, *weight, &format!("n{i}")))
                .collect();

            let ordered = order(servers.clone(), &mut Dice::new(seed));

            prop_assert!(ordered.is_sorted_by_key(|s| s.priority));
            let mut sorted = ordered;
            sorted.sort();
            let mut expected = servers;
            expected.sort();
            prop_assert_eq!(sorted, expected);
        }
    }
}
