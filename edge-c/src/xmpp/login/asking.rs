//! What is decided about an attempt before its node sees it, and what is told of one that the node refused.

use std::sync::Arc;

use common::limits;
use common::link::flow::Frame;
use common::redact::Redacted;
use common::runtime::clock;
use common::xmpp::sasl::Attempt;

use super::Relay;
use crate::upstream::xmpp::Node;
use crate::xmpp::client::ClientLost;
use crate::xmpp::gate;
use crate::xmpp::metrics::SignInOutcome;

/// Why an attempt never reaches a node.
struct Denial {
    outcome: SignInOutcome,
    reason: &'static str,
    remedy: &'static str,
}

const NO_SESSION: Denial = Denial {
    outcome: SignInOutcome::Denied,
    reason: "the user has no HTTPS session",
    remedy: "the client signs in over HTTPS first",
};

const GUESSED: Denial = Denial {
    outcome: SignInOutcome::Blocked,
    reason: "the user is blocked at this address after wrong passwords",
    remedy: "ends by itself; look which device repeats a wrong password",
};

impl Relay<'_> {
    pub(super) async fn ask(&mut self, attempt: &Attempt) {
        let Some((domain, served)) = &self.served else {
            return;
        };
        let user = attempt.user.as_deref();
        let now = clock::unix_now();
        let client = self.preface.client.0.ip();
        if gate::is_banned(&self.shared.sessions, attempt, domain, client, now) {
            return self.deny(attempt, &GUESSED).await;
        }
        let gate = **self.shared.gate.load();
        let has_session = gate::admits(gate, &self.shared.sessions, user, domain, client, now);
        let tokens = self.shared.tokens.as_ref().filter(|_| !has_session);
        let latest = self.shared.sessions.latest_end(now);
        self.token_ends =
            tokens.and_then(|tokens| gate::admits_token(gate, tokens, attempt, domain, latest));
        if !has_session && self.token_ends.is_none() {
            return self.deny(attempt, &NO_SESSION).await;
        }
        let home = user.and_then(|user| self.shared.homes.of(user, domain, now));
        let home = home.and_then(|place| served.node_at(&place));
        let is_elsewhere = |home: &Arc<Node>| {
            let current = self.node.as_ref();
            home.health.is_up() && current.is_some_and(|(current, _)| !Arc::ptr_eq(current, home))
        };
        match home.filter(is_elsewhere) {
            Some(home) if self.login.leave() => self.move_to(home, false).await,
            Some(_) | None => self.login.permit(),
        }
    }

    async fn deny(&mut self, attempt: &Attempt, why: &Denial) {
        let Denial {
            outcome,
            reason,
            remedy,
        } = *why;
        self.is_denied = true;
        self.shared.metrics.sign_ins.of(outcome).inc();
        let user = attempt.user.as_deref().map(Redacted::new);
        tracing::info!(side = "downstream", tracking_id = %self.preface.tracking, user = user.map(tracing::field::display),
            reason, remedy, "XMPP sign-in denied");
        // Guessing names or passwords is no faster here than at the node.
        tokio::time::sleep(limits::XMPP_DENY_DELAY).await;
        self.login.deny();
    }

    /// Has edge-e count a guess against the client's address, and against the user whom it was about.
    pub(super) async fn tell_guess(&mut self, attempt: &Attempt) -> Result<(), ClientLost> {
        let Some((domain, _)) = &self.served else {
            return Ok(());
        };
        let guess = gate::guess(attempt, domain, self.shared.tokens.as_deref());
        match guess {
            Some(whose) => self.client.tell(&Frame::AuthFailed(whose)).await,
            None => Ok(()),
        }
    }

    /// Each refused attempt counts, also those that don't end the stream.
    pub(super) fn note_failure(&mut self, bytes: &[u8]) {
        if memchr::memmem::find(bytes, b"<failure").is_some()
            && !std::mem::take(&mut self.is_denied)
        {
            self.shared.metrics.sign_ins.of(SignInOutcome::Failed).inc();
            tracing::info!(side = "downstream", tracking_id = %self.preface.tracking,
                reason = "the credentials were refused", remedy = "look at the log of the node", "XMPP sign-in failed");
        }
    }
}
