//! The doctor against certificates and peers that are right, and that are wrong in one way each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use certs::{Pki, Plan};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::Purpose;
use crate::config::pem;
use crate::config::section::Identity;
use crate::net::{Domain, Host, HostPort};
use crate::runtime::clock;
use crate::tls::config;

struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::generate(&Plan::standard("example.com")).unwrap();
        pki.write_to(folder.path()).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn identity(&self, name: &str) -> Identity {
        Identity {
            chain: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        }
    }
}

fn name(text: &str) -> Domain {
    text.parse().unwrap()
}

/// Where the doctor connects from: not what the system would choose for a peer on loopback.
const BIND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

/// A link listener as edge-e has it, for one connection.
async fn link_listener(files: &Files, anchors: &str) -> SocketAddr {
    let anchors = pem::trust_anchors(&[files.path(anchors)]).unwrap();
    let identity = files.identity("link/edge1").load().unwrap();
    let server = config::link_server(identity, anchors).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(tokio::spawn(async move {
        let (socket, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), BIND);
        let stream = TlsAcceptor::from(Arc::new(server)).accept(socket).await;
        // Held open until the doctor hangs up, as a listener that waits for a greeting does.
        if let Ok(mut stream) = stream {
            drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
        }
    }));
    address
}

async fn dial(files: &Files, address: SocketAddr, name: &str, anchors: &str) -> Finding {
    let anchors = pem::trust_anchors(&[files.path(anchors)]).unwrap();
    let identity = files.identity("link/edge-c1").load().unwrap();
    probe(TlsProbe {
        what: "link".to_owned(),
        address: HostPort {
            host: Host::Address(address.ip()),
            port: address.port(),
        },
        name: Host::parse(name).unwrap(),
        config: Arc::new(config::link_client(identity, anchors).unwrap()),
        bind: Some(BIND),
    })
    .await
}

#[test]
fn a_good_certificate_passes_and_says_for_whom_it_is() {
    let files = Files::new();
    let identity = files.identity("public/edge1");
    let names = [name("edge1.example.com"), name("example.com")];
    let names: Vec<_> = names.iter().collect();

    let found = certificate(
        "public",
        &identity,
        Purpose::Server,
        &names,
        clock::unix_now(),
    );

    assert_eq!(found.len(), 1);
    assert_eq!(found[0].grade, Grade::Pass);
    assert!(found[0].detail.contains("edge1.example.com"), "{found:?}");
}

#[test]
fn certificates_that_peers_will_refuse_say_why() {
    let files = Files::new();
    let now = clock::unix_now();
    let look = |identity: &Identity, purpose| certificate("link", identity, purpose, &[], now);
    let mixed = Identity {
        key: files.path("link/edge2.key"),
        ..files.identity("link/edge1")
    };

    let found = look(&mixed, Purpose::Server);
    assert_eq!(found[0].grade, Grade::Fail);
    assert!(
        found[0]
            .detail
            .contains("does not belong to the certificate")
    );

    let found = look(&files.identity("link/edge-c1"), Purpose::Server);
    assert_eq!(found[0].grade, Grade::Warn);
    assert!(found[0].detail.contains("lacks serverAuth"), "{found:?}");

    let found = look(
        &files.identity("link/faulty/edge1-expired"),
        Purpose::Server,
    );
    assert_eq!(found[0].grade, Grade::Fail);
    assert!(found[0].detail.contains("has expired"), "{found:?}");

    let other = name("edge9.example.com");
    let found = certificate(
        "public",
        &files.identity("public/edge1"),
        Purpose::Server,
        &[&other],
        now,
    );
    assert_eq!(found[0].grade, Grade::Warn);
    assert!(found[0].remedy.contains("add DNS:edge9.example.com"));
}

#[tokio::test]
async fn a_port_is_free_or_taken_by_somebody_or_by_this_service() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = taken.local_addr().unwrap();

    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    assert_eq!(port("public", free, false).grade, Grade::Pass);
    let found = port("public", address, false);
    assert_eq!(found.grade, Grade::Fail);
    assert!(found.remedy.contains("ss -ltnp"));
    assert_eq!(port("public", address, true).grade, Grade::Pass);
}

#[tokio::test]
async fn a_link_that_works_passes() {
    let files = Files::new();
    let address = link_listener(&files, "link/ca.pem").await;

    let found = dial(&files, address, "edge1.link.internal", "link/ca.pem").await;

    assert_eq!(found.grade, Grade::Pass, "{found:?}");
    assert!(found.detail.contains("TLSv1_3"), "{found:?}");
}

#[tokio::test]
async fn a_link_to_the_wrong_peer_says_what_to_put_right() {
    let files = Files::new();

    let address = link_listener(&files, "link/ca.pem").await;
    let found = dial(&files, address, "edge2.link.internal", "link/ca.pem").await;
    assert_eq!(found.grade, Grade::Fail);
    assert!(found.remedy.contains("edge2.link.internal"), "{found:?}");

    let address = link_listener(&files, "link/ca.pem").await;
    let found = dial(&files, address, "edge1.link.internal", "public/ca.pem").await;
    assert!(found.remedy.contains("trust_anchors"), "{found:?}");
}

#[tokio::test]
async fn a_peer_that_refuses_our_certificate_is_found_out_after_the_handshake() {
    let files = Files::new();
    let address = link_listener(&files, "inside/ca.pem").await;

    let found = dial(&files, address, "edge1.link.internal", "link/ca.pem").await;

    assert_eq!(found.grade, Grade::Fail, "{found:?}");
    assert!(
        found.detail.contains("was reached, but TLS failed"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_not_a_tls_problem() {
    let files = Files::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);

    let found = dial(&files, address, "edge1.link.internal", "link/ca.pem").await;

    assert!(found.detail.contains("can't be reached"), "{found:?}");
    assert!(found.remedy.contains("packet filter"));
}

#[test]
fn a_report_is_as_bad_as_its_worst_finding() {
    let mut report = Report::default();
    assert_eq!(report.grade(), Grade::Pass);

    report.add([
        Finding::pass("one", "fine"),
        Finding::warn("two", "soon over", "renew it"),
        Finding::fail("three", "gone", "bring it back"),
    ]);

    assert_eq!(report.grade(), Grade::Fail);
    insta::assert_snapshot!(report, @r#"
    pass  one: fine
    warn  two: soon over
          renew it
    fail  three: gone
          bring it back
    1 passed, 1 warned, 1 failed
    "#);
    assert_eq!(report.to_json()["findings"][1]["remedy"], "renew it");
}
