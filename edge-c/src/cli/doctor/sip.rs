//! SIP inside: the own sockets and certificate, and every registrar node: found, reached, verified, answering OPTIONS.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use common::config::Purpose;
use common::limits;
use common::net::{Host, HostPort};
use common::runtime::clock;
use common::runtime::doctor::{self, Finding};
use common::sip::proxy::{InnerNames, Node, Registrar, Transport};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::app::sip::client_tls;
use crate::config::Config;
use crate::config::sip::Sip;
use crate::discovery::dns::Dns;
use crate::discovery::srv::Dice;
use crate::sip::passwords::{Stored, sealed_file};
use crate::upstream::sip::outbox::{Outbox, Room};
use crate::upstream::sip::probe::{Answer, Probe, Probes};
use crate::upstream::sip::resolve::Resolver;
use crate::upstream::sip::{Dialling, Target, connection};

pub(super) async fn examine(config: &Config, dns: &Dns, is_running: bool) -> Vec<Finding> {
    let Some(sip) = &config.sip else {
        return Vec::new();
    };
    let streams = sip
        .listen
        .iter()
        .filter(|one| one.transport != Transport::Udp);
    let mut findings: Vec<_> = streams
        .map(|one| doctor::port("sip.listen", one.address, is_running))
        .collect();
    if let Some(identity) = &sip.identity {
        let now = clock::unix_now();
        findings.extend(doctor::certificate(
            "sip",
            identity,
            Purpose::Client,
            &[],
            now,
        ));
    }
    findings.extend(passwords(config, sip));
    let tls = match client_tls(config, sip) {
        Ok(tls) => Arc::new(ArcSwap::from_pointee(tls)),
        Err(cause) => {
            findings.push(Finding::fail("registrars", cause, "correct [sip]"));
            return findings;
        }
    };
    let dialling = Dialling {
        tls,
        sources: sip.listen.iter().map(|one| one.address.ip()).collect(),
        timeout: limits::DOCTOR_DEADLINE,
    };
    let mut dice = Dice::from_entropy();
    let found = Resolver::default()
        .resolve(&sip.registrars, &[], dns, &mut dice)
        .await;
    let mut asking = Vec::new();
    for registrar in found {
        let what = format!("registrar {}", registrar.name);
        if registrar.nodes.is_empty() {
            let remedy = "look at its `nodes` or `srv`, and at the inside DNS";
            findings.push(Finding::fail(what, "no node of it has an address", remedy));
        }
        for node in registrar.nodes.clone() {
            let (registrar, dialling) = (registrar.clone(), dialling.clone());
            asking.push(tokio::spawn(async move {
                ask(&registrar, node, &dialling).await
            }));
        }
    }
    for one in asking {
        let broken =
            |error| Finding::fail("registrar", format!("{error}"), "this is a bug: report it");
        findings.push(one.await.unwrap_or_else(broken));
    }
    findings
}

/// Phones that edge-c authenticates need hashes, from the sealed file or from users who sign in.
fn passwords(config: &Config, sip: &Sip) -> Option<Finding> {
    if sip.realms().is_empty() {
        return None;
    }
    let what = "phones' passwords";
    let stored = sealed_file(&config.session)
        .map_err(Into::into)
        .and_then(|file| Stored::read(&file));
    Some(match stored {
        Ok(stored) => Finding::pass(
            what,
            format!("{} in the sealed file", stored.names().count()),
        ),
        Err(error) => Finding::fail(
            what,
            error.to_string(),
            "was it written under another state key?",
        ),
    })
}

