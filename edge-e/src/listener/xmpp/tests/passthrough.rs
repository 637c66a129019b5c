//! Clients whose TLS ends at the core.

use rustls::ClientConnection;

use super::*;

async fn scene_without_ears() -> Scene {
    scene_with(config::Xmpp {
        is_passthrough: true,
        ..settings(LONG)
    })
    .await
}

/// What a client begins TLS with.
fn hello(scene: &Scene, server_name: &'static str) -> Vec<u8> {
    let name = ServerName::try_from(server_name).unwrap();
    let mut tls = ClientConnection::new(Arc::new(scene.client_tls.clone()), name).unwrap();
    let mut octets = Vec::new();
    tls.write_tls(&mut octets).unwrap();
    octets
}

impl Core {
    /// So many octets, however they are cut.
    async fn octets(&mut self, count: usize) -> Vec<u8> {
        let mut octets = Vec::new();
        while octets.len() < count {
            let Some(Frame::Message(message)) = self.next().await else {
                panic!("the stream ended after {octets:?}");
            };
            octets.extend_from_slice(&message);
        }
        octets
    }
}

#[tokio::test]
async fn what_a_client_says_from_its_hello_on_reaches_the_core_as_it_is() {
    let mut scene = scene_without_ears().await;
    let hello = hello(&scene, "example.com");
    let (first, rest) = hello.split_at(3);
    let mut client = scene.connect().await;

    client.write_all(first).await.unwrap();
    client.write_all(rest).await.unwrap();
    let mut core = scene.accept().await;
    client.write_all(&[0, 1, 0xff]).await.unwrap();
    core.tell(Frame::Message(Bytes::from_static(&[7, 0, 9])))
        .await;

    assert_eq!(
        core.octets(hello.len() + 3).await,
        [&hello[..], &[0, 1, 0xff]].concat()
    );
    assert_eq!(core.preface.protocol, StreamProtocol::XmppTls);
    assert_eq!(core.preface.domain, Domain::parse("example.com").ok());
    let mut answer = [0; 3];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [7, 0, 9]);
    core.tell(Frame::Close(FlowClose::Ended)).await;
    assert_eq!(client.read(&mut answer).await.unwrap(), 0);
}

#[tokio::test]
async fn who_asks_for_tls_has_said_the_domain_already() {
    let mut scene = scene_without_ears().await;
    let mut client = scene.connect().await;
    say(&mut client, HEADER).await;
    hear(&mut client, "</stream:features>").await;
    say(&mut client, STARTTLS).await;
    hear(
        &mut client,
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    )
    .await;

    let hello = hello(&scene, "chat.example.net");
    client.write_all(&hello).await.unwrap();

    let core = scene.accept().await;
    assert_eq!(core.preface.domain, Domain::parse("example.com").ok());
    assert_eq!(
        core.preface.server_name,
        Domain::parse("chat.example.net").ok()
    );
}

#[tokio::test]
async fn a_hello_for_nobody_is_turned_away_in_the_words_of_tls() {
    let scene = scene_without_ears().await;
    let mut client = scene.connect().await;
    client
        .write_all(&hello(&scene, "example.org"))
        .await
        .unwrap();

    let mut told = Vec::new();
    client.read_to_end(&mut told).await.unwrap();

    assert_eq!(told, [21, 3, 3, 0, 2, 2, 112]);
    scene.expect_refusals(XmppRefusal::UnknownDomain, 1).await;
}

#[tokio::test]
async fn what_is_no_hello_gets_no_stream() {
    let mut scene = scene_without_ears().await;
    let mut client = scene.connect().await;
    client
        .write_all(&[0x16, 3, 1, 0, 4, 2, 0, 0, 0])
        .await
        .unwrap();

    let mut told = Vec::new();
    client.read_to_end(&mut told).await.unwrap();

    assert_eq!(told.first(), Some(&21), "{told:?}");
    assert!(scene.arrived.try_recv().is_err());
}
