use std::sync::Arc;

use certs::{Authority, Leaf};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SupportedCipherSuite};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;
use crate::telemetry::HandshakeOutcome;
use crate::tls::config::Certificates;

type LeanServer = LeanTls<DuplexStream>;
type LeanClient = LeanTls<DuplexStream>;
type Client = client::TlsStream<DuplexStream>;
type Server = server::TlsStream<DuplexStream>;

/// Configurations of both sides that fit together.
struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// The server's certificate.
    leaf: Option<CertificateDer<'static>>,
}

fn configs_with(suites: &[SupportedCipherSuite]) -> Configs {
    let authority = Authority::new("public").unwrap();
    let mut anchors = RootCertStore::empty();
    anchors
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let identity = authority
        .issue(&Leaf::server(&["example.com".to_owned()]))
        .unwrap();
    let provider = Arc::new(CryptoProvider {
        cipher_suites: suites.to_vec(),
        ..aws_lc_rs::default_provider()
    });
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes());
    let chain: Vec<_> = chain.collect::<Result<_, _>>().unwrap();
    let leaf = chain.first().cloned();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let certified = CertifiedKey::from_der(chain, key, &provider).unwrap();
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Certificates::new(certified, Vec::new())));
    server.alpn_protocols = vec![b"xmpp-client".to_vec()];
    server.ticketer = aws_lc_rs::Ticketer::new().unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(anchors)
        .with_no_client_auth();
    Configs {
        server: Arc::new(server),
        client: Arc::new(client),
        leaf,
    }
}

fn configs() -> Configs {
    configs_with(aws_lc_rs::ALL_CIPHER_SUITES)
}

fn name() -> ServerName<'static> {
    ServerName::try_from("example.com").unwrap()
}

/// A server of ours and a client of rustls, over a pipe of so many octets.
async fn to_server(configs: &Configs, pipe: usize) -> (Client, LeanServer, Agreed) {
    let (near, far) = tokio::io::duplex(pipe);
    let connector = TlsConnector::from(Arc::clone(&configs.client));
    let connecting = tokio::spawn(connector.connect(name(), near));
    let (server, agreed) = accept(far, &configs.server).await.unwrap();
    (connecting.await.unwrap().unwrap(), server, agreed)
}

/// A client of ours and a server of rustls.
async fn to_client(configs: &Configs, pipe: usize) -> (LeanClient, Server, Agreed) {
    let (near, far) = tokio::io::duplex(pipe);
    let acceptor = TlsAcceptor::from(Arc::clone(&configs.server));
    let accepting = tokio::spawn(acceptor.accept(far));
    let connected = connect(near, Arc::clone(&configs.client), name()).await;
    let (client, agreed) = connected.unwrap();
    (client, accepting.await.unwrap().unwrap(), agreed)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// One side of it.
async fn side<T: AsyncRead + AsyncWrite + Unpin>(stream: T, len: usize) -> T {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let sent = pattern(len);
    let mut received = vec![0; len];
    let write = async {
        writing.write_all(&sent).await.unwrap();
        writing.flush().await.unwrap();
    };
    let (read, ()) = tokio::join!(reading.read_exact(&mut received), write);
    assert_eq!(read.unwrap(), len);
    assert!(received == pattern(len));
    reading.unsplit(writing)
}

/// Octets go both ways at once, more of them than the pipe holds.
async fn exchange<A, B>(one: A, other: B, len: usize) -> (A, B)
where
    A: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::join!(side(one, len), side(other, len))
}

#[tokio::test]
async fn every_suite_carries_octets_both_ways_and_an_idle_connection_holds_none() {
    for suite in aws_lc_rs::ALL_CIPHER_SUITES {
        // Those of RSA certificates are not used with the one here.
        if format!("{suite:?}").contains("_RSA_") {
            continue;
        }
        let configs = configs_with(&[*suite]);

        for len in [1, 300, 70_000, 700_000] {
            let (client, server, agreed) = to_server(&configs, 1 << 16).await;
            let (_, server) = exchange(client, server.busy(), len).await;
            assert_eq!(agreed.version, Some(suite.version().version), "{suite:?}");
            assert_eq!(server.held_bytes(), 0, "{suite:?}");

            let (client, server, _) = to_client(&configs, 1 << 16).await;
            let (client, _) = exchange(client, server, len).await;
            assert_eq!(client.held_bytes(), 0, "{suite:?}");
        }
    }
}

