//! What the media of one edge-e and its control stream have to say to each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::id::EdgeIndex;
use common::limits;
use common::link::control::message::{MediaCommand, MediaReport};
use tokio::sync::{Mutex, mpsc};

use super::desk::SharedDesk;

/// Commands on their way to one edge-e. They wait while the link is down.
#[derive(Debug)]
pub(super) struct Outbox {
    commands: mpsc::Sender<MediaCommand>,
    /// Some were lost: edge-e must be told anew what lives.
    has_lost: AtomicBool,
}

impl Outbox {
    /// Hands a command on; does not wait.
    pub(super) fn send(&self, command: MediaCommand) {
        if self.commands.try_send(command).is_err() {
            self.has_lost.store(true, Ordering::Relaxed);
        }
    }
}

/// The media's end of one link, for the client that keeps the link.
#[derive(Debug)]
pub struct MediaLink {
    edge: EdgeIndex,
    outbox: Arc<Outbox>,
    commands: Mutex<mpsc::Receiver<MediaCommand>>,
    desk: SharedDesk,
}

impl MediaLink {
    pub(super) fn new(edge: EdgeIndex, desk: SharedDesk) -> (Arc<Outbox>, Self) {
        let (sender, commands) = mpsc::channel(limits::MEDIA_COMMANDS_MAX);
        let outbox = Arc::new(Outbox {
            commands: sender,
            has_lost: AtomicBool::new(false),
        });
        let link = Self {
            edge,
            outbox: Arc::clone(&outbox),
            commands: Mutex::new(commands),
            desk,
        };
        (outbox, link)
    }

    /// The next command for edge-e. Cancel safe: none is lost.
    pub async fn next_command(&self) -> MediaCommand {
        if self.outbox.has_lost.swap(false, Ordering::Relaxed) {
            return self.desk.lock().keep(self.edge);
        }
        let mut commands = self.commands.lock().await;
        match commands.recv().await {
            Some(command) => command,
            // The outbox lives as long as this.
            None => std::future::pending().await,
        }
    }

    /// edge-e knows nothing of what was said before: what to tell it first.
    #[must_use]
    pub fn whole_state(&self) -> MediaCommand {
        let keep = self.desk.lock().reset(self.edge);
        // A call may come within the next second: its ports are asked for now.
        self.desk.note_change();
        keep
    }

    /// edge-e says something.
    pub fn report(&self, report: MediaReport) {
        self.desk.report(self.edge, report);
    }
}
