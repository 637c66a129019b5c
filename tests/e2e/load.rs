//! Clients that ask on and on while something happens to the pair, and look at every answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::tls_client::{Connection, Dialer, Response};
use support::{files, wait};

use crate::stage::{SignedIn, Stage, proxied_path};

/// Several threads, each with a connection of its own, until [`Load::finish`].
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    dialer: Dialer,
    asks: Vec<Ask>,
    is_over: AtomicBool,
    /// Right answers.
    good: AtomicU64,
    /// 503 with `Retry-After`.
    unavailable: AtomicU64,
    /// Connections that closed, or could not be had.
    closed: AtomicU64,
    /// Anything else.
    wrong: Mutex<Vec<String>>,
}

/// A request and the only body that answers it.
struct Ask {
    text: String,
    path: String,
    body: Vec<u8>,
}

impl Load {
    /// Asks the first edge for resources that no two are alike of.
    pub(crate) fn start(stage: &Stage, client: &SignedIn) -> Self {
        let photos = files::photos(&stage.world).into_iter();
        let photos = photos.map(|(target, body)| ("https/photos.example.com/443", target, body));
        let files = files::configuration(&stage.world).into_iter();
        let files = files.map(|(target, body)| ("http/cucm1a.example.com/6970", target, body));
        let asks = photos.chain(files).map(|(origin, target, body)| {
            let path = proxied_path(origin, &target);
            Ask {
                text: client.get_text(&path, ""),
                path: target,
                body,
            }
        });
        let shared = Arc::new(Shared {
            dialer: stage.dialer().patience(PATIENCE),
            asks: asks.collect(),
            is_over: AtomicBool::new(false),
            good: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            wrong: Mutex::default(),
        });
        let threads = (0..THREADS).map(|number| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.ask_on(number))
        });
        Self {
            threads: threads.collect(),
            shared,
        }
    }

    /// Waits for so many more right answers.
    pub(crate) fn wait_good(&self, more: u64) {
        wait_more("right answers", &self.shared.good, more);
    }

    /// Waits for so many more requests that could not be answered.
    pub(crate) fn wait_trouble(&self, more: u64) {
        let total = || self.unavailable() + self.shared.closed.load(Ordering::Relaxed);
        let wanted = total() + more;
        wait::until_true("trouble", LIMIT, || Ok(total() >= wanted)).unwrap();
    }

    /// Waits for so many more 503.
    pub(crate) fn wait_unavailable(&self, more: u64) {
        wait_more("503", &self.shared.unavailable, more);
    }

    /// 503 so far.
    pub(crate) fn unavailable(&self) -> u64 {
        self.shared.unavailable.load(Ordering::Relaxed)
    }

    /// Ends it; fails if any answer was wrong.
    pub(crate) fn finish(self, stage: &Stage) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let wrong = self.shared.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{wrong:#?}\n{}", stage.logs());
    }
}

impl Shared {
    fn ask_on(&self, thread: usize) {
        let mut connection = None;
        let asks = self.asks.iter().cycle().skip(thread).step_by(THREADS - 1);
        for ask in asks.take(REQUESTS_MAX) {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            match self.ask(&mut connection, ask) {
                Some(response) => self.judge(ask, &response),
                None => {
                    connection = None;
                    self.closed.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PACE);
                }
            }
        }
    }

    /// `None` if the connection closed, which is no wrong answer.
    fn ask(&self, connection: &mut Option<Connection>, ask: &Ask) -> Option<Response> {
        if connection.is_none() {
            *connection = self.dialer.dial().ok();
        }
        let connection = connection.as_mut()?;
        connection.send(ask.text.as_bytes()).ok()?;
        connection.response().ok().flatten()
    }

    fn judge(&self, ask: &Ask, response: &Response) {
        match response.status {
            200 if response.body == ask.body => {
                self.good.fetch_add(1, Ordering::Relaxed);
            }
            503 if response.header("retry-after").is_some() => {
                self.unavailable.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PACE);
            }
            status => {
                let body = String::from_utf8_lossy(&response.body).into_owned();
                let text = format!("{}: {status} {:?} {body}", ask.path, response.headers);
                self.wrong.lock().unwrap().push(text);
            }
        }
    }
}

fn wait_more(what: &str, count: &AtomicU64, more: u64) {
    let wanted = count.load(Ordering::Relaxed) + more;
    wait::until_true(what, LIMIT, || Ok(count.load(Ordering::Relaxed) >= wanted)).unwrap();
}

const THREADS: usize = 4;
const REQUESTS_MAX: usize = 100_000;
/// A client that is refused does not ask again at once.
const PACE: Duration = Duration::from_millis(10);
/// A request may hang for as long as a dead link is not known to be dead.
const PATIENCE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(60);