async fn ask(registrar: &Registrar, node: Node, dialling: &Dialling) -> Finding {
    let place = format!("{}:{}", node.transport.uri_name(), node.address);
    let what = format!("registrar {} at {place} ({})", registrar.name, node.host);
    let only = Registrar {
        nodes: vec![node.clone()],
        ..registrar.clone()
    };
    let asked = async {
        match node.transport {
            Transport::Udp => by_datagram(&only, &node, dialling).await,
            Transport::Tcp | Transport::Tls | Transport::Wss => {
                by_stream(&only, &node, dialling).await
            }
        }
    };
    let answered = tokio::time::timeout(limits::DOCTOR_DEADLINE, asked).await;
    match answered.unwrap_or_else(|_| Err("it does not answer OPTIONS in time".to_owned())) {
        Ok(code) if code != OVERLOADED => {
            Finding::pass(what, format!("answers OPTIONS with {code}"))
        }
        Ok(code) => Finding::fail(
            what,
            format!("answers OPTIONS with {code}"),
            "look at the node: it takes no calls",
        ),
        Err(cause) => Finding::fail(
            what,
            cause,
            "look at the node, the packet filter between, and its certificate if it is TLS; \
             a trunk there must name this edge-c",
        ),
    }
}

async fn by_datagram(
    registrar: &Registrar,
    node: &Node,
    dialling: &Dialling,
) -> Result<u16, String> {
    let source = dialling
        .sources
        .iter()
        .find(|own| own.is_ipv4() == node.address.is_ipv4());
    let source = source.ok_or("[sip] listen has no address of that family")?;
    let socket = UdpSocket::bind(SocketAddr::new(*source, 0)).await;
    let socket = socket.map_err(|error| error.to_string())?;
    let own = socket.local_addr().map_err(|error| error.to_string())?;
    let (mut probes, _) = prober(registrar, own);
    let mut buffer = vec![0; limits::SIP_DATAGRAM_BYTES_MAX];
    loop {
        for probe in probes.handle_timeout(clock::now()).0 {
            let sent = socket.send_to(&probe.bytes, node.address).await;
            sent.map_err(|error| error.to_string())?;
        }
        let next = probes.next().unwrap_or_else(clock::now);
        let received = tokio::time::timeout_at(next.into(), socket.recv_from(&mut buffer)).await;
        let Ok(received) = received else { continue };
        let (len, _) = received.map_err(|error| error.to_string())?;
        let answer = probes.answer(buffer.get(..len).unwrap_or_default());
        if let Some(code) = answer.map(Answer::code).filter(|code| *code >= 200) {
            return Ok(code);
        }
    }
}

async fn by_stream(registrar: &Registrar, node: &Node, dialling: &Dialling) -> Result<u16, String> {
    let target = Target {
        transport: node.transport,
        address: node.address,
        tls_name: Some(node.host.clone()),
    };
    let connected = connection::dial(dialling, &target).await;
    let connected = connected.map_err(|error| error.to_string())?;
    let (probes, sent) = prober(registrar, connected.local);
    let outbox = Outbox::new(Room {
        messages: 1,
        bytes: limits::SIP_MESSAGE_BYTES_MAX,
    });
    for probe in sent {
        outbox
            .push(probe.bytes, ())
            .map_err(|()| "the probe is too long")?;
    }
    let (sender, mut codes) = mpsc::channel(1);
    let received = |message: bytes::Bytes| {
        let code = probes.answer(&message).map(Answer::code);
        if let Some(code) = code.filter(|code| *code >= 200) {
            // Only the first counts; there is room for it.
            let is_first = sender.try_send(code).is_ok();
            tracing::trace!(code, is_first, "answer to a probe");
        }
    };
    tokio::select! {
        (ended, _) = connection::run(connected.stream, &outbox, received) => Err(ended.to_string()),
        code = codes.recv() => code.ok_or_else(String::new),
    }
}

fn prober(registrar: &Registrar, own: SocketAddr) -> (Probes, Vec<Probe>) {
    let name = Some(HostPort {
        host: Host::Address(own.ip()),
        port: own.port(),
    });
    let names = InnerNames {
        udp: name.clone(),
        tcp: name.clone(),
        tls: name,
        aliases: Vec::new(),
    };
    let now = clock::now();
    let mut probes = Probes::new(names, clock::unix_ms());
    probes.watch(std::slice::from_ref(registrar), now);
    let sent = match registrar.nodes.first().map(|node| node.transport) {
        Some(Transport::Tcp | Transport::Tls | Transport::Wss) => probes.handle_timeout(now).0,
        Some(Transport::Udp) | None => Vec::new(),
    };
    (probes, sent)
}

/// What a node answers that takes no calls.
const OVERLOADED: u16 = 503;
