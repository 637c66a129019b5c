use std::collections::BTreeSet;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::*;
use crate::dns::Name;
use crate::dns::cookie::CookieKeys;
use crate::dns::records::Records;
use crate::dns::zone::Zone;
use crate::net::Domain;
use crate::runtime::drain::Drain;

const QUERY: &[u8] = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x02ns\x07example\x04test\0\0\x01\0\x01";

fn served(responses_per_second: u32) -> Served {
    let apex = Name::from(&Domain::parse("example.test").unwrap());
    let text = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";
    let records = Records::parse(&apex, text).unwrap();
    let zone = Zone::new(&records, &BTreeSet::new());
    let rate = RatePolicy {
        responses_per_second,
        ..RatePolicy::default()
    };
    Served {
        responder: Responder::new(vec![zone], CookieKeys::of_one([7; 16])),
        rate,
    }
}

struct Running {
    at: SocketAddr,
    registry: Registry,
    drain: Drain,
}

fn start(responses_per_second: u32) -> Running {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let server = DnsServer::new(served(responses_per_second), metrics);
    let sockets = Sockets::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = sockets.local_addr().unwrap();
    let drain = Drain::new();
    drop(tokio::spawn(server.serve(sockets, drain.signal())));
    Running {
        at,
        registry,
        drain,
    }
}

fn metric(running: &Running, line: &str) -> bool {
    let mut page = String::new();
    text::encode(&mut page, &running.registry).unwrap();
    page.lines().any(|other| other == line)
}

async fn udp(running: &Running) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(running.at).await.unwrap();
    socket
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .unwrap()
}

async fn ask_tcp(stream: &mut TcpStream) -> Vec<u8> {
    let len = u16::try_from(QUERY.len()).unwrap().to_be_bytes();
    stream.write_all(&[&len, QUERY].concat()).await.unwrap();
    let len = within(stream.read_u16()).await.unwrap();
    let mut answer = vec![0; usize::from(len)];
    within(stream.read_exact(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn a_packet_is_answered_from_where_it_went() {
    let running = start(0);
    let socket = udp(&running).await;
    let mut answer = [0; 512];

    // What is no query gets no answer, and does not stand in the way.
    socket.send(b"hello").await.unwrap();
    socket.send(QUERY).await.unwrap();
    let len = within(socket.recv(&mut answer)).await.unwrap();

    assert_eq!(answer[..2], QUERY[..2]);
    assert_eq!(answer[len - 4..len], [192, 0, 2, 1]);
    assert!(metric(
        &running,
        "dns_queries_total{transport=\"udp\",outcome=\"ignored\"} 1"
    ));
    assert!(metric(
        &running,
        "dns_queries_total{transport=\"udp\",outcome=\"records\"} 1"
    ));
}

#[tokio::test]
async fn several_queries_go_over_one_connection() {
    let running = start(1);
    let mut stream = TcpStream::connect(running.at).await.unwrap();

    for _ in 0..20 {
        let answer = ask_tcp(&mut stream).await;

        assert!(
            answer.ends_with(&[192, 0, 2, 1]),
            "the rate limit is for UDP only"
        );
    }
    assert!(metric(&running, "dns_connections_open 1"));
}

#[tokio::test]
async fn a_connection_ends_after_its_queries() {
    let running = start(0);
    let mut stream = TcpStream::connect(running.at).await.unwrap();
    for _ in 0..limits::DNS_TCP_QUERIES_MAX {
        ask_tcp(&mut stream).await;
    }

    assert_eq!(within(stream.read(&mut [0])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn nobody_takes_all_connections() {
    let running = start(0);
    let mut streams = Vec::new();
    for _ in 0..limits::DNS_TCP_CONNECTIONS_PER_ADDRESS_MAX {
        let mut stream = TcpStream::connect(running.at).await.unwrap();
        ask_tcp(&mut stream).await;
        streams.push(stream);
    }

    let mut one_more = TcpStream::connect(running.at).await.unwrap();

    assert_eq!(within(one_more.read(&mut [0])).await.unwrap_or(0), 0);
    ask_tcp(streams.last_mut().unwrap()).await;
    assert!(metric(&running, "dns_connections_refused_total 1"));
}

#[tokio::test]
async fn over_the_rate_every_second_answer_sends_the_client_to_tcp() {
    let running = start(1);
    let socket = udp(&running).await;
    let mut answer = [0; 512];
    socket.send(QUERY).await.unwrap();
    within(socket.recv(&mut answer)).await.unwrap();

    for _ in 0..2 {
        socket.send(QUERY).await.unwrap();
    }
    let len = within(socket.recv(&mut answer)).await.unwrap();

    assert!(answer[2] & 2 != 0 && len == QUERY.len());
    assert!(metric(
        &running,
        "dns_answers_limited_total{how=\"slipped\"} 1"
    ));
}

#[tokio::test]
async fn it_answers_while_the_process_drains_and_ends_with_it() {
    let running = start(0);
    let socket = udp(&running).await;
    running.drain.start(crate::runtime::drain::Cause::Admin);

    socket.send(QUERY).await.unwrap();
    let mut answer = [0; 512];
    within(socket.recv(&mut answer)).await.unwrap();

    running.drain.finish(Duration::ZERO).await;
    // The port is free again as soon as the server is gone.
    let free = async {
        while std::net::UdpSocket::bind(running.at).is_err() {
            tokio::task::yield_now().await;
        }
    };
    within(free).await;
}
