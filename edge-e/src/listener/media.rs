//! The public media ports, and the trunks to edge-c: one thread that passes packets between them.
//!
//! ```text
//! client ── UDP ─▶ port ─▶ relay ─▶ trunk of its core ══▶ edge-c
//!        ◀─ UDP ── port ◀─ relay ◀─ trunk             ◀══
//! ```
//!
//! Who may be sent to, edge-c says on the control stream (`MediaCommand`); the rules are in `common::media::relay`. Not
//! here: what is inside a packet. The thread opens and closes ports, so that no packet waits for another thread.

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use common::id::CoreId;
use common::limits;
use common::link::control::message::{MediaCommand, Report};
use common::runtime::trunk::pipe::{PipeEnd, pipe};
use common::runtime::trunk::server::Gate;
use common::runtime::udp::BulkSocket;
use common::runtime::udp::poll::Waker;
use tokio::sync::{mpsc, oneshot};

use crate::metrics::media::MediaMetrics;

mod ports;
mod work;

/// Where media arrives, from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPorts {
    /// Public addresses of this edge; each port pair is opened on all of them. Never empty, one of each family at most.
    pub listen: Vec<IpAddr>,
    /// The same addresses as clients see them.
    pub advertised: Vec<IpAddr>,
    /// Ports to choose from.
    pub ports: RangeInclusive<u16>,
}

/// What the thread is made of.
pub struct Parts {
    /// Where clients' media arrives.
    pub ports: MediaPorts,
    /// Where trunks arrive: UDP on the addresses of the link.
    pub trunks: Vec<BulkSocket>,
    /// The link's own TLS configuration.
    pub tls: Arc<rustls::ServerConfig>,
    /// Who may have a trunk.
    pub gate: Gate,
    /// What is counted.
    pub metrics: MediaMetrics,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}

/// What the thread is told.
#[derive(Debug)]
enum Input {
    /// A control stream stands; it takes these reports.
    Linked(CoreId, mpsc::Sender<Report>),
    /// A control stream is gone.
    Lost(CoreId),
    /// A core commands.
    Command(CoreId, MediaCommand),
    /// A TCP connection of a core carries frames.
    Attach(CoreId, common::runtime::trunk::pipe::Pipe),
    /// The link's identity has changed.
    Tls(Arc<quinn_proto::ServerConfig>),
}

/// Speaks to the media thread. Clones speak to the same one; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct MediaHandle {
    inputs: SyncSender<Input>,
    waker: Waker,
}

/// Starts the thread. The receiver says why it ended, if it does: it must not.
///
/// # Errors
/// Why it can't start.
pub fn start(parts: Parts) -> io::Result<(MediaHandle, oneshot::Receiver<io::Error>)> {
    let tls = trunk_tls(&parts.tls).map_err(io::Error::other)?;
    let (inputs, queue) = sync_channel(limits::MEDIA_INPUTS_MAX);
    let waker = Waker::new()?;
    let (ended, end) = oneshot::channel();
    let mut work = work::Work::new(parts, &tls, queue, waker.clone())?;
    let run = move || {
        if let Err(error) = work.run() {
            // Nobody listens any more only if the process goes down.
            drop(ended.send(error));
        }
    };
    thread::Builder::new().name("media".to_owned()).spawn(run)?;
    Ok((MediaHandle { inputs, waker }, end))
}

fn trunk_tls(link: &rustls::ServerConfig) -> Result<Arc<quinn_proto::ServerConfig>, String> {
    common::runtime::trunk::settings::server(link).map(Arc::new)
}

impl MediaHandle {
    /// The control stream of a core stands, and takes these reports. The core is told a nonce for its trunk.
    pub fn linked(&self, core: CoreId, reports: mpsc::Sender<Report>) {
        self.tell(Input::Linked(core, reports));
    }

    /// The control stream of a core is gone.
    pub fn lost(&self, core: CoreId) {
        self.tell(Input::Lost(core));
    }

    /// Does what a core commands; `false` if there is too much to do.
    #[must_use]
    pub fn command(&self, core: CoreId, command: MediaCommand) -> bool {
        self.tell(Input::Command(core, command))
    }

    /// The end of a pipe, to be driven over a TCP connection of `core`.
    #[must_use]
    pub fn pipe(&self, core: CoreId) -> PipeEnd {
        let (ours, end) = pipe(self.waker.clone());
        self.tell(Input::Attach(core, ours));
        end
    }

    /// Uses this identity from the next trunk on.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub fn set_tls(&self, link: &rustls::ServerConfig) -> Result<(), String> {
        self.tell(Input::Tls(trunk_tls(link)?));
        Ok(())
    }

    fn tell(&self, input: Input) -> bool {
        let is_told = self.inputs.try_send(input).is_ok();
        if !is_told {
            tracing::warn!(
                side = "local",
                reason = "the media thread does not keep up",
                remedy = "lower the number of calls, or give the machine another processor",
                "a media command was dropped"
            );
        }
        self.waker.wake();
        is_told
    }
}

#[cfg(test)]
mod tests;
