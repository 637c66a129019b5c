//! A name server in this process, for the demo. Tests use [`crate::bind`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use hickory_proto::rr::rdata::{A, AAAA, NS, SOA, SRV};
use hickory_proto::rr::{LowerName, Name, RData, Record as WireRecord};
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;

use crate::dns::{RecordValue, Zone};
use crate::wait;

/// Authoritative for some zones over UDP and TCP; ends when dropped.
pub struct EmbeddedDns {
    address: SocketAddr,
    _server: Server<Catalog>,
}

impl EmbeddedDns {
    /// Serves the zones; port 0 takes a free one, the same for UDP and TCP.
    pub fn start(runtime: &Handle, address: SocketAddr, zones: &[Zone]) -> Result<Self> {
        let mut catalog = Catalog::new();
        for zone in zones {
            let origin = name(&zone.origin)?;
            let handler: InMemoryZoneHandler = in_memory(zone, &origin)?;
            catalog.upsert(LowerName::new(&origin), vec![Arc::new(handler)]);
        }
        let (tcp, udp) = bind_both(address)?;
        let address = tcp.local_addr()?;
        let _entered = runtime.enter();
        let mut server = Server::new(catalog);
        server.register_socket(UdpSocket::from_std(udp)?);
        server.register_listener(TcpListener::from_std(tcp)?, TCP_IDLE, TCP_BUFFERED_MAX);
        Ok(Self {
            address,
            _server: server,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl std::fmt::Debug for EmbeddedDns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedDns")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A free TCP port may be taken for UDP, so another one is tried then.
fn bind_both(address: SocketAddr) -> Result<(std::net::TcpListener, std::net::UdpSocket)> {
    let what = format!("a free DNS port at {address}");
    wait::until(&what, BIND_LIMIT, || {
        let tcp = std::net::TcpListener::bind(address)?;
        let udp = std::net::UdpSocket::bind(tcp.local_addr()?)?;
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        Ok(Some((tcp, udp)))
    })
}

fn in_memory(zone: &Zone, origin: &Name) -> Result<InMemoryZoneHandler> {
    let server = name(&format!("ns.{}", zone.origin))?;
    let ttl = zone.ttl;
    let refresh = (3600, 600, 86_400);
    let (refresh, retry, expire) = refresh;
    let host_master = name(&format!("hostmaster.{}", zone.origin))?;
    let soa = SOA::new(
        server.clone(),
        host_master,
        SERIAL,
        refresh,
        retry,
        expire,
        ttl,
    );
    let mut records = vec![
        (origin.clone(), RData::SOA(soa)),
        (origin.clone(), RData::NS(NS(server))),
    ];
    for record in &zone.records {
        let data = match &record.value {
            RecordValue::Address(std::net::IpAddr::V4(v4)) => RData::A(A(*v4)),
            RecordValue::Address(std::net::IpAddr::V6(v6)) => RData::AAAA(AAAA(*v6)),
            RecordValue::Srv {
                priority,
                weight,
                port,
                target,
            } => RData::SRV(SRV::new(*priority, *weight, *port, name(target)?)),
        };
        records.push((name(&record.name)?, data));
    }
    let mut handler =
        InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
    for (owner, data) in records {
        let text = owner.to_string();
        if !handler.upsert_mut(WireRecord::from_rdata(owner, ttl, data), SERIAL) {
            return Err(anyhow!("Failed to add {text} to {}", zone.origin));
        }
    }
    Ok(handler)
}

fn name(text: &str) -> Result<Name> {
    Name::from_ascii(format!("{text}.")).with_context(|| format!("not a DNS name: {text}"))
}

const SERIAL: u32 = 1;
const BIND_LIMIT: Duration = Duration::from_secs(2);
const TCP_IDLE: Duration = Duration::from_secs(10);
const TCP_BUFFERED_MAX: usize = 64;
