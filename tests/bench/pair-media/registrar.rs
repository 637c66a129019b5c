//! The inside of the pair's calls: one element that registers everybody who proves anything, and accepts every call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use support::place::Place;
use support::sip::agent::{Agent, Message, SDP};

use crate::chain::{Inner, media_address};

/// Runs on a thread of its own until it is dropped.
#[derive(Debug)]
pub(crate) struct Registrar {
    stop: Arc<AtomicBool>,
    answered: Receiver<Inner>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Registrar {
    /// Listens at `local`, and speaks to the edge-c at `core`.
    pub(crate) fn start(local: SocketAddr, core: SocketAddr, domain: &str) -> Result<Self> {
        let mut agent = Agent::over_udp(&Place::Host, local, core, "registrar", domain)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, answered) = channel();
        let is_over = Arc::clone(&stop);
        let work = move || {
            while !is_over.load(Ordering::Relaxed) {
                let request = agent.wait_for(TURN, |message| message.method().is_some())?;
                if let Some(request) = request {
                    answer(&mut agent, &request, &sender)?;
                }
            }
            Ok(())
        };
        Ok(Self {
            stop,
            answered,
            thread: Some(thread::spawn(work)),
        })
    }

    /// The inner side of the call that was answered next.
    pub(crate) fn next_call(&self) -> Result<Inner> {
        let call = self.answered.recv_timeout(CALL_LIMIT);
        call.context("no INVITE has come inside")
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What went wrong in there, the calls have shown.
            drop(thread.join());
        }
    }
}

fn answer(agent: &mut Agent, request: &Message, calls: &Sender<Inner>) -> Result<()> {
    match request.method() {
        Some("REGISTER") if request.header("authorization").is_none() => {
            let challenge =
                "WWW-Authenticate: Digest realm=\"bench\", nonce=\"once\", algorithm=MD5\r\n";
            agent.respond(request, "401 Unauthorized", challenge, "")
        }
        Some("REGISTER") => {
            let contact = request.header("contact").context("no Contact")?;
            let headers = format!("Contact: {contact}\r\n");
            agent.respond(request, "200 OK", &headers, "")
        }
        Some("INVITE") => {
            let remote = media_address(&request.body)?;
            let inner = Inner::bind(remote)?;
            let sdp = inner.sdp()?;
            agent.respond(request, "200 OK", SDP, &sdp)?;
            calls.send(inner).context("nobody calls any more")
        }
        Some("ACK") | None => Ok(()),
        Some(_) => agent.respond(request, "200 OK", "", ""),
    }
}

const TURN: Duration = Duration::from_millis(100);
const CALL_LIMIT: Duration = Duration::from_secs(10);
