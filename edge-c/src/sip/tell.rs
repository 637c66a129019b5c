//! The log lines of SIP: one for each failure, with side, reason and remedy.

use std::time::Duration;

use common::id::TrackingId;
use common::sip::proxy::{Event, FlowId, NodeFailure, NodeId, NodeState, Registrar, Side};

use crate::upstream::sip::probe::Change;

/// A node began or ceased to answer.
pub(super) fn node_changed(change: &Change) {
    let registrar = &change.registrar;
    let transport = change.node.transport.uri_name();
    let address = change.node.address;
    match change.state {
        NodeState::Up if change.is_first => {
            tracing::info!(%registrar, transport, %address, "registrar node answers");
        }
        NodeState::Up => {
            tracing::info!(%registrar, transport, %address, "registrar node answers again");
        }
        NodeState::Down => tracing::warn!(
            side = "upstream",
            %registrar,
            transport,
            %address,
            reason = change.reason,
            remedy = "look at the node, the network between, and its certificate if it is TLS",
            "registrar node is down"
        ),
    }
}

/// Something that the core says.
///
/// `tracking_id` is that of [`flow_of`].
pub(super) fn event(event: &Event, tracking_id: Option<TrackingId>, registrars: &[Registrar]) {
    match event {
        Event::Bound {
            aor,
            registrar,
            expires,
            proof,
            ..
        } => {
            let expires_s = expires.as_secs();
            tracing::debug!(%aor, %registrar, expires_s, ?proof, "registered");
        }
        Event::Unbound { aor, reason, .. } => {
            tracing::debug!(%aor, ?reason, "no longer registered");
        }
        Event::AuthenticationFailed { aor, .. } => tracing::info!(
            side = "downstream",
            tracking_id = tracking_id.map(display),
            aor = aor.as_ref().map(display),
            reason = "wrong credentials",
            remedy = "check user name and password of the client",
            "SIP authentication failed"
        ),
        Event::Refused { from, code, reason } => {
            let side = match from {
                Side::Flow(_) => "downstream",
                Side::Node(_) => "upstream",
            };
            let remedy = reason.remedy();
            tracing::info!(side, tracking_id = tracking_id.map(display), code, %reason, remedy, "SIP message refused");
        }
        Event::NodeFailed {
            node,
            reason,
            pause,
        } => {
            node_failed(&place(*node, registrars), *reason, *pause);
        }
        Event::NodeRecovered(node) => {
            tracing::info!(
                node = place(*node, registrars),
                "registrar node is used again"
            );
        }
        Event::DialogStarted { .. } => tracing::debug!("dialog started"),
        Event::DialogEnded { how, talked, .. } => {
            let seconds = talked.map(|talked| talked.as_secs());
            tracing::debug!(
                tracking_id = tracking_id.map(display),
                ?how,
                seconds,
                "dialog ended"
            );
        }
        Event::CloseFlow { reason, .. } => tracing::info!(
            side = "downstream",
            tracking_id = tracking_id.map(display),
            ?reason,
            remedy = "none needed unless there are many: look at the client",
            "SIP connection closed"
        ),
        Event::GateOpen(_) | Event::GateClosed(_) => {}
    }
}

fn node_failed(node: &str, failure: NodeFailure, pause: Duration) {
    let reason = match failure {
        NodeFailure::NoAnswer => "it does not answer in time",
        NodeFailure::Overloaded => "it answers 503",
        NodeFailure::Unreachable => "it can't be reached",
    };
    let pause_s = pause.as_secs();
    tracing::warn!(
        side = "upstream",
        node,
        reason,
        pause_s,
        remedy = "look at the node",
        "registrar node is passed over"
    );
}

/// The client's connection that an event is about.
pub(super) const fn flow_of(event: &Event) -> Option<FlowId> {
    match event {
        Event::Bound { flow, .. }
        | Event::Unbound { flow, .. }
        | Event::GateOpen(flow)
        | Event::GateClosed(flow)
        | Event::CloseFlow { flow, .. }
        | Event::DialogStarted { flow, .. }
        | Event::DialogEnded { flow, .. }
        | Event::AuthenticationFailed { flow, .. }
        | Event::Refused {
            from: Side::Flow(flow),
            ..
        } => Some(*flow),
        Event::Refused {
            from: Side::Node(_),
            ..
        }
        | Event::NodeFailed { .. }
        | Event::NodeRecovered(_) => None,
    }
}

fn place(node: NodeId, registrars: &[Registrar]) -> String {
    let mut nodes = registrars.iter().flat_map(|registrar| &registrar.nodes);
    nodes
        .find(|one| one.id == node)
        .map_or_else(String::new, |node| {
            format!("{}:{}", node.transport.uri_name(), node.address)
        })
}
