//! What is counted of single sign-on.

use common::telemetry::{self, ByLabel};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

common::label! {
    /// How a request for single sign-on ended.
    pub enum SsoOutcome as "outcome" {
        /// Not a request that is relayed.
        BadRequest = "bad_request",
        /// No rule has the page.
        NotListed = "not_listed",
        /// Switched off.
        Off = "off",
        /// Too much at once.
        Overloaded = "overloaded",
        /// Too often.
        RateLimited = "rate_limited",
        /// Answered by the issuer.
        Relayed = "relayed",
        /// The issuer gave no answer.
        Unavailable = "unavailable",
    }
}

/// What is counted. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct SsoMetrics {
    /// Requests by outcome.
    pub requests: ByLabel<SsoOutcome, Counter>,
    /// Refreshes that were sent to an issuer.
    pub refreshes: Counter,
    /// Refreshes that got the answer of one that was under way.
    pub refreshes_shared: Counter,
}

impl SsoMetrics {
    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            requests: ByLabel::register(
                registry,
                "sso_requests",
                "Requests for single sign-on, by outcome",
            ),
            refreshes: telemetry::counter(
                registry,
                "token_refreshes",
                "Refreshes that were sent to an issuer",
            ),
            refreshes_shared: telemetry::counter(
                registry,
                "token_refreshes_shared",
                "Refreshes that got the answer of one that was under way",
            ),
        }
    }
}
