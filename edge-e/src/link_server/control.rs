//! The control stream of a core, for as long as it stands.

use std::sync::Arc;

use common::link::control::Event;
use common::link::control::message::Command;
use common::link::greeting::Hello;
use common::runtime::pongs::Pongs;
use common::runtime::{clock, control, greeting};
use common::telemetry::ControlOutcome;
use tokio::net::TcpStream;

use super::{LinkServer, Stream};
use crate::cores::{self, Core};

impl LinkServer {
    pub(super) async fn control(
        &self,
        core: &Arc<Core>,
        hello: &Hello,
        mut stream: Stream,
    ) -> Result<(), greeting::Error> {
        let mut side = core.take_control().await;
        greeting::send(&mut stream, &self.answer(side.machine.resume())).await?;
        side.machine
            .handle_connected(hello.instance, hello.resume, self.instance, clock::both());
        let replayed = side.machine.unacknowledged();
        let commands = &self.metrics.link.commands;
        commands
            .of(ControlOutcome::Replayed)
            .inc_by(u64::try_from(replayed).unwrap_or(u64::MAX));
        let mut pongs = Pongs::new(&self.metrics.link, core.name().as_str());
        core.set_connected(true, clock::now());
        if let Some(media) = self.cores.media() {
            media.linked(core.id(), core.reports().clone());
        }
        self.trouble.clear();
        let peer = stream
            .io()
            .tcp()
            .and_then(TcpStream::peer_addr)
            .ok()
            .map(tracing::field::display);
        tracing::info!(core = %core.name(), peer, core_id = %core.id(), version = hello.version, "core connected");
        let cores::ControlSide { machine, reports } = &mut *side;
        let driving = control::drive(machine, stream, reports, |event| {
            self.on_event(core, &mut pongs, event);
            Vec::new()
        });
        let (reason, is_silence) = tokio::select! {
            ended = driving => (ended.to_string(), ended.is_silence()),
            // The core has given up this connection and all others before this edge could.
            () = core.superseded() => ("a newer control connection has come".to_owned(), true),
        };
        if is_silence {
            core.give_up_connections();
        }
        side.machine.handle_eof();
        core.set_connected(false, clock::now());
        if let Some(media) = self.cores.media() {
            media.lost(core.id());
        }
        let remedy = "look at that edge-c: it dials again by itself as long as it runs";
        tracing::warn!(side = "link", core = %core.name(), reason, remedy, "core disconnected");
        self.trouble
            .note(format!("{} has gone: {reason}", core.name()), remedy);
        Ok(())
    }

    /// Does what happened on the control stream of `core`.
    fn on_event(&self, core: &Core, pongs: &mut Pongs, event: Event<Command>) {
        let commands = &self.metrics.link.commands;
        match event {
            Event::Applied(command) => {
                let outcome = if self.cores.apply(core, command) {
                    ControlOutcome::Applied
                } else {
                    ControlOutcome::Rejected
                };
                commands.of(outcome).inc();
            }
            // The end of the control stream tells of it too.
            Event::PeerLost | Event::PeerReset => {}
            Event::Pong {
                clock_offset_ms,
                round_trip,
            } => pongs.note(clock_offset_ms, round_trip),
            Event::Unknown => {
                commands.of(ControlOutcome::Rejected).inc();
                tracing::info!(side = "link", core = %core.name(), reason = "it is a minor version ahead",
                    remedy = "upgrade edge-e", "a command is not known here");
            }
        }
    }
}
