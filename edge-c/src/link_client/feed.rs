//! What edge-e is told on the control stream, and what it reports.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use common::id::CoreId;
use common::limits;
use common::link::control::Event;
use common::link::control::message::{Command, Policy, Report};
use common::policy::jail::Ban;
use common::runtime::clock;
use common::runtime::drain::Signal;
use common::runtime::pongs::Pongs;
use common::telemetry::ControlOutcome;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};

use super::{Cluster, LinkClient, MediaEnd};
use crate::sessions::FilterFeed;

/// Passes on to edge-e what changes here.
pub(super) struct Feed<'a> {
    client: &'a LinkClient,
    commands: mpsc::Sender<Command>,
    filter: FilterFeed,
    policy: watch::Receiver<Arc<Policy>>,
    cluster: Option<Cluster>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(client: &'a LinkClient, commands: mpsc::Sender<Command>) -> Self {
        let mut filter = client.sessions.filter_feed();
        let mut policy = client.policy.clone();
        filter.keys.mark_unchanged();
        filter.nodes.mark_unchanged();
        policy.mark_unchanged();
        Self {
            client,
            commands,
            filter,
            policy,
            cluster: client.cluster.clone(),
        }
    }

    /// Tells all that was missed while there was no control stream, then runs until it is gone.
    pub(super) async fn run(mut self, drain: &Signal) {
        let mut is_drain_told = false;
        let mut stand_in_for = self.client.stand_in_for();
        let mut commands = self.client.filter_state();
        commands.extend(self.cluster.as_mut().map(Cluster::command));
        loop {
            for command in commands {
                if self.commands.send(command).await.is_err() {
                    return;
                }
            }
            // Every branch is cancel safe: what has changed stays noted, what was announced stays queued.
            commands = tokio::select! {
                () = drain.draining(), if !is_drain_told => {
                    is_drain_told = true;
                    vec![Command::Drain]
                }
                changed = self.filter.keys.changed() => {
                    if changed.is_err() { return }
                    vec![self.client.filter_keys()]
                }
                changed = self.filter.nodes.changed() => {
                    if changed.is_err() { return }
                    let now = self.client.stand_in_for();
                    if now == stand_in_for { Vec::new() } else {
                        stand_in_for = now;
                        vec![self.client.filter_keys(), self.client.policy()]
                    }
                }
                changed = self.policy.changed() => {
                    if changed.is_err() { return }
                    vec![self.client.policy()]
                }
                command = Cluster::next(self.cluster.as_mut()) => vec![command],
                command = next_of(self.client.media.as_ref()) => vec![command],
                revoked = self.filter.tombstones.recv() => match revoked {
                    Ok(tombstone) => vec![Command::Revoke { sessions: vec![tombstone] }],
                    Err(RecvError::Lagged(_)) => self.client.filter_state(),
                    Err(RecvError::Closed) => return,
                },
                banned = self.filter.bans.recv() => match banned {
                    Ok(ban) => Command::ban_all(&[ban]),
                    Err(RecvError::Lagged(_)) => self.client.filter_state(),
                    Err(RecvError::Closed) => return,
                },
            };
            // To edge-e, whoever says what it serves takes part again.
            if is_drain_told
                && commands
                    .iter()
                    .any(|command| matches!(command, Command::Policy(_)))
            {
                commands.push(Command::Drain);
            }
        }
    }
}

/// The next command about media; never without media.
async fn next_of(media: Option<&MediaEnd>) -> Command {
    match media {
        Some(media) => media.next_command().await,
        None => std::future::pending().await,
    }
}

impl LinkClient {
    pub(super) fn on_event(
        &self,
        pongs: &mut Pongs,
        event: &Event<Report>,
        peer: (SocketAddr, u64),
    ) -> Vec<Command> {
        let commands = &self.metrics.link.commands;
        match event {
            Event::Applied(_) => {
                commands.of(ControlOutcome::Applied).inc();
            }
            Event::Unknown => {
                commands.of(ControlOutcome::Rejected).inc();
            }
            Event::PeerLost | Event::PeerReset | Event::Pong { .. } => {}
        }
        match event {
            // The feed tells the rest, as at every other beginning.
            Event::PeerReset => self
                .media
                .as_ref()
                .map(MediaEnd::whole_state)
                .into_iter()
                .collect(),
            Event::Pong {
                clock_offset_ms,
                round_trip,
            } => {
                pongs.note(*clock_offset_ms, *round_trip);
                Vec::new()
            }
            Event::Applied(Report::Banned(ban) | Report::UserBanned(ban)) => {
                self.on_ban(*ban);
                Vec::new()
            }
            Event::Applied(Report::Draining) => {
                tracing::info!("the edge drains");
                self.is_live.send_replace(false);
                Vec::new()
            }
            Event::Applied(Report::Media(report)) => {
                self.on_media(report, peer);
                Vec::new()
            }
            Event::PeerLost | Event::Unknown => Vec::new(),
        }
    }

    /// What edge-e must know before it serves anybody: keys before domains. All of it may be told again.
    fn filter_state(&self) -> Vec<Command> {
        let state = self.sessions.filter_state();
        let mut commands = vec![self.filter_keys()];
        let revoked = state.tombstones.chunks(limits::TOMBSTONES_PER_MESSAGE);
        commands.extend(revoked.map(|chunk| Command::Revoke {
            sessions: chunk.to_vec(),
        }));
        commands.extend(Command::ban_all(&state.bans));
        commands.push(self.policy());
        commands
    }

    fn filter_keys(&self) -> Command {
        Command::filter_keys(&self.sessions.filter_keys(), self.stand_in_for())
    }

    fn policy(&self) -> Command {
        Command::Policy(Policy {
            serves_sessions_of: self.stand_in_for(),
            ..self.policy.borrow().as_ref().clone()
        })
    }

    /// The other cores whose sessions this one knows.
    fn stand_in_for(&self) -> Vec<CoreId> {
        let nodes = Arc::clone(&self.sessions.nodes().borrow());
        let others = nodes.cores.iter().copied();
        others.filter(|core| *core != self.config.core_id).collect()
    }

    /// Passes on what one edge refuses, if that is within bounds: whoever took an edge over must not lock everybody out.
    fn on_ban(&self, ban: Ban) {
        let admitted = self
            .bans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(ban.user.is_some(), clock::now());
        if admitted.is_err() {
            tracing::warn!(
                side = "link",
                reason = "it refuses too many addresses or users at a time",
                remedy = "look at that edge: it is under attack, or was taken over",
                "what one edge refuses is not told to other edges"
            );
            return;
        }
        let sessions = self.sessions.clone();
        self.workers
            .spawn(async move { sessions.ban(ban, clock::unix_now()).await });
    }
}
