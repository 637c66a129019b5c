//! CANCEL and the ACK to final errors: both end at this hop (RFC 3261 sections 9.2 and 16.10).

use std::time::Instant;

use super::context::{Arrived, Server, Source};
use super::output::RefusalReason;
use super::refuse::Refuse;
use super::{Proxy, Services};
use crate::sip::name::Name;
use crate::sip::response::Response;
use crate::sip::transaction::invite_server;

impl Proxy {
    pub(super) fn handle_cancel(
        &mut self,
        arrived: &Arrived,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        let found = self.servers.get(&arrived.server_key).copied();
        let is_invite = |key: &_| {
            self.contexts
                .get(*key)
                .is_some_and(|context| matches!(context.server, Server::Invite(_)))
        };
        let Some(key) = found.filter(is_invite) else {
            self.refuse(arrived, &Refuse::new(481, RefusalReason::NoTransaction));
            return;
        };
        let tag = self.local_tag(arrived.server_key);
        let bytes = Response::new(&arrived.message, 200)
            .to_tag(tag.as_bytes())
            .source(arrived.source.address())
            .to_bytes();
        self.send_back(&arrived.source, &arrived.message, bytes);
        // RFC 3326: why, so that the called phone shows no missed call for one that was answered elsewhere.
        let mut reason = Vec::new();
        for value in arrived.message.values(Name::Reason) {
            reason.extend_from_slice(b"Reason: ");
            reason.extend_from_slice(value);
            reason.extend_from_slice(b"\r\n");
        }
        self.with_context(key, services, now, |proxy, key, context, _, now| {
            if context.server.is_pending() && !context.is_cancelled {
                context.is_cancelled = true;
                context.cancel_reason = reason;
                proxy.cancel_branch(key, context, now);
            }
        });
    }

    pub(super) fn handle_acknowledgement(
        &mut self,
        arrived: &Arrived,
        services: &mut Services<'_>,
        now: Instant,
    ) {
        // One to an error that was sent without a transaction is known by our tag.
        let tag = self.local_tag(arrived.server_key);
        let is_to_refusal = arrived.message.to_tag() == Some(tag.as_bytes());
        let found = self.servers.get(&arrived.server_key).copied();
        if let Some(key) = found {
            let mut is_taken = is_to_refusal;
            let taken = &mut is_taken;
            self.with_context(key, services, now, |proxy, key, context, _, now| {
                if let Server::Invite(server) = &mut context.server
                    && server.state() != invite_server::State::Accepted
                {
                    *taken = true;
                    let step = server.handle_acknowledgement();
                    proxy.start_timers(key, step, now);
                }
            });
            if is_taken {
                return;
            }
        } else if is_to_refusal {
            return;
        }
        let passed = match arrived.source {
            Source::Flow(flow, _) => self.acknowledge_inward(arrived, flow, services, now),
            Source::Node(_) => self.acknowledge_outward(arrived, services),
            Source::Own(_) => Ok(()),
        };
        if let Err(refuse) = passed {
            self.refuse(arrived, &refuse);
        }
    }
}
