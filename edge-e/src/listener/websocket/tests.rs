use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use common::link::flow::{FlowClose, Frame, Gate};
use common::runtime::drain::Drain;
use common::runtime::http_server::{self, Timeouts};
use common::runtime::link_streams::Arrived;
use futures_util::{Sink as _, Stream as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::listener::sip::flow::tests as flow;
use crate::listener::xmpp::tests as chat;

fn fields(change: impl FnOnce(&mut HeaderMap)) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in [
        ("host", "edge.test"),
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "other, sip"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    change(&mut fields);
    fields
}

fn reason(fields: &HeaderMap) -> Option<&'static str> {
    let checked = check(&Method::GET, Version::HTTP_11, fields, "sip");
    checked.err().map(|refused| refused.reason)
}

#[test]
fn a_proper_request_is_answered_as_the_rfc_says() {
    // RFC 6455 section 1.3.
    let key = check(&Method::GET, Version::HTTP_11, &fields(|_| {}), "sip").unwrap();

    let answer = switching(&key, "sip");

    assert_eq!(answer.status(), 101);
    assert_eq!(
        answer.headers()[SEC_WEBSOCKET_ACCEPT],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert_eq!(answer.headers()[SEC_WEBSOCKET_PROTOCOL], "sip");
}

#[test]
fn an_improper_request_says_what_is_wrong() {
    let with = |name: &'static str, value: &'static str| {
        reason(&fields(|fields| {
            fields.insert(name, HeaderValue::from_static(value));
        }))
    };
    let version = Some("another version of WebSocket than 13");
    let subprotocol = Some("the subprotocol of the path's last segment is not offered");
    let key = Some("no proper Sec-WebSocket-Key");

    assert_eq!(with("sec-websocket-version", "8"), version);
    assert_eq!(with("sec-websocket-protocol", "xmpp"), subprotocol);
    assert_eq!(with("sec-websocket-key", "short"), key);
    assert_eq!(
        with("upgrade", "h2c"),
        Some("an upgrade to something else than a WebSocket")
    );
    assert_eq!(
        with("content-length", "0"),
        Some("a WebSocket is asked for without a body")
    );
    let twice = fields(|fields| {
        fields.append(
            SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
    });
    assert_eq!(reason(&twice), key);
    let post = check(&Method::POST, Version::HTTP_11, &fields(|_| {}), "sip");
    assert!(post.is_err());
}

/// An HTTP/1.1 connection to a listener with a core behind it.
struct Scene {
    client: DuplexStream,
    arrived: mpsc::Receiver<Arrived>,
    server: JoinHandle<()>,
    _drain: Drain,
}

async fn scene() -> Scene {
    let sip = flow::sip();
    let xmpp = chat::xmpp(Arc::clone(&sip.cores), Arc::clone(&sip.admission));
    let (_, arrived) = flow::link(&sip.cores, 1, "example.com").await;
    let (client, edge) = tokio::io::duplex(1 << 16);
    let drain = Drain::new();
    let signal = drain.signal();
    let upgrading = Arc::new(Upgrading {
        websockets: Websockets {
            sip: Some(sip),
            xmpp: Some(xmpp),
        },
        client: ([192, 0, 2, 7], 4711).into(),
        local: ([192, 0, 2, 1], 8443).into(),
        server_name: None,
        tls_version: TlsVersion::V1_3,
        agreed: Mutex::new(None),
    });
    let server = tokio::spawn(async move {
        let answering = Arc::clone(&upgrading);
        let handler = move |mut request: Request<Incoming>| {
            let answer = answering.answer(&mut request, TrackingId::new([7; 16]));
            async move {
                let refused = |refused: Refused| {
                    let mut response = Response::new(Body::empty());
                    *response.status_mut() = refused.refusal.status();
                    response
                };
                answer.unwrap().unwrap_or_else(refused)
            }
        };
        let timeouts = Timeouts {
            head: limits::HTTP_HEAD_TIMEOUT,
            idle: limits::HTTP_IDLE_TIMEOUT,
            stall: limits::HTTP_STALL_TIMEOUT,
        };
        let counters = Arc::default();
        let version = http_server::Version::Http1;
        http_server::serve(
            edge,
            version,
            handler,
            counters,
            timeouts,
            signal.draining(),
        )
        .await;
        upgrading.run(signal.clone()).await;
    });
    Scene {
        client,
        arrived,
        server,
        _drain: drain,
    }
}

impl Scene {
    async fn ask(&mut self, domain: &str, origin: &str) -> String {
        self.ask_for("sip", domain, origin).await
    }

    async fn ask_for(&mut self, service: &str, domain: &str, origin: &str) -> String {
        let domain = common::mra::edge_path::encode_domain(&Domain::parse(domain).unwrap());
        let request = format!(
            "GET /{domain}/{service} HTTP/1.1\r\nHost: edge.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {service}\r\nOrigin: {origin}\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.client.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.client.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }
}

async fn hear(socket: &mut WebSocketStream<DuplexStream>) -> Option<Message> {
    poll_fn(|cx| Pin::new(&mut *socket).poll_next(cx))
        .await
        .map(Result::unwrap)
}

async fn say(socket: &mut WebSocketStream<DuplexStream>, message: Message) {
    poll_fn(|cx| Pin::new(&mut *socket).poll_ready(cx))
        .await
        .unwrap();
    Pin::new(&mut *socket).start_send(message).unwrap();
    poll_fn(|cx| Pin::new(&mut *socket).poll_flush(cx))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_websocket_are_messages_of_a_flow() {
    let mut scene = scene().await;
    let head = scene.ask("example.com", "https://phone.example.com").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut socket = WebSocketStream::from_raw_socket(scene.client, Role::Client, None).await;
    let register = flow::request("REGISTER", "example.com");

    say(&mut socket, Message::text(&register)).await;
    let arrived = scene.arrived.recv().await.unwrap();
    assert_eq!(arrived.preface().transport, ClientTransport::Wss);
    assert_eq!(arrived.preface().domain, Domain::parse("example.com").ok());
    let mut core = arrived.accept().unwrap();
    assert_eq!(
        flow::next_frame(&mut core).await,
        Some(flow::message(&register))
    );
    flow::tell(&mut core, flow::message(flow::RINGING)).await;
    assert_eq!(hear(&mut socket).await, Some(Message::text(flow::RINGING)));

    say(&mut socket, Message::Ping(Bytes::from_static(b"x"))).await;
    assert_eq!(
        hear(&mut socket).await,
        Some(Message::Pong(Bytes::from_static(b"x")))
    );
    say(
        &mut socket,
        Message::Binary(Bytes::from_static(b"\r\n\r\n")),
    )
    .await;
    assert_eq!(hear(&mut socket).await, Some(Message::text("\r\n")));
    assert_eq!(
        hear(&mut socket).await,
        Some(Message::Ping(Bytes::new())),
        "in its time"
    );

    say(&mut socket, Message::Close(None)).await;
    scene.server.await.unwrap();
    assert_eq!(flow::next_frame(&mut core).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_another_origin_and_an_unknown_domain_are_refused() {
    let mut other = scene().await;
    let head = other.ask("example.com", "https://evil.example").await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");

    let mut unknown = scene().await;
    let head = unknown
        .ask("example.org", "https://phone.example.com")
        .await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_long_ends_the_websocket() {
    let mut scene = scene().await;
    scene.ask("example.com", "https://phone.example.com").await;
    let mut socket = WebSocketStream::from_raw_socket(scene.client, Role::Client, None).await;

    let long = "x".repeat(limits::SIP_MESSAGE_BYTES_MAX + 1);
    // The server may close before all of it is sent, so how the sending ends says nothing.
    let sending = async {
        poll_fn(|cx| Pin::new(&mut socket).poll_ready(cx)).await?;
        Pin::new(&mut socket).start_send(Message::text(long))?;
        poll_fn(|cx| Pin::new(&mut socket).poll_flush(cx)).await
    };
    let (_, ended) = tokio::join!(sending, &mut scene.server);

    ended.unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_chat_are_frames_of_a_stream() {
    let mut scene = scene().await;
    let page = "https://chat.example.com";
    let head = scene.ask_for("xmpp", "example.com", page).await;
    assert!(head.contains("sec-websocket-protocol: xmpp"), "{head}");
    let mut socket = WebSocketStream::from_raw_socket(scene.client, Role::Client, None).await;
    let arrived = scene.arrived.recv().await.unwrap();
    assert_eq!(arrived.preface().protocol, StreamProtocol::Xmpp);
    assert_eq!(arrived.preface().transport, ClientTransport::Wss);
    let mut core = arrived.accept().unwrap();

    let open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.com'/>";
    say(&mut socket, Message::text(open)).await;
    assert_eq!(flow::next_frame(&mut core).await, Some(flow::message(open)));
    flow::tell(&mut core, flow::message("<success/>")).await;
    flow::tell(&mut core, Frame::Gate(Gate::Open)).await;
    assert_eq!(hear(&mut socket).await, Some(Message::text("<success/>")));
    say(&mut socket, Message::Ping(Bytes::from_static(b"x"))).await;
    assert_eq!(
        hear(&mut socket).await,
        Some(Message::Pong(Bytes::from_static(b"x")))
    );
    assert_eq!(
        hear(&mut socket).await,
        Some(Message::Ping(Bytes::new())),
        "in its time"
    );

    flow::tell(&mut core, flow::message("<close/>")).await;
    flow::tell(&mut core, Frame::Close(FlowClose::Ended)).await;
    assert_eq!(hear(&mut socket).await, Some(Message::text("<close/>")));
    assert!(matches!(
        hear(&mut socket).await,
        None | Some(Message::Close(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_chat_in_octets_and_one_of_another_page_are_refused() {
    let mut other = scene().await;
    let head = other
        .ask_for("xmpp", "example.com", "https://phone.example.com")
        .await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");

    let mut scene = scene().await;
    scene
        .ask_for("xmpp", "example.com", "https://chat.example.com")
        .await;
    let mut socket = WebSocketStream::from_raw_socket(scene.client, Role::Client, None).await;
    say(&mut socket, Message::Binary(Bytes::from_static(b"<a/>"))).await;

    scene.server.await.unwrap();
}
