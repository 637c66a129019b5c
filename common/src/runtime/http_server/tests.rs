//! Which peers are given up, and when.

use super::*;

const TIMEOUTS: Timeouts = Timeouts {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(60),
    stall: Duration::from_secs(120),
};

async fn ended_after(client: &'static [u8], answer: Option<Duration>) -> (Ended, Duration) {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let start = crate::runtime::clock::now();
    let handler = move |_request| async move {
        match answer {
            Some(delay) => tokio::time::sleep(delay).await,
            None => std::future::pending().await,
        }
        Response::new(Body::from("done"))
    };
    let serving = serve(
        ours,
        Version::Http1,
        handler,
        Arc::default(),
        TIMEOUTS,
        std::future::pending(),
    );
    tokio::io::AsyncWriteExt::write_all(&mut theirs, client)
        .await
        .unwrap();
    let ended = serving.await;
    (ended, crate::runtime::clock::elapsed(start))
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_off() {
    let (ended, after) = ended_after(b"GET / HTTP/1.1\r\nHost: a", None).await;

    assert!(matches!(ended, Ended::SlowHead), "{ended}");
    assert!(after <= TIMEOUTS.head * 2, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_nothing_is_closed() {
    let (ended, after) = ended_after(b"", None).await;

    assert!(matches!(ended, Ended::Idle), "{ended}");
    assert!(after >= TIMEOUTS.idle, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_request_the_connection_may_stay_idle_for_a_while() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (ended, after) = ended_after(request, Some(Duration::from_secs(30))).await;

    assert!(matches!(ended, Ended::Idle), "{ended}");
    assert!(after >= Duration::from_secs(90), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_stops_moving_is_given_up() {
    let (ended, after) = ended_after(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None).await;

    assert!(matches!(ended, Ended::Stalled), "{ended}");
    assert!(after >= TIMEOUTS.stall, "{after:?}");
}

/// An HTTP/2 client that pings every few seconds, with a request for each of `bodies`; what ends its connection, and when.
async fn pinging(bodies: Vec<Body>, is_answered: bool) -> (Ended, Duration) {
    let (ours, theirs) = tokio::io::duplex(1024);
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(7))
        .keep_alive_while_idle(true)
        .handshake::<_, Body>(TokioIo::new(theirs))
        .await
        .unwrap();
    drop(tokio::spawn(connection));
    let requests = bodies.into_iter().map(|body| {
        let request = Request::post("http://edge.test/").body(body).unwrap();
        tokio::spawn(sender.send_request(request))
    });
    let _requests: Vec<_> = requests.collect();
    let start = crate::runtime::clock::now();
    let handler = move |_request| async move {
        if !is_answered {
            std::future::pending::<()>().await;
        }
        Response::new(Body::empty())
    };

    let serving = serve(
        ours,
        Version::Http2,
        handler,
        Arc::default(),
        TIMEOUTS,
        std::future::pending(),
    );
    let ended = tokio::time::timeout(TIMEOUTS.stall * 10, serving).await;
    let ended = ended.unwrap_or_else(|_| panic!("nothing ends it"));
    (ended, crate::runtime::clock::elapsed(start))
}

#[tokio::test(start_paused = true)]
async fn an_http2_client_that_only_pings_is_idle() {
    let (ended, after) = pinging(Vec::new(), true).await;

    assert!(matches!(ended, Ended::Idle), "{ended:?}");
    assert!(after < TIMEOUTS.idle * 2, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn pings_do_not_keep_a_stalled_request_alive() {
    let (ended, after) = pinging(vec![Body::from("hello")], false).await;

    assert!(matches!(ended, Ended::Stalled), "{ended:?}");
    assert!(after >= TIMEOUTS.stall, "{after:?}");
    assert!(after < TIMEOUTS.stall * 2, "{after:?}");
}
