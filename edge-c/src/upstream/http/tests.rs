//! The pools against servers that close after each answer, or take a body and say nothing.

use std::net::Ipv4Addr;

use common::net::Host;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::testing::World;

/// Where a server listens that treats each connection with `serve`.
async fn server<F>(serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> Origin
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            drop(tokio::spawn(serve(socket)));
        }
    }));
    Origin {
        scheme: Scheme::Http,
        host: Host::Address(Ipv4Addr::LOCALHOST.into()),
        port: port.try_into().unwrap(),
    }
}

async fn upstreams(connections_per_node_max: usize, response_timeout: Duration) -> Upstreams {
    let world = World::start(&[&["a1.example.com"]]).await;
    let config = Config {
        bind_address: None,
        connect_timeout: Duration::from_secs(10),
        response_timeout,
        idle_timeout: Duration::from_secs(30),
        connections_per_node_max,
    };
    let discovery = world.discovery(Vec::new());
    Upstreams::new(config, Arc::clone(&world.tls), world.resolver(), discovery)
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_serves_all_who_wait() {
    let origin = server(|mut socket| async move {
        let mut head = [0; 1024];
        drop(socket.read(&mut head).await);
        let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        drop(socket.write_all(answer).await);
    })
    .await;
    let upstreams = Arc::new(upstreams(1, Duration::from_secs(10)).await);

    let requests = (0..8).map(|_| {
        let (upstreams, origin) = (Arc::clone(&upstreams), origin.clone());
        tokio::spawn(async move {
            let request = Request::get("/").header("host", "a").body(Body::empty());
            let answer = upstreams.send(&origin, request.unwrap()).await;
            answer
                .map(|answer| answer.status().as_u16())
                .map_err(|e| e.to_string())
        })
    });

    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap(), Ok(200));
    }
}

#[tokio::test]
async fn a_server_that_takes_a_body_and_says_nothing_is_given_up() {
    let origin = server(|mut socket| async move {
        drop(tokio::io::copy(&mut socket, &mut tokio::io::sink()).await);
    })
    .await;
    let upstreams = upstreams(1, Duration::from_millis(50)).await;

    let request = Request::post("/")
        .header("host", "a")
        .body(Body::from("abc"));
    let refused = upstreams.send(&origin, request.unwrap()).await.unwrap_err();

    assert!(matches!(refused, UpstreamError::Timeout(_)), "{refused}");
}
