//! Everything that edge-e decides about a request, before anybody inside hears of it.

use std::sync::Arc;

use bytes::Bytes;
use common::limits;
use common::mra::access::{Refusal, Verb};
use common::mra::cookie;
use common::mra::edge_path::EdgePath;
use common::net::Domain;
use common::policy::jail::Offence;
use common::runtime::clock;
use common::telemetry::Route;
use http::request;

use super::Connection;
use super::claimed::Claimed;
use super::refused::{CLIENT, Refused, SIGN_IN_AGAIN, link_down, no_route, only_get};
use crate::admission::NoSignIn;
use crate::cores::Core;
use crate::gate;
use crate::listener::front;
use crate::metrics::Refusal as Label;

/// What the gates found out, and so where the request goes.
pub(super) enum Gated {
    /// edge-e has the answer: this document.
    Answer(Bytes),
    /// A core has it.
    Relay(Arc<Core>),
    /// A core finds out whether it is this user.
    SignIn(Arc<Core>, Option<Claimed>),
}

impl Connection {
    /// Everything edge-e decides, in order: form, path, domain, then verb or session.
    pub(super) fn gate(&self, head: &request::Parts) -> (Route, Result<Gated, Refused>) {
        if let Err((refusal, reason)) =
            gate::check(&head.method, &head.uri, head.version, &head.headers)
        {
            let is_method = refusal == Refusal::Unsupported;
            let label = if is_method {
                Label::UnsupportedMethod
            } else {
                Label::BadRequest
            };
            return (
                Route::Other,
                Err(Refused::new(refusal, label, reason, CLIENT)),
            );
        }
        let path = head
            .uri
            .path_and_query()
            .map_or("", http::uri::PathAndQuery::as_str);
        let Ok(path) = EdgePath::parse(path) else {
            let refused = Refused::new(
                Refusal::NotFound,
                Label::BadPath,
                "not an edge path",
                CLIENT,
            );
            return (Route::Other, Err(refused));
        };
        if let Err(missing) = self.https.cores.check_domain(path.domain()) {
            return (Route::Other, Err(no_route(missing)));
        }
        match path {
            EdgePath::Verb {
                domain,
                verb: Verb::GetEdgeSso,
                ..
            } => (Route::EdgeSso, self.edge_sso(head, &domain)),
            EdgePath::Verb {
                domain,
                verb: Verb::GetEdgeConfig,
                ..
            } => (Route::EdgeConfig, self.edge_config(head, &domain)),
            EdgePath::Verb {
                verb: Verb::Fedlet | Verb::Sip | Verb::Xmpp,
                ..
            } => {
                let refused = Refused::new(
                    Refusal::NotFound,
                    Label::NotFound,
                    "the verb is switched off",
                    "none",
                );
                (Route::Other, Err(refused))
            }
            EdgePath::Sso { domain, .. } => (Route::Sso, self.sso_page(&domain)),
            EdgePath::Proxied { domain, .. } => (Route::Proxied, self.proxied(head, &domain)),
        }
    }

    fn edge_sso(&self, head: &request::Parts, domain: &Domain) -> Result<Gated, Refused> {
        only_get(&head.method)?;
        self.limit_sign_in(None)?;
        if self.https.cores.asks_for_sso(domain) {
            return self.to_any_core(domain);
        }
        let document = self.https.cores.sso_document(domain).map_err(no_route)?;
        Ok(Gated::Answer(document))
    }

    fn edge_config(&self, head: &request::Parts, domain: &Domain) -> Result<Gated, Refused> {
        only_get(&head.method)?;
        let claimed = Claimed::read(&head.headers);
        self.limit_sign_in(claimed.as_ref())?;
        let core = self.https.cores.route(domain, None, clock::now());
        core.map(|core| Gated::SignIn(core, claimed))
            .map_err(no_route)
    }

    /// edge-c has the list of pages, and its own limit by address: a page has many parts, and is no sign-in.
    fn sso_page(&self, domain: &Domain) -> Result<Gated, Refused> {
        if self.https.cores.relays_sso(domain) {
            return self.to_any_core(domain);
        }
        let reason = "single sign-on is switched off";
        Err(Refused::new(
            Refusal::NotFound,
            Label::NotFound,
            reason,
            "none",
        ))
    }

    fn to_any_core(&self, domain: &Domain) -> Result<Gated, Refused> {
        let core = self.https.cores.route(domain, None, clock::now());
        core.map(Gated::Relay).map_err(no_route)
    }

    fn proxied(&self, head: &request::Parts, domain: &Domain) -> Result<Gated, Refused> {
        let cores = &self.https.cores;
        let checked = cores
            .check_session(&head.headers, clock::unix_now())
            .map_err(|refused| self.refuse_session(refused, head))?;
        cores
            .route(domain, Some(checked.core), clock::now())
            .map(Gated::Relay)
            .map_err(no_route)
    }

    fn refuse_session(&self, refused: cookie::Refused, head: &request::Parts) -> Refused {
        // A session that has ended, or whose key nobody knows any more, is an honest client's.
        if matches!(
            refused,
            cookie::Refused::Malformed | cookie::Refused::BadTag
        ) {
            self.count_failure(Offence::Forgery, None, "a forged session cookie");
        }
        let is_young = clock::elapsed(self.https.started) < limits::CORE_GONE_AFTER;
        let label = match refused {
            // A restart of this edge must not end the sessions of the core that links last.
            cookie::Refused::UnknownKey
                if is_young && self.https.cores.is_of_absent_core(&head.headers) =>
            {
                return link_down("the core that issued the session has not linked yet");
            }
            cookie::Refused::Missing => Label::NoSession,
            cookie::Refused::Expired => Label::Expired,
            cookie::Refused::Revoked => Label::Revoked,
            cookie::Refused::Malformed | cookie::Refused::UnknownKey | cookie::Refused::BadTag => {
                Label::UnknownSession
            }
        };
        Refused::new(
            Refusal::SignInRequired,
            label,
            refused.label(),
            SIGN_IN_AGAIN,
        )
    }

    fn limit_sign_in(&self, claimed: Option<&Claimed>) -> Result<(), Refused> {
        let admission = &self.https.front.admission;
        let user = claimed.map(|claimed| claimed.tag);
        admission
            .admit_sign_in(self.client.0.ip(), user, clock::now())
            .map_err(|refused| {
                let refusal = Refusal::TooManySignIns {
                    retry_after: refused.retry_after(),
                };
                let (reason, remedy) = match refused {
                    NoSignIn::AddressBlocked { .. } => (
                        "the address is blocked after authorisation failures",
                        front::BLOCK_REMEDY,
                    ),
                    NoSignIn::TooOften(_) => (
                        "sign_in_per_address exceeded",
                        "raise [limits] sign_in_per_address for large offices",
                    ),
                    NoSignIn::UserBlocked { .. } => (
                        "the user is blocked at this address after wrong passwords",
                        "ends by itself; look which device repeats a wrong password",
                    ),
                };
                Refused::new(refusal, Label::RateLimited, reason, remedy)
            })
    }
}
