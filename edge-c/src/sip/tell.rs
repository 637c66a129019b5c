//! The log lines of SIP: one for each failure, with side, reason and remedy.

use common::sip::proxy::{Event, NodeFailure, NodeId, NodeState, Registrar, Side};

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
pub(super) fn event(event: &Event, registrars: &[Registrar]) {
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
            %aor,
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
            tracing::info!(side, code, %reason, remedy, "SIP message refused");
        }
        Event::NodeFailed {
            node,
            reason,
            pause,
        } => {
            let place = place(*node, registrars);
            let reason = match reason {
                NodeFailure::NoAnswer => "it does not answer in time",
                NodeFailure::Overloaded => "it answers 503",
                NodeFailure::Unreachable => "it can't be reached",
            };
            let pause_s = pause.as_secs();
            tracing::warn!(
                side = "upstream",
                node = place,
                reason,
                pause_s,
                remedy = "look at the node",
                "registrar node is passed over"
            );
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
            tracing::debug!(?how, seconds, "dialog ended");
        }
        Event::CloseFlow { reason, .. } => tracing::info!(
            side = "downstream",
            ?reason,
            remedy = "none needed unless there are many: look at the client",
            "SIP connection closed"
        ),
        Event::GateOpen(_) | Event::GateClosed(_) => {}
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
