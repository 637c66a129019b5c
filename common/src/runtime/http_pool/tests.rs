//! The pool against peers that answer, close, or are slow to take a body.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

const PATIENT: Duration = Duration::from_secs(60);

/// A connection, and the peer's end of it.
async fn connection() -> (http1::SendRequest<Body>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (sender, connection) = http1::handshake(TokioIo::new(ours)).await.unwrap();
    drop(tokio::spawn(connection));
    (sender, theirs)
}

/// A peer that answers every request with an empty body.
async fn answer_all(mut peer: DuplexStream) {
    let mut buffer = [0; 4096];
    while peer.read(&mut buffer).await.is_ok_and(|read| read > 0) {
        peer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
    }
}

fn get() -> Request<Body> {
    Request::get("/")
        .header("host", "a")
        .body(Body::empty())
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_waiter_gets_its_turn() {
    let pool = Pool::new();
    for _ in 0..2 {
        let (sender, peer) = connection().await;
        drop(tokio::spawn(answer_all(peer)));
        pool.add(sender);
    }
    let requests = (0..50).map(|_| {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move {
            let mut lease = pool.lease(PATIENT, 100).await.unwrap();
            lease.send(get()).await.unwrap().status()
        })
    });

    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap(), 204);
    }
    assert_eq!((pool.busy(), pool.idle()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_behind_more_than_allowed_nor_longer() {
    let pool = Pool::new();
    let first = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.lease(Duration::from_secs(2), 1).await.map(drop) })
    };
    tokio::task::yield_now().await;

    let start = clock::now();
    assert!(pool.lease(PATIENT, 1).await.is_err());
    assert_eq!(clock::elapsed(start), Duration::ZERO);
    assert_eq!(first.await.unwrap(), Err(Exhausted));
    assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_passes_its_wake_up_on() {
    let pool = Pool::new();
    let mut impatient = Box::pin(pool.lease(PATIENT, 100));
    let mut patient = Box::pin(pool.lease(PATIENT, 100));
    for waiter in [&mut impatient, &mut patient] {
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(waiter.as_mut().poll(cx)));
        assert!(polled.await.is_pending());
    }
    let (sender, _peer) = connection().await;

    pool.add(sender);
    drop(impatient);

    assert!(patient.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_its_client_gave_up_leaves_no_connection_for_the_next_one() {
    let pool = Pool::new();
    let (sender, _peer) = connection().await;
    pool.add(sender);
    let mut lease = pool.try_lease().unwrap();
    let unanswered = tokio::time::timeout(Duration::from_secs(1), lease.send(get())).await;
    assert!(unanswered.is_err());
    drop(lease);

    let mut lease = pool.try_lease();
    let next = match &mut lease {
        Some(lease) => lease.send(get()).await.map(|_| ()),
        None => return,
    };

    let failed = next.unwrap_err();
    assert!(failed.request.is_some(), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_busy_with_an_old_upload_holds_nobody_up() {
    let pool = Pool::new();
    let (sender, mut peer) = connection().await;
    pool.add(sender);
    // An upload whose end never comes, and an answer that does not wait for it.
    let (stuck, _client) = upload().await;
    let mut lease = pool.try_lease().unwrap();
    let sending = tokio::spawn(async move {
        let request = Request::post("/").header("host", "a").body(stuck).unwrap();
        let answer = lease.send(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
    });
    let mut head = [0; 64];
    assert!(peer.read(&mut head).await.unwrap() > 0);
    peer.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    sending.await.unwrap();

    let start = clock::now();
    let mut lease = pool.try_lease().unwrap();
    let failed = lease.send(get()).await.unwrap_err();
    drop(lease);

    assert!(
        matches!(failed.error, SendFailure::NotReady),
        "{}",
        failed.error
    );
    assert!(failed.request.is_some());
    assert_eq!(clock::elapsed(start), limits::POOL_READY_TIMEOUT);
    assert_eq!((pool.busy(), pool.idle()), (0, 0));
}

/// The body of a request that arrives on another connection and never ends; and what keeps that one open.
async fn upload() -> (Body, DuplexStream) {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    theirs
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        .await
        .unwrap();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sender = Mutex::new(Some(sender));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let sender = sender.lock().unwrap().take();
        async move {
            drop(sender.map(|sender| sender.send(request.into_body())));
            std::future::pending::<Result<Response<http_body_util::Empty<Bytes>>, hyper::Error>>()
                .await
        }
    });
    drop(tokio::spawn(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(ours), service),
    ));
    (Body::stream(receiver.await.unwrap()), theirs)
}