#[tokio::test]
async fn records_in_any_pieces_are_read_alike() {
    let configs = configs();
    for pipe in [1, 2, 7, 100, 5000] {
        let (client, server, _) = to_server(&configs, pipe).await;
        exchange(client, server, 20_000).await;

        let (near, far) = tokio::io::duplex(pipe);
        let accepting = TlsAcceptor::from(Arc::clone(&configs.server)).accept(far);
        let server = tokio::spawn(async move { side(accepting.await.unwrap(), 20_000).await });
        let connected = connect(near, Arc::clone(&configs.client), name()).await;
        side(connected.unwrap().0, 20_000).await;
        server.await.unwrap();
    }
}

#[tokio::test]
async fn both_sides_say_what_was_agreed_on() {
    let mut configs = configs();
    Arc::make_mut(&mut configs.client).alpn_protocols = vec![b"xmpp-client".to_vec()];

    let (_, _, server) = to_server(&configs, 1 << 16).await;
    let (_, _, client) = to_client(&configs, 1 << 16).await;

    let alpn = Some(b"xmpp-client".to_vec());
    let server_name = Some("example.com".to_owned());
    let version = Some(ProtocolVersion::TLSv1_3);
    let expected = Agreed {
        version,
        alpn,
        server_name,
        peer_certificate: None,
    };
    assert_eq!(server, expected);
    let expected = Agreed {
        server_name: None,
        peer_certificate: configs.leaf.clone(),
        ..expected
    };
    assert_eq!(client, expected);
}

