//! Clients whose TLS ends here: edge-e carries what it can't read.

use common::runtime::link_streams::OpenError;
use common::tls::config as tls;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

impl World {
    async fn open_unread(&self) -> Result<LinkStream, OpenError> {
        let preface = StreamPreface {
            protocol: StreamProtocol::XmppTls,
            transport: ClientTransport::Tls,
            client: ClientAddr(([192, 0, 2, 7], 40000).into()),
            local: ([192, 0, 2, 1], 5222).into(),
            server_name: None,
            tls_version: TlsVersion::V1_3,
            domain: None,
            tracking: TrackingId::new([7; 16]),
        };
        self.opener.open(&preface).await
    }

    /// A client beyond an edge-e that passes on octets.
    async fn unread_client(&self, authority: &Authority) -> TlsStream<DuplexStream> {
        let (near, far) = tokio::io::duplex(1 << 12);
        drop(tokio::spawn(carry(self.open_unread().await.unwrap(), far)));
        let config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authority.anchors())
            .with_no_client_auth();
        let name = ServerName::try_from("example.com").unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, near);
        timeout(PATIENCE, connecting).await.unwrap().unwrap()
    }
}

/// As edge-e does it, both ways at once, until it is told to close the client.
async fn carry(stream: LinkStream, client: DuplexStream) {
    let (mut sending, mut receiving) = stream.split();
    let (mut reading, mut writing) = tokio::io::split(client);
    let up = async {
        let mut said = [0; 4096];
        loop {
            let count = reading.read(&mut said).await.unwrap();
            if count == 0 {
                return;
            }
            let message = Frame::Message(Bytes::copy_from_slice(&said[..count]));
            sending.send(encoded(&message).unwrap()).await.unwrap();
        }
    };
    let down = async {
        let mut decoder = Decoder::new();
        while let Some(bytes) = receiving.receive().await {
            decoder.push(&bytes);
            while let Some(frame) = decoder.next().unwrap() {
                match frame {
                    Frame::Message(message) => writing.write_all(&message).await.unwrap(),
                    Frame::Close(_) => return writing.shutdown().await.unwrap(),
                    Frame::AuthFailed(_) | Frame::Gate(_) => {}
                }
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
    sending.finish();
}

async fn say(client: &mut TlsStream<DuplexStream>, text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
    client.flush().await.unwrap();
}

async fn hear<T: AsyncRead + Unpin>(client: &mut T, end: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(end) {
        let mut bytes = [0; 4096];
        let count = timeout(PATIENCE, client.read(&mut bytes)).await.unwrap();
        let count = count.unwrap();
        assert!(count > 0, "no {end} in {heard}");
        heard.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    heard
}

#[tokio::test]
async fn a_client_whose_tls_ends_here_signs_in_is_copied_and_told_goodbye() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;
    let server = Arc::new(authority.server());
    world.xmpp.shared().client_tls.store(Some(server));
    let mut client = world.unread_client(&authority).await;

    say(&mut client, HEADER).await;
    hear(&mut client, "</stream:features>").await;
    say(&mut client, &plain("alice")).await;
    hear(&mut client, "<success").await;
    say(&mut client, HEADER).await;
    hear(&mut client, "<bind").await;
    let long = format!("<message><body>{}</body></message>", "x".repeat(100_000));
    let (mut reading, mut writing) = tokio::io::split(client);
    let saying = async {
        writing.write_all(long.as_bytes()).await.unwrap();
        writing.flush().await.unwrap();
    };
    let (_, echo) = tokio::join!(saying, hear(&mut reading, "</message>"));

    assert!(echo.contains(&long));
    world.xmpp.shared().streams.stop(Stop::Revoked, 1, |_| true);
    let mut end = String::new();
    reading.read_to_string(&mut end).await.unwrap();
    assert!(end.contains("<stream:error>"), "{end}");
    assert!(end.ends_with("</stream:stream>"), "{end}");
}

#[tokio::test]
async fn without_a_certificate_such_clients_are_refused() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;

    let refused = world.open_unread().await.map(drop);

    assert_eq!(
        refused,
        Err(OpenError::Refused(http::StatusCode::NOT_FOUND))
    );
}

#[tokio::test]
async fn what_is_not_tls_is_counted() {
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let world = world(&authority, &[starttls(node.address())], SessionGate::Off).await;
    let server = Arc::new(authority.server());
    world.xmpp.shared().client_tls.store(Some(server));
    let mut stream = world.open_unread().await.unwrap();

    let junk = Frame::Message(Bytes::from_static(b"<stream:stream>"));
    stream.send(encoded(&junk).unwrap()).await.unwrap();
    while stream.receive().await.is_some() {}

    assert!(world.metric("xmpp_sign_ins_total{outcome=\"no_tls\"} 1"));
}
