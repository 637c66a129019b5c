//! Both ends of a connection, against each other.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;

use super::*;
use crate::runtime::body::Body;
use crate::runtime::clock;

/// A line whose other end answers with `handler`, until the drain.
async fn line<H, F>(
    handler: H,
) -> (
    Arc<Lines>,
    Arc<Kept>,
    oneshot::Sender<()>,
    JoinHandle<io::Result<()>>,
)
where
    H: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (lines, kept) = (Arc::<Lines>::default(), Arc::<Kept>::default());
    let (drain, draining) = oneshot::channel();
    let serving = tokio::spawn({
        let kept = Arc::clone(&kept);
        async move { serve(theirs, handler, kept, async { drop(draining.await) }).await }
    });
    drop(tokio::spawn({
        let lines = Arc::clone(&lines);
        async move { lines.drive(ours).await }
    }));
    while lines.pick().is_none() {
        tokio::task::yield_now().await;
    }
    (lines, kept, drain, serving)
}

fn get(target: &str) -> request::Parts {
    Request::get(target)
        .header("x-a", "1")
        .body(())
        .unwrap()
        .into_parts()
        .0
}

async fn whole(lines: &Lines, target: &str) -> String {
    match lines.ask(&get(target)).await {
        Ok(Answer::Whole(response)) => String::from_utf8(response.into_body().to_vec()).unwrap(),
        other => format!("{other:?}"),
    }
}

async fn echo(request: Request<Body>) -> Response<Body> {
    assert_eq!(request.headers()["x-a"], "1");
    // The later ones are answered first.
    let path = request.uri().path().to_owned();
    let delay = 100 - path.len() as u64;
    tokio::time::sleep(Duration::from_millis(delay)).await;
    Response::new(Body::from(path))
}

#[tokio::test(start_paused = true)]
async fn answers_find_the_requests_they_belong_to() {
    let (lines, _kept, _drain, _serving) = line(echo).await;

    let asks = (1..50).map(|length| {
        let (lines, target) = (Arc::clone(&lines), format!("/{}", "a".repeat(length)));
        tokio::spawn(async move { (whole(&lines, &target).await, target) })
    });

    for ask in asks.collect::<Vec<_>>() {
        let (answer, target) = ask.await.unwrap();
        assert_eq!(answer, target);
    }
    assert_eq!(lines.busy(), 0);
}

#[tokio::test]
async fn a_long_answer_is_kept_for_the_one_who_fetches_it() {
    let long = "a".repeat(limits::EXCHANGE_BODY_BYTES_MAX + 1);
    let text = long.clone();
    let (lines, kept, _drain, _serving) =
        line(move |_| std::future::ready(Response::new(Body::from(text.clone())))).await;

    let asked = lines.ask(&get("/")).await;
    let Ok(Answer::Elsewhere(Some(token))) = asked else {
        unreachable!("{asked:?}")
    };

    let body = kept
        .take(token)
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(body.to_bytes(), long);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_ends_the_work_on_the_answer() {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_over);
    let (lines, _kept, _drain, _serving) = line(move |_| {
        let flag = Flag(Arc::clone(&flag));
        async move {
            std::future::pending::<()>().await;
            drop(flag);
            Response::new(Body::empty())
        }
    })
    .await;

    let asked = tokio::time::timeout(Duration::from_secs(1), lines.ask(&get("/"))).await;
    assert!(asked.is_err());
    let start = clock::now();
    while !is_over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(
            clock::elapsed(start) < Duration::from_secs(1),
            "still working"
        );
    }
    assert_eq!(lines.busy(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_what_was_asked_and_takes_nothing_more() {
    let (lines, _, drain, serving) = line(echo).await;
    let asked = tokio::spawn({
        let lines = Arc::clone(&lines);
        async move { whole(&lines, "/a").await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;

    drain.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let late = lines.ask(&get("/late")).await;

    assert_eq!(asked.await.unwrap(), "/a");
    assert_eq!(late.err(), Some(NoAnswer));
    assert!(serving.await.unwrap().is_ok());
    assert_eq!(lines.ask(&get("/")).await.err(), Some(NoAnswer));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_given_up_leaves_nobody_waiting() {
    let (lines, _kept, _drain, _serving) = line(|_| std::future::pending()).await;
    let asked = tokio::spawn({
        let lines = Arc::clone(&lines);
        async move { lines.ask(&get("/")).await.err() }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;

    lines.clear();

    assert_eq!(asked.await.unwrap(), Some(NoAnswer));
}