#[tokio::test]
async fn a_handshake_that_fails_is_told_to_the_peer() {
    let mut configs = configs();
    Arc::make_mut(&mut configs.client).alpn_protocols = vec![b"h2".to_vec()];
    let (near, far) = tokio::io::duplex(1 << 16);
    let connector = TlsConnector::from(Arc::clone(&configs.client));
    let connecting = tokio::spawn(connector.connect(name(), near));

    let refused = accept(far, &configs.server).await.map(|_| ());

    assert_eq!(
        HandshakeOutcome::of(&refused),
        HandshakeOutcome::Incompatible
    );
    let told = connecting.await.unwrap().map(|_| ());
    assert_eq!(HandshakeOutcome::of(&told), HandshakeOutcome::Alert);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused_and_the_server_told() {
    let (ours, theirs) = (configs(), configs());
    let (near, far) = tokio::io::duplex(1 << 16);
    let accepting = tokio::spawn(TlsAcceptor::from(theirs.server).accept(far));

    let refused = connect(near, ours.client, name()).await.map(|_| ());

    assert_eq!(
        HandshakeOutcome::of(&refused),
        HandshakeOutcome::BadCertificate
    );
    let told = accepting.await.unwrap().map(|_| ());
    assert_eq!(HandshakeOutcome::of(&told), HandshakeOutcome::Alert);
}

#[tokio::test]
async fn what_is_not_tls_is_refused() {
    let configs = configs();
    for text in ["GET / HTTP/1.1\r\n\r\n", "<?xml version='1.0'?>"] {
        let (mut near, far) = tokio::io::duplex(1 << 16);
        near.write_all(text.as_bytes()).await.unwrap();

        let refused = accept(far, &configs.server).await.map(|_| ());

        assert_eq!(HandshakeOutcome::of(&refused), HandshakeOutcome::NotTls);
    }
}

#[tokio::test]
async fn a_goodbye_is_an_end_and_anything_else_is_a_cut() {
    let configs = configs();
    let mut buffer = Vec::new();

    let (mut client, mut server, _) = to_server(&configs, 1 << 16).await;
    client.write_all(b"last words").await.unwrap();
    client.shutdown().await.unwrap();
    server.read_to_end(&mut buffer).await.unwrap();
    assert_eq!(buffer, b"last words");
    // The other direction is still open.
    server.write_all(b"answer").await.unwrap();
    server.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");

    let (client, mut server, _) = to_server(&configs, 1 << 16).await;
    drop(client.into_inner().0);
    let cut = server.read(&mut [0; 8]).await;
    assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn keys_change_as_often_as_a_peer_likes() {
    let configs = configs();
    let (mut client, mut server, _) = to_server(&configs, 1 << 16).await;

    for _ in 0..5 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        (client, server) = exchange(client, server, 500).await;
    }

    assert_eq!(server.held_bytes(), 0);
    let (mut client, mut server, _) = to_client(&configs, 1 << 16).await;
    for _ in 0..5 {
        server.get_mut().1.refresh_traffic_keys().unwrap();
        (client, server) = exchange(client, server, 500).await;
    }
    assert_eq!(client.held_bytes(), 0);
}

#[tokio::test]
async fn a_forged_record_ends_the_connection_with_an_alert() {
    let configs = configs();
    let (mut client, mut server, _) = to_server(&configs, 1 << 16).await;
    let forged = [&[23, 3, 3, 0, 32][..], &[7; 32]].concat();
    client.get_mut().0.write_all(&forged).await.unwrap();

    let refused = server.read(&mut [0; 8]).await.unwrap_err();

    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    let told = client.read(&mut [0; 8]).await.map(|_| ());
    assert_eq!(HandshakeOutcome::of(&told), HandshakeOutcome::Alert);
    assert!(server.write(b"more").await.is_err());
}

#[tokio::test]
async fn what_may_not_come_after_a_handshake_ends_the_connection() {
    let configs = configs();
    for (octets, error) in [
        // A record in the clear, one longer than there can be, and one of a kind that nobody knows.
        (&[22, 3, 3, 0, 4, 0, 0, 0, 0][..], "InappropriateMessage"),
        (&[23, 3, 3, 0x48, 1], "PeerSentOversizedRecord"),
        (&[99, 3, 3, 0, 1, 0], "InappropriateMessage"),
        (&[20, 3, 3, 0, 1, 1], "InappropriateMessage"),
        (&[23, 3, 3, 0, 0], "DecryptError"),
    ] {
        let (mut client, mut server, _) = to_server(&configs, 1 << 16).await;
        client.get_mut().0.write_all(octets).await.unwrap();

        let refused = server.read(&mut [0; 8]).await.unwrap_err();

        let told = format!("{:?}", refused.get_ref().unwrap());
        assert!(told.starts_with(error), "{octets:?} {told}");
    }
}

#[tokio::test]
async fn requests_to_change_keys_are_answered_once_and_with_the_next_words() {
    let configs = configs();
    let (mut client, mut server, _) = to_server(&configs, 1 << 16).await;
    for _ in 0..1000 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
    }

    assert_eq!(server.held_bytes(), 0);
    exchange(client, server, 10).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_waited_for_with_one_record() {
    let configs = configs();
    let (_client, mut server, _) = to_server(&configs, 5000).await;
    let flood = vec![7; 1 << 20];

    let is_written = is_done_now(server.write_all(&flood)).await;

    assert!(!is_written);
    assert!(server.held_bytes() < 20_000, "{}", server.held_bytes());
}

#[tokio::test]
async fn what_is_long_is_written_in_batches_of_records() {
    let configs = configs();
    let (_client, server, _) = to_server(&configs, 1 << 20).await;
    let long = vec![7; 1 << 20];
    let pieces = [&long[..1], &[], &long[..40_000], &long].map(IoSlice::new);

    let written = server.busy().write_vectored(&pieces).await.unwrap();

    assert_eq!(written, limits::TLS_BATCH_RECORDS * 16 * 1024);
}

#[tokio::test]
async fn a_session_is_resumed() {
    let configs = configs();
    let (client, server, _) = to_client(&configs, 1 << 16).await;
    // Tickets come with the first records.
    exchange(client, server, 10).await;

    let (client, server, _) = to_client(&configs, 1 << 16).await;

    let kind = server.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(rustls::HandshakeKind::Resumed));
    exchange(client, server, 10).await;
}

/// Whether it is done without waiting for anybody else.
async fn is_done_now<F: Future>(work: F) -> bool {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx).is_ready())).await
}
