//! The product: edge-e and edge-c as the release binaries; phones register and call over TLS as any phone does.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use certs::{Pki, Plan};
use support::bench::chain::{Edge, start_edges};
use support::place::Place;
use support::sip::agent::Agent;
use support::tls_client::Dialer;
use support::wait;

use super::{Call, Caller, Chain, loopback};
use crate::registrar::Registrar;

pub(super) fn start(calls: u16, dir: &Path) -> Result<Chain> {
    Pki::generate(&Plan::standard(DOMAIN))?.write_to(dir)?;
    let registrar = Registrar::start(loopback(REGISTRAR), loopback(CORE_SIP), DOMAIN)?;
    let edges = [
        Edge {
            binary: "edge-e",
            text: edge_e(dir),
            admin: loopback(ADMIN_E),
        },
        Edge {
            binary: "edge-c",
            text: edge_c(dir),
            admin: loopback(ADMIN_C),
        },
    ];
    let processes = start_edges(dir, None, edges)?;
    let dialer = Dialer::new(
        &Place::Host,
        loopback(EDGE_SIP),
        EDGE,
        &dir.join("public/ca.pem"),
        &[],
    )?;
    let mut phones = Vec::new();
    let mut connected = Vec::new();
    for number in 0..calls {
        if number % CALLS_PER_PHONE == 0 {
            phones.push(phone(&dialer, 1000 + number)?);
        }
        let phone = phones.last_mut().context("no phone")?;
        connected.push(call(phone, &registrar)?);
    }
    Ok(Chain {
        calls: connected,
        processes,
        _signalling: Some((phones, registrar)),
    })
}

/// A phone that is registered.
fn phone(dialer: &Dialer, number: u16) -> Result<Agent> {
    // The registrar may not have been found alive yet.
    wait::until("a registration", wait::START_LIMIT, || {
        let mut phone = Agent::over_tls(dialer, &number.to_string(), DOMAIN)?;
        let answer = phone.register(3600)?;
        ensure!(answer.status() == Some(200), "{answer:#?}");
        Ok(Some(phone))
    })
}

fn call(phone: &mut Agent, registrar: &Registrar) -> Result<Call> {
    // Ports are made ready ahead of calls; many calls at once may be faster.
    wait::until("a call", wait::START_LIMIT, || {
        let caller = Caller::new()?;
        let target = format!("sip:echo@{DOMAIN}");
        let (_, response) = phone.invite(&target, "", &caller.offer()?)?;
        if response.status() == Some(503) {
            return Ok(None);
        }
        ensure!(response.status() == Some(200), "{response:#?}");
        let inner = registrar.next_call()?;
        let outer = caller.connected(&response.body)?;
        Ok(Some(Call { outer, inner }))
    })
}

fn edge_e(dir: &Path) -> String {
    let pki = dir.display();
    format!(
        r#"name = "{EDGE}"
[public]
listen = ["127.0.0.1:8443"]
certificates = [{{ chain = "{pki}/public/edge1.pem", key = "{pki}/public/edge1.key" }}]
[sip]
listen = ["127.0.0.1:{EDGE_SIP}"]
messages_per_second = 1000
messages_burst = 1000
[link]
listen = ["127.0.0.1:7001"]
certificate = "{pki}/link/edge1.pem"
key = "{pki}/link/edge1.key"
trust_anchors = ["{pki}/link/ca.pem"]
allowed_cores = ["edge-c1.link.internal"]
[media]
listen = ["127.0.0.1"]
ports = "40000-49999"
[admin]
listen = "127.0.0.1:{ADMIN_E}"
[drain]
grace = "1s"
"#
    )
}

fn edge_c(dir: &Path) -> String {
    let pki = dir.display();
    format!(
        r#"name = "edge-c1.link.internal"
core_id = 1
[[edge]]
name = "{EDGE}"
address = "127.0.0.1:7001"
certificate_name = "edge1.link.internal"
[link]
certificate = "{pki}/link/edge-c1.pem"
key = "{pki}/link/edge-c1.key"
trust_anchors = ["{pki}/link/ca.pem"]
[[domain]]
name = "{DOMAIN}"
[[node]]
kind = "ucm"
host = "127.0.0.1"
[dns]
servers = ["127.0.0.1:53"]
[inside]
trust_anchors = ["{pki}/inside/ca.pem"]
[sip]
listen = ["udp:127.0.0.1:{CORE_SIP}"]
[[registrar]]
name = "bench"
hosts = ["{DOMAIN}"]
nodes = ["udp:127.0.0.1:{REGISTRAR}"]
mode = "path-always"
media = "rtp"
[media]
listen = ["127.0.0.1"]
ports = "50000-59999"
networks = ["127.0.0.0/8"]
[admin]
listen = "127.0.0.1:{ADMIN_C}"
[drain]
grace = "1s"
"#
    )
}

const DOMAIN: &str = "example.com";
const EDGE: &str = "edge1.example.com";
const EDGE_SIP: u16 = 5061;
const CORE_SIP: u16 = 5070;
const REGISTRAR: u16 = 5080;
const ADMIN_E: u16 = 9001;
const ADMIN_C: u16 = 9002;
/// Fewer than the transactions that one connection may have; those of calls live on for half a minute.
const CALLS_PER_PHONE: u16 = 20;
