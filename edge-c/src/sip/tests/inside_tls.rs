//! TLS towards registrars: verified by name on the way in, mutual on the way out.

use certs::{Authority, Identity, Leaf};
use common::config::pem;
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

struct Keys {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("inside").unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Self { folder, authority }
    }

    fn anchors(&self) -> rustls::RootCertStore {
        pem::trust_anchors(&[self.folder.path().join("ca.pem")]).unwrap()
    }

    fn certified(&self, leaf: &Leaf) -> CertifiedKey {
        let identity: Identity = self.authority.issue(leaf).unwrap();
        let stem = self.folder.path().join("leaf");
        identity.write_to(&stem).unwrap();
        pem::certified_key(&stem.with_extension("pem"), &stem.with_extension("key")).unwrap()
    }

    fn of(&self, address: &str) -> CertifiedKey {
        self.certified(&Leaf::server(&[]).with_addresses(&[address.parse().unwrap()]))
    }

    fn core(&self) -> Setup {
        let client = self.certified(&Leaf::client(&["edge-c.lab.test".to_owned()]));
        Setup {
            client_tls: tls::sip_client(Some(client), self.anchors()).unwrap(),
            server_tls: Some(tls::sip_server(self.of("127.0.0.1"), Some(self.anchors())).unwrap()),
            ..Setup::default()
        }
    }

    /// A registrar that wants a certificate of whoever connects.
    fn registrar(&self, address: &str) -> TlsAcceptor {
        let server = tls::sip_server(self.of(address), Some(self.anchors())).unwrap();
        TlsAcceptor::from(Arc::new(server))
    }

    fn connector(&self, own: Option<CertifiedKey>) -> TlsConnector {
        TlsConnector::from(Arc::new(tls::sip_client(own, self.anchors()).unwrap()))
    }
}

fn is(status: &Status, state: NodeState) -> bool {
    status.nodes.iter().any(|node| node.state == Some(state))
}

#[tokio::test]
async fn a_registrar_that_asks_for_a_certificate_gets_one_and_is_used() {
    let keys = Keys::new();
    let world = world_with(keys.core()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.use_nodes(&[(Transport::Tls, listener.local_addr().unwrap())]);
    let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let stream = keys.registrar("127.0.0.1").accept(stream).await.unwrap();
    assert!(stream.get_ref().1.peer_certificates().is_some());
    let mut node = TcpPeer::over(stream);
    let mut client = world.client().await;

    client.register("1001", "").await;
    let request = node.request().await;
    node.send(&answer(&request)).await;

    assert_eq!(client.message().await.status(), Some(401));
    let via = request.top_via().unwrap();
    let own = world.sip.address(Transport::Tls).unwrap();
    assert_eq!(
        via.host_ip(),
        Some(own.ip()),
        "requests of its own come to where we listen"
    );
}

#[tokio::test]
async fn a_registrar_with_another_name_in_its_certificate_is_down() {
    let keys = Keys::new();
    let world = world_with(keys.core()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.use_nodes(&[(Transport::Tls, listener.local_addr().unwrap())]);
    let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();

    let refused = keys.registrar("192.0.2.99").accept(stream).await;

    assert!(refused.is_err(), "edge-c goes away");
    world.until(|status| is(status, NodeState::Down)).await;
}

/// A registrar that shows that certificate connects, and lends the connection for requests to `port`.
async fn lender(world: &World, keys: &Keys, own: CertifiedKey, port: u16) -> TcpPeer {
    let core = world.sip.address(Transport::Tls).unwrap();
    let name = rustls_pki_types::ServerName::IpAddress(core.ip().into());
    let stream = TcpStream::connect(core).await.unwrap();
    let stream = keys
        .connector(Some(own))
        .connect(name, stream)
        .await
        .unwrap();
    let mut node = TcpPeer::over(stream);
    node.send(&format!(
        "OPTIONS sip:{core} SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:{port};branch=z9hG4bK1;alias\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@lab.test>;tag=1\r\nTo: <sip:{core}>\r\nCall-ID: lend\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ))
    .await;
    assert_eq!(node.message().await.status(), Some(200));
    node
}

#[tokio::test]
async fn a_connection_that_a_registrar_lends_is_used_for_requests_to_it() {
    let keys = Keys::new();
    let world = world_with(keys.core()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = keys.certified(&Leaf::mutual(&[]).with_addresses(&[address.ip()]));
    let mut node = lender(&world, &keys, own, address.port()).await;

    world.use_nodes(&[(Transport::Tls, address)]);
    let mut client = world.client().await;
    client.register("1001", "").await;

    let request = node.request().await;
    node.send(&answer(&request)).await;
    assert_eq!(client.message().await.status(), Some(401));
    let dialled = timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(dialled.is_err(), "nobody is dialled");
}

#[tokio::test]
async fn a_connection_lent_under_another_name_is_not_used() {
    let keys = Keys::new();
    let world = world_with(keys.core()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = keys.certified(&Leaf::mutual(&["other.lab.test".to_owned()]));
    let _node = lender(&world, &keys, own, address.port()).await;

    world.use_nodes(&[(Transport::Tls, address)]);

    let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let stream = keys.registrar("127.0.0.1").accept(stream).await.unwrap();
    let mut node = TcpPeer::over(stream);
    let mut client = world.client().await;
    client.register("1001", "").await;
    assert_eq!(node.request().await.method_token(), b"REGISTER");
}

#[tokio::test]
async fn whoever_connects_from_inside_must_show_a_certificate() {
    let keys = Keys::new();
    let world = world_with(keys.core()).await;
    let own = world.sip.address(Transport::Tls).unwrap();
    let name = || rustls_pki_types::ServerName::IpAddress(own.ip().into());
    let knock = |connector: TlsConnector| async move {
        let stream = TcpStream::connect(own).await.unwrap();
        // With TLS 1.3 the refusal comes after the client's handshake is done: where the answer would be.
        let mut stream = connector.connect(name(), stream).await.unwrap();
        stream.write_all(b"\r\n\r\n").await.unwrap();
        let mut pong = [0; 2];
        let read = timeout(PATIENCE, stream.read_exact(&mut pong))
            .await
            .unwrap();
        read.map(|_| pong)
    };

    let registrar = keys.certified(&Leaf::client(&["cucm1.lab.test".to_owned()]));
    let known = knock(keys.connector(Some(registrar))).await;
    let stranger = knock(keys.connector(None)).await;

    assert_eq!(known.unwrap(), *b"\r\n");
    assert!(stranger.is_err());
}
