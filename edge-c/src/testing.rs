//! An inner world for tests of this crate: a name server and UDS nodes on loopback addresses, with faults on demand.

mod dns;
mod issuer;
pub(crate) mod redis;
mod uds;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use common::net::{Deployment, Domain, HostPort};
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;

use crate::config::tokens::Issuer as IssuerConfig;
use crate::dial::InsideTls;
use crate::discovery::dns::{Dns, DnsConfig};
use crate::discovery::srv::Dice;
use crate::discovery::{Config, Discovery, Node, NodeKind, ServedDomain};
use crate::tokens::metrics::TokenMetrics;
use crate::tokens::{Fetcher, SelfCall, TokenVerifier};
use crate::uds::{OnBehalf, Timeouts, Uds};
use crate::upstream::http::{self as upstream, Upstreams};

pub(crate) use dns::{Mode, TestDns};
pub(crate) use issuer::TestIssuer;
pub(crate) use uds::{Fault, TestUds, User};

/// An authority that nobody has a certificate of.
pub(crate) fn anchors() -> Arc<RootCertStore> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut anchors = RootCertStore::empty();
    anchors
        .add(params.self_signed(&key).unwrap().der().clone())
        .unwrap();
    Arc::new(anchors)
}

/// For connections that never come about.
pub(crate) fn client_tls() -> Arc<ClientConfig> {
    let anchors = RootCertStore::clone(&anchors());
    Arc::new(common::tls::config::inside_client(anchors).unwrap())
}

/// A name server, UDS nodes, and clients of both.
pub(crate) struct World {
    pub(crate) dns: TestDns,
    pub(crate) nodes: TestUds,
    pub(crate) tls: InsideTls,
    resolver: Arc<Dns>,
}

impl World {
    /// Starts the nodes of `clusters`, all on one port; the name server knows their addresses and nothing else.
    pub(crate) async fn start(clusters: &[&[&str]]) -> Self {
        let (tls, server) = certificates(clusters);
        let nodes = TestUds::start(clusters, server).await;
        let dns = TestDns::start().await;
        for (name, address) in nodes.addresses() {
            dns.add_address(&name, address.ip());
        }
        let resolver = Arc::new(
            Dns::new(&DnsConfig {
                servers: vec![dns.address()],
                timeout: Duration::from_millis(150),
            })
            .unwrap(),
        );
        Self {
            dns,
            nodes,
            tls,
            resolver,
        }
    }

    /// Adds `_cisco-uds._tcp.<zone>` with one record per node, with rising priority.
    pub(crate) fn add_uds_records(&self, zone: &str, nodes: &[&str]) {
        for (priority, node) in (1..).zip(nodes) {
            let port = self.nodes.port();
            self.dns
                .add_srv(&format!("_cisco-uds._tcp.{zone}"), priority, 1, port, node);
        }
    }

    pub(crate) fn node(&self, name: &str) -> HostPort {
        format!("{name}:{}", self.nodes.port()).parse().unwrap()
    }

    pub(crate) fn resolver(&self) -> Arc<Dns> {
        Arc::clone(&self.resolver)
    }

    /// A client with deadlines short enough for a test that waits for them.
    pub(crate) fn uds(&self) -> Arc<Uds> {
        let timeouts = Timeouts {
            connect: Duration::from_secs(2),
            tls: Duration::from_secs(2),
            answer: Duration::from_millis(700),
        };
        let tls = Arc::clone(&self.tls);
        Arc::new(Uds::new(tls, self.resolver(), None, timeouts))
    }

    pub(crate) fn discovery(&self, nodes: Vec<Node>) -> Arc<Discovery> {
        let config = Config {
            domains: vec![domain()],
            nodes,
            has_pinpoint_zone: true,
        };
        Arc::new(Discovery::new(config, self.resolver(), Dice::new(1)))
    }

    /// A verifier of tokens of these issuers, which asks the first cluster where it must.
    pub(crate) fn verifier(&self, issuers: &[IssuerConfig]) -> TokenVerifier {
        let names = self.nodes.addresses();
        let ucm = names.keys().filter(|name| !name.starts_with("idp"));
        let discovery = self.discovery(ucm.map(|name| self.ucm(name)).collect());
        let config = upstream::Config {
            bind_address: None,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(30),
            connections_per_node_max: 8,
        };
        let (tls, dns) = (Arc::clone(&self.tls), self.resolver());
        let upstreams = Upstreams::new(config, tls, dns, Arc::clone(&discovery));
        let fetcher = Fetcher::new(Arc::new(upstreams));
        let self_call = SelfCall::new(discovery, self.uds());
        let metrics = TokenMetrics::register(&mut Registry::default());
        TokenVerifier::new(issuers, fetcher, self_call, metrics).unwrap()
    }

    /// A configured UCM node.
    pub(crate) fn ucm(&self, name: &str) -> Node {
        let address = self.node(name);
        Node {
            kind: NodeKind::Ucm,
            host: address.host,
            port: Some(address.port),
            deployment: Deployment::standard(),
        }
    }
}

/// `example.com`, served by the standard deployment.
pub(crate) fn domain() -> ServedDomain {
    ServedDomain {
        name: Domain::parse("example.com").unwrap(),
        deployment: Deployment::standard(),
        voice_services_domain: None,
    }
}

pub(crate) fn on_behalf() -> OnBehalf {
    OnBehalf {
        client: common::net::ClientAddr("192.0.2.55:40000".parse().unwrap()),
        tracking: common::id::TrackingId::new([7; 16]),
    }
}

/// A CA, a client that trusts it, and one certificate for all nodes by name.
fn certificates(clusters: &[&[&str]]) -> (InsideTls, Arc<ServerConfig>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);

    let names: Vec<_> = clusters
        .concat()
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (Arc::new(ArcSwap::from_pointee(client)), Arc::new(server))
}

/// Credentials as a client writes them.
pub(crate) fn basic(user: &str, password: &str) -> common::redact::Secret<String> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    common::redact::Secret::new(format!("Basic {text}"))
}

/// Users by id.
pub(crate) type Users = BTreeMap<String, User>;
