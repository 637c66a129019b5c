//! Where a request goes, and by which transport: what is too long for one datagram goes by TCP.

use std::time::Instant;

use bytes::Bytes;

use super::context::{Context, Hop};
use super::output::Destination;
use super::write::BranchId;
use super::{OWN_CONNECTION, Proxy, Transport};
use crate::limits;

/// A request as it leaves.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) bytes: Bytes,
    pub(super) to: Destination,
    pub(super) is_reliable: bool,
}

impl Proxy {
    /// The request for one hop. RFC 3261 section 18.1.1: over UDP only up to a certain length, unless the element is known
    /// to take no TCP.
    pub(super) fn write_for(
        &self,
        context: &Context,
        hop: Hop,
        branch: BranchId,
        now: Instant,
    ) -> Written {
        let bytes = self.write_request(context, hop, branch, None);
        let to = self.destination(hop);
        let is_reliable = self.transport_of(hop).is_reliable();
        if is_reliable || bytes.len() <= limits::SIP_DATAGRAM_REQUEST_BYTES_MAX {
            return Written {
                bytes,
                to,
                is_reliable,
            };
        }
        match over_tcp(&to).filter(|to| !self.takes_only_udp(to, now)) {
            Some(to) => Written {
                bytes: self.write_request(context, hop, branch, Some(Transport::Tcp)),
                to,
                is_reliable: true,
            },
            None => Written {
                bytes,
                to,
                is_reliable,
            },
        }
    }

    fn takes_only_udp(&self, to: &Destination, now: Instant) -> bool {
        let Destination::Node { address, .. } = to else {
            return false;
        };
        let until = self.only_udp.get(address);
        until.is_some_and(|until| *until > now)
    }

    /// TCP was tried because of the length alone, and is not had: the same hop gets it over UDP after all.
    pub(super) fn returns_to_udp(&mut self, context: &mut Context, now: Instant) -> bool {
        let Some(branch) = &context.branch else {
            return false;
        };
        let is_grown = branch.is_reliable && !self.transport_of(branch.hop).is_reliable();
        let Destination::Node { address, .. } = branch.to else {
            return false;
        };
        if !is_grown {
            return false;
        }
        self.only_udp.retain(|_, until| *until > now);
        if self.only_udp.len() < limits::SIP_ONLY_UDP_MAX
            && let Some(until) = now.checked_add(limits::SIP_ONLY_UDP_LIFETIME)
        {
            self.only_udp.insert(address, until);
            context.plan.hops.push(branch.hop);
            return true;
        }
        false
    }

    pub(super) fn destination(&self, hop: Hop) -> Destination {
        match hop {
            Hop::Flow(flow) => Destination::Flow(flow),
            Hop::Address(transport, address) => Destination::Node {
                transport,
                address,
                tls_name: (transport == Transport::Tls)
                    .then(|| crate::net::Host::Address(address.ip())),
                connection: None,
                node: None,
            },
            Hop::Node(id) => {
                let Some(node) = self.location.node(id) else {
                    return own_destination(); // its registrar left the configuration just now
                };
                Destination::Node {
                    transport: node.transport,
                    address: node.address,
                    tls_name: (node.transport == Transport::Tls).then(|| node.host.clone()),
                    connection: None,
                    node: Some(id),
                }
            }
            Hop::Own => own_destination(),
        }
    }
}

/// The same place by TCP.
fn over_tcp(to: &Destination) -> Option<Destination> {
    match to {
        Destination::Node {
            transport: Transport::Udp,
            address,
            node,
            ..
        } => Some(Destination::Node {
            transport: Transport::Tcp,
            address: *address,
            tls_name: None,
            connection: None,
            node: *node,
        }),
        Destination::Node { .. } | Destination::Flow(_) => None,
    }
}

/// The way back into this proxy.
const fn own_destination() -> Destination {
    Destination::Node {
        transport: Transport::Tcp,
        address: super::OWN_ADDRESS,
        tls_name: None,
        connection: Some(OWN_CONNECTION),
        node: None,
    }
}
