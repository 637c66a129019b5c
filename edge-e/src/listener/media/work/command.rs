//! What edge-c commands about media, done; and the reports that go back.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use common::id::{AllocId, CoreId};
use common::limits;
use common::link::control::message::{MediaCommand, MediaRefusal, MediaReport, Report};
use common::media::class::MediaClass;
use common::media::ice::IceCheck;
use common::media::relay::{AllocIndex, AllocKey, Latch};
use tokio::sync::mpsc;

use super::Work;
use crate::listener::media::ports::NoPorts;

/// Reports on their way to a core.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) sender: mpsc::Sender<Report>,
    pub(super) waiting: VecDeque<Report>,
}

/// What an allocation is to be.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    class: MediaClass,
    flow_address: Option<IpAddr>,
    /// Exactly these ports.
    port: Option<u16>,
}

impl Work {
    pub(super) fn on_command(&mut self, core: CoreId, command: MediaCommand, now: Instant) {
        let key = |alloc| AllocKey { core, alloc };
        match command {
            MediaCommand::Allocate {
                alloc,
                class,
                flow_address,
                port,
            } => {
                let wanted = Wanted {
                    class,
                    flow_address,
                    port,
                };
                self.answer_allocate(key(alloc), wanted, now);
            }
            MediaCommand::FlowAddress {
                alloc,
                address,
                class,
            } => {
                let index = self.relay.index(key(alloc));
                let marked = index.and_then(|index| Some(self.relay.ports(index)?.1));
                self.relay.set_flow_address(key(alloc), address, class);
                if let Some(index) = index
                    && marked != Some(class)
                {
                    self.ports.mark(index, class.dscp());
                }
            }
            MediaCommand::Ice {
                alloc,
                ufrag,
                password,
            } => self.expect_checks(key(alloc), IceCheck { ufrag, password }),
            MediaCommand::Keep { mut allocs } => {
                allocs.sort_unstable();
                while let Some(stale) = self.relay.stale(core, &allocs) {
                    self.release(stale, now);
                }
            }
            MediaCommand::Latch {
                alloc,
                component,
                slot,
                generation,
            } => {
                let latch = self
                    .relay
                    .latch(key(alloc), component, slot, generation, now);
                if let Latch::Latched(_) = latch {
                    self.metrics.latches.inc();
                }
            }
            MediaCommand::Reject {
                alloc,
                component,
                slot,
                generation,
            } => {
                if self
                    .relay
                    .reject(key(alloc), component, slot, generation, now)
                {
                    self.metrics.rejections.inc();
                }
            }
            MediaCommand::Release { alloc } => self.release(key(alloc), now),
        }
    }

    fn expect_checks(&mut self, key: AllocKey, check: IceCheck) {
        let len = check.ufrag.len().max(check.password.reveal().len());
        if let Some(index) = self.relay.index(key)
            && len <= limits::ICE_CREDENTIAL_BYTES_MAX
        {
            self.checks.insert(index, check);
        }
    }

    fn answer_allocate(&mut self, key: AllocKey, wanted: Wanted, now: Instant) {
        let alloc = key.alloc;
        let report = match self.allocate(key, wanted, now) {
            Ok(index) => self.allocated(alloc, index),
            Err(reason) => {
                self.metrics.refusals.inc();
                MediaReport::Refused { alloc, reason }
            }
        };
        self.report(key.core, report);
    }

    fn allocate(
        &mut self,
        key: AllocKey,
        wanted: Wanted,
        now: Instant,
    ) -> Result<AllocIndex, MediaRefusal> {
        if let Some(index) = self.relay.index(key) {
            return Ok(index);
        }
        let Wanted {
            class,
            flow_address,
            port,
        } = wanted;
        let opened = match port {
            Some(port) => self.ports.open_again(port, class.dscp(), now),
            None => self.ports.open(class.dscp(), now),
        };
        let opened = opened.map_err(|none| match none {
            NoPorts::Exhausted => MediaRefusal::Exhausted,
            NoPorts::System(error) => {
                tracing::warn!(side = "local", reason = %error,
                    remedy = "raise LimitNOFILE; compare media.listen with the machine's addresses",
                    "no media ports can be opened");
                MediaRefusal::NoSockets
            }
        })?;
        let Ok(index) = self.relay.allocate(key, class, opened.ports, flow_address) else {
            self.ports.give_back(opened, now);
            return Err(MediaRefusal::Exhausted);
        };
        if let Err(error) = self.ports.keep(index, opened, &self.watch) {
            tracing::warn!(side = "local", reason = %error, remedy = "free some memory of the system",
                "media ports can't be listened on");
            self.release(key, now);
            return Err(MediaRefusal::NoSockets);
        }
        Ok(index)
    }

    fn allocated(&self, alloc: AllocId, index: AllocIndex) -> MediaReport {
        let Some((ports, _)) = self.relay.ports(index) else {
            let reason = MediaRefusal::Exhausted;
            return MediaReport::Refused { alloc, reason };
        };
        MediaReport::Allocated {
            alloc,
            rtp: ports.rtp(),
            rtcp: ports.rtcp(),
            addresses: self.advertised.clone(),
        }
    }

    pub(super) fn release(&mut self, key: AllocKey, now: Instant) {
        if let Some((index, ports)) = self.relay.release(key) {
            self.ports.close(index, ports, now);
            self.checks.remove(&index);
        }
    }

    pub(super) fn report(&mut self, core: CoreId, report: MediaReport) {
        if let Some(outbox) = self.reports.get_mut(&core) {
            if outbox.waiting.len() < limits::MEDIA_INPUTS_MAX {
                outbox.waiting.push_back(Report::Media(report));
            }
            outbox.flush();
        }
    }
}

impl Outbox {
    /// Hands over as much as the control stream takes.
    pub(super) fn flush(&mut self) {
        while let Some(report) = self.waiting.pop_front() {
            match self.sender.try_send(report) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(report)) => {
                    self.waiting.push_front(report);
                    return;
                }
                // The control stream is gone, and what it was to be told is not true any more.
                Err(mpsc::error::TrySendError::Closed(_)) => return self.waiting.clear(),
            }
        }
    }
}
