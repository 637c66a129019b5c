//! How a login can end, and what the log, the client and edge-e are told of it.

use common::link::flow::FlowClose;
use common::xmpp::error::Condition;
use common::xmpp::login::Ending;

use super::Relay;
use crate::xmpp::client::ClientLost;
use crate::xmpp::metrics::SignInOutcome;

/// How a login ended.
pub(super) struct End {
    pub(super) outcome: SignInOutcome,
    /// What the client and edge-e are told; `None` if there is nobody.
    pub(super) close: Option<(Condition, FlowClose)>,
    /// Whether the client has been told.
    pub(super) is_told: bool,
}

impl End {
    pub(super) const fn of(outcome: SignInOutcome, condition: Condition) -> Self {
        Self {
            outcome,
            close: Some((condition, FlowClose::Unbound)),
            is_told: false,
        }
    }

    pub(super) const fn told(outcome: SignInOutcome, close: FlowClose) -> Self {
        Self {
            outcome,
            close: Some((Condition::PolicyViolation, close)),
            is_told: true,
        }
    }

    pub(super) const GONE: Self = Self {
        outcome: SignInOutcome::ClientGone,
        close: None,
        is_told: true,
    };
}

impl From<ClientLost> for End {
    fn from(lost: ClientLost) -> Self {
        match lost {
            ClientLost::Gone => Self::GONE,
            ClientLost::Malformed | ClientLost::TooLong => {
                Self::of(SignInOutcome::Refused, Condition::PolicyViolation)
            }
        }
    }
}

impl Relay<'_> {
    /// As the machine says it.
    pub(super) fn ended(&self, ending: &Ending) -> End {
        let (side, outcome, reason, close) = match ending {
            Ending::ClientClosed => {
                let why = "the client closed its stream".to_owned();
                (
                    "downstream",
                    SignInOutcome::ClientGone,
                    why,
                    FlowClose::Ended,
                )
            }
            Ending::Refused(condition) => {
                let outcome = if *condition == Condition::RemoteConnectionFailed {
                    SignInOutcome::NoNode
                } else {
                    SignInOutcome::Refused
                };
                let side = if outcome == SignInOutcome::NoNode {
                    "upstream"
                } else {
                    "downstream"
                };
                (
                    side,
                    outcome,
                    condition.as_str().to_owned(),
                    FlowClose::Unbound,
                )
            }
            Ending::NodeClosed(why) => {
                let reason = format!("the node closed the stream: {why}");
                (
                    "upstream",
                    SignInOutcome::NodeClosed,
                    reason,
                    FlowClose::Ended,
                )
            }
            Ending::NodeMisbehaved(why) => {
                let reason = format!("the node does not speak XMPP as it should: {why}");
                (
                    "upstream",
                    SignInOutcome::NodeClosed,
                    reason,
                    FlowClose::UpstreamLost,
                )
            }
        };
        let node = self
            .node
            .as_ref()
            .map(|(node, _)| tracing::field::display(&node.place));
        tracing::info!(side, tracking_id = %self.preface.tracking, node, reason, remedy = "see reason", "XMPP sign-in ended");
        End::told(outcome, close)
    }
}
