//! What clients find when they look for the edge, as far as the resolver of this machine sees it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use domain::base::Message;
use domain::base::iana::Rcode;
use domain::base::name::ToName as _;
use domain::rdata::Srv;
use tokio::net::UdpSocket;

use super::Finding;
use crate::dns::{Name, number};
use crate::limits;
use crate::net::Domain;

/// What a resolver said.
enum Said {
    Servers(Vec<Name>),
    Nothing,
    Failed(String),
}

/// Whether the name of the service leads to the edge `own`. `zone` is what is served here.
pub async fn leads_here(service: &Domain, own: &Domain, zone: &Domain) -> Finding {
    let what = format!("name {service}");
    let remedy = format!("delegate it in the parent zone: {zone}. NS {own}.");
    match ask(service).await {
        Said::Servers(servers) if servers.contains(&Name::from(own)) => {
            Finding::pass(what, format!("leads to {own}"))
        }
        Said::Servers(servers) => {
            let list: Vec<String> = servers.iter().map(Name::to_string).collect();
            let cause = format!("leads to {} and not to {own}", list.join(", "));
            Finding::warn(
                what,
                cause,
                "an edge without a link leaves the answers: look at its links first; then at its [[dns.edge]]",
            )
        }
        Said::Nothing => Finding::warn(
            what,
            "does not exist for the resolver of this machine",
            remedy,
        ),
        Said::Failed(cause) => Finding::warn(what, cause, remedy),
    }
}

/// Whether the name of an inner service is kept from the public: clients that see it believe that they are inside.
pub async fn is_hidden(service: &Domain) -> Finding {
    let what = format!("name {service}");
    match ask(service).await {
        Said::Servers(_) => Finding::warn(
            what,
            "exists for the resolver of this machine, and clients that see it do not take the edge",
            "take it out of public DNS; if only this machine sees it, nothing is wrong",
        ),
        Said::Nothing => Finding::pass(what, "does not exist in public, as it should"),
        Said::Failed(cause) => Finding::warn(what, cause, "look at /etc/resolv.conf"),
    }
}

async fn ask(name: &Domain) -> Said {
    let asking = tokio::time::timeout(limits::DOCTOR_DEADLINE, exchange(name));
    let answer = match asking.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Said::Failed(error.to_string()),
        Err(_) => return Said::Failed("the resolver of this machine does not answer".to_owned()),
    };
    let Ok(message) = Message::from_octets(answer) else {
        return Said::Failed("the resolver's answer can't be read".to_owned());
    };
    match message.header().rcode() {
        Rcode::NOERROR => {}
        Rcode::NXDOMAIN => return Said::Nothing,
        other => return Said::Failed(format!("the resolver says {other}")),
    }
    let Ok(section) = message.answer() else {
        return Said::Failed("the resolver's answer can't be read".to_owned());
    };
    let records = section.limit_to::<Srv<_>>().filter_map(Result::ok);
    let targets = records.filter_map(|record| {
        let target: Vec<u8> = record
            .data()
            .target()
            .to_canonical_name::<Vec<u8>>()
            .into_octets();
        Name::from_wire(&target).ok()
    });
    let servers: Vec<Name> = targets.take(limits::CLUSTER_EDGES_MAX).collect();
    if servers.is_empty() {
        Said::Nothing
    } else {
        Said::Servers(servers)
    }
}

async fn exchange(name: &Domain) -> io::Result<Vec<u8>> {
    let resolver = resolver()?;
    let any: IpAddr = if resolver.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    // Only the socket's peer is heard, and nothing but a report depends on it.
    let mut query = vec![0x0E, 0xD6, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(Name::from(name).wire());
    query.extend_from_slice(&number::SRV.to_be_bytes());
    query.extend_from_slice(&number::IN.to_be_bytes());
    socket.send(&query).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    let len = socket.recv(&mut answer).await?;
    answer.truncate(len);
    Ok(answer)
}

/// The first name server of the system.
fn resolver() -> io::Result<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf")?;
    let servers = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver"));
    let mut addresses = servers.filter_map(|server| server.trim().parse::<IpAddr>().ok());
    let first = addresses.next().map(|address| SocketAddr::new(address, 53));
    first.ok_or_else(|| io::Error::other("/etc/resolv.conf names no server"))
}
