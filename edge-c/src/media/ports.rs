//! The inner ports of edge-c: which pair comes next, bound and kept from use for a while after a call.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Instant;

use common::limits;
use common::media::plan::InnerPortId;
use common::media::port_pool::{PortPair, PortPool};
use common::media::supply::{Family, InnerPort};
use common::runtime::udp;

use super::random;
use super::table::InnerPorts;

/// Every pair of inner ports, of each family.
#[derive(Debug)]
pub(super) struct Ports {
    pools: BTreeMap<Family, (IpAddr, PortPool)>,
    taken: BTreeMap<InnerPortId, (Family, PortPair)>,
    last: u32,
}

impl Ports {
    /// The ports `range` of each address; of several addresses of one family the first.
    pub(super) fn new(addresses: &[IpAddr], range: &RangeInclusive<u16>) -> Self {
        let mut pools = BTreeMap::new();
        for address in addresses {
            pools
                .entry(Family::of(*address))
                .or_insert_with(|| (*address, PortPool::new(range)));
        }
        Self {
            pools,
            taken: BTreeMap::new(),
            last: 0,
        }
    }

    /// The families that there are addresses of.
    pub(super) fn families(&self) -> impl Iterator<Item = Family> + '_ {
        self.pools.keys().copied()
    }

    /// Binds a random pair.
    ///
    /// # Errors
    /// The system's error of the last pair that was tried.
    pub(super) fn open(
        &mut self,
        family: Family,
        now: Instant,
    ) -> io::Result<(InnerPort, InnerPorts)> {
        let (address, pool) = self
            .pools
            .get_mut(&family)
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut error = io::Error::other("every port is in use");
        for _ in 0..limits::MEDIA_BIND_TRIES {
            let Some(pair) = pool.take(random::number(), now) else {
                break;
            };
            let rtp = SocketAddr::new(*address, pair.rtp());
            let rtcp = SocketAddr::new(*address, pair.rtcp());
            match udp::bind(rtp).and_then(|socket| Ok((socket, udp::bind(rtcp)?))) {
                Ok((rtp_socket, rtcp_socket)) => {
                    self.last = self.last.wrapping_add(1);
                    let id = InnerPortId(self.last);
                    self.taken.insert(id, (family, pair));
                    let sockets = InnerPorts {
                        id,
                        family,
                        rtp: rtp_socket,
                        rtcp: rtcp_socket,
                    };
                    return Ok((InnerPort { id, rtp, rtcp }, sockets));
                }
                Err(refused) => {
                    // Another process has it: it rests and is tried again later.
                    pool.give_back(pair, now);
                    error = refused;
                }
            }
        }
        Err(error)
    }

    /// Gives a pair back; its sockets are closed by whoever has them.
    pub(super) fn close(&mut self, id: InnerPortId, now: Instant) {
        if let Some((family, pair)) = self.taken.remove(&id)
            && let Some((_, pool)) = self.pools.get_mut(&family)
        {
            pool.give_back(pair, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use common::runtime::clock;

    use super::*;

    #[test]
    fn pairs_are_bound_and_rest_after_use() {
        let now = clock::now();
        let address: IpAddr = "127.0.0.1".parse().unwrap();
        // Whatever is free: other tests have ports of their own.
        let mut ports = Ports::new(&[address], &(20_000..=60_000));

        let (one, sockets) = ports.open(Family::V4, now).unwrap();
        let (two, _others) = ports.open(Family::V4, now).unwrap();

        assert_eq!(sockets.rtp.local_addr().unwrap(), one.rtp);
        assert_eq!(one.rtcp.port(), one.rtp.port() + 1);
        assert_eq!(one.rtp.port() % 2, 0);
        assert_eq!(BTreeSet::from([one.id, two.id]).len(), 2);
        assert!(ports.open(Family::V6, now).is_err());

        ports.close(one.id, now);
        assert_eq!(ports.taken.len(), 1);
    }

    #[test]
    fn when_all_ports_are_in_use_that_is_an_error() {
        let now = clock::now();
        let address: IpAddr = "127.0.0.1".parse().unwrap();
        let mut ports = Ports::new(&[address], &(1..=2));

        assert!(ports.open(Family::V4, now).is_err());
    }
}
