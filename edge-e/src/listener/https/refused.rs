//! Refusals: what the client is told, and what log and metric say of it.

use std::time::Duration;

use common::limits;
use common::mra::access::Refusal;
use http::Method;

use crate::cores::NoRoute;
use crate::metrics::Refusal as Label;

/// A refusal on its way to the client, and what log and metric say of it.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) label: Label,
    pub(super) reason: &'static str,
    pub(super) remedy: &'static str,
}

impl Refused {
    pub(super) const fn new(
        refusal: Refusal,
        label: Label,
        reason: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self {
            refusal,
            label,
            reason,
            remedy,
        }
    }
}

/// Nobody but the client can mend it.
pub(super) const CLIENT: &str = "none: the client is at fault";

pub(super) const SIGN_IN_AGAIN: &str = "none: the client signs in again by itself";

pub(super) fn only_get(method: &Method) -> Result<(), Refused> {
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    let reason = "the verb is asked with another method than GET";
    Err(Refused::new(
        Refusal::NotFound,
        Label::UnsupportedMethod,
        reason,
        CLIENT,
    ))
}

pub(super) fn no_route(no_route: NoRoute) -> Refused {
    match no_route {
        NoRoute::DomainUnknown => Refused::new(
            Refusal::DomainUnknown,
            Label::UnknownDomain,
            "no core serves the domain",
            "add a [[domain]] to edge-c if it is yours",
        ),
        NoRoute::LinkDown => link_down("no core is linked"),
        NoRoute::SessionLost => Refused::new(
            Refusal::SignInRequired,
            Label::UnknownSession,
            "the core that issued the session is gone",
            SIGN_IN_AGAIN,
        ),
    }
}

pub(super) const fn link_down(reason: &'static str) -> Refused {
    let refusal = Refusal::LinkDown {
        retry_after: RETRY_AFTER,
    };
    Refused::new(
        refusal,
        Label::NoLink,
        reason,
        "look at edge-c and its log: it dials this edge",
    )
}

const RETRY_AFTER: Duration = limits::LINK_DOWN_RETRY_AFTER;
