//! How many clients may be here without being authenticated: few of each address, so that nobody keeps others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::policy::rate_limit::network_of;

/// Counts clients by address. An IPv6 client is its /64: it owns all of it.
#[derive(Debug)]
pub(super) struct Places {
    max: u32,
    per_network_max: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    /// As many entries as clients at most.
    per_network: HashMap<IpAddr, u32>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The address has as many as one may have.
    OfAddress,
    /// All are taken.
    InAll,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    network: IpAddr,
}

impl Places {
    pub(super) fn new(max: u32, per_network_max: u32) -> Arc<Self> {
        Arc::new(Self {
            max,
            per_network_max,
            taken: Mutex::default(),
        })
    }

    /// Takes a place for a client.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, NoPlace> {
        let network = network_of(address);
        let mut taken = self.lock();
        let of_network = taken.per_network.get(&network).copied().unwrap_or(0);
        // The address's own limit first: it says whose fault it is.
        if of_network >= self.per_network_max {
            return Err(NoPlace::OfAddress);
        }
        if taken.all >= self.max {
            return Err(NoPlace::InAll);
        }
        taken.all = taken.all.saturating_add(1);
        taken
            .per_network
            .insert(network, of_network.saturating_add(1));
        drop(taken);
        Ok(Place {
            places: Arc::clone(self),
            network,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(of_network) = taken.per_network.get_mut(&self.network) {
            *of_network = of_network.saturating_sub(1);
            if *of_network == 0 {
                taken.per_network.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_takes_all_it_can_leaves_places_for_others() {
        let places = Places::new(10, 3);
        let many: Vec<_> = (0..600)
            .map(|_| places.take(address("192.0.2.1")))
            .collect();

        assert_eq!(many.iter().filter(|place| place.is_ok()).count(), 3);
        assert_eq!(
            many.last().unwrap().as_ref().err(),
            Some(&NoPlace::OfAddress)
        );
        assert!(places.take(address("192.0.2.2")).is_ok());
    }

    #[test]
    fn an_ipv6_client_is_its_whole_network() {
        let places = Places::new(10, 1);
        let _first = places.take(address("2001:db8::1")).unwrap();

        assert!(places.take(address("2001:db8::2")).is_err());
        assert!(places.take(address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn a_place_is_free_again_when_it_is_left() {
        let places = Places::new(1, 1);
        let place = places.take(address("192.0.2.1")).unwrap();
        assert_eq!(
            places.take(address("192.0.2.2")).err(),
            Some(NoPlace::InAll)
        );

        drop(place);

        assert!(places.take(address("192.0.2.2")).is_ok());
        assert!(places.lock().per_network.is_empty());
    }
}
