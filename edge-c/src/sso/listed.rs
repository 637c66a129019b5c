//! What `[sso]` opens of issuers, and how often an address may ask.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use common::limits;
use common::mra::access::Refusal;
use common::net::Origin;
use common::policy::allow_list::Url;
use common::policy::rate_limit::{Quota, SlidingWindows, network_of};
use common::runtime::clock;

use super::SsoRefused;
use super::metrics::SsoOutcome;
use crate::config::tokens::{SsoRelay, SsoRule};

/// What `[sso]` opens, and how often an address may ask.
#[derive(Debug)]
pub(super) struct Listed {
    rules: Vec<SsoRule>,
    limit: Mutex<SlidingWindows<IpAddr>>,
}

impl Listed {
    /// Takes what the section says.
    pub(super) fn new(relay: &SsoRelay) -> Self {
        let quota = Quota {
            count: NonZeroU32::new(relay.rate_limit.count).unwrap_or(NonZeroU32::MIN),
            window: relay.rate_limit.window,
        };
        Self {
            rules: relay.rules.clone(),
            limit: Mutex::new(SlidingWindows::new(quota, limits::SSO_ADDRESSES_MAX)),
        }
    }

    pub(super) fn admit(&self, address: IpAddr) -> Result<(), SsoRefused> {
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        limit
            .admit(network_of(address), clock::now())
            .map_err(|too_often| {
                let refusal = Refusal::TooManySignIns {
                    retry_after: too_often.retry_after,
                };
                let remedy = "raise [sso] rate_limit for large offices";
                let reason = "[sso] rate_limit exceeded";
                SsoRefused::new(SsoOutcome::RateLimited, refusal, reason, remedy)
            })
    }

    /// Whether a page is on the list.
    pub(super) fn allow(&self, issuer: &str, url: &Url, method: &str) -> Result<(), SsoRefused> {
        let mut own = self.rules.iter().filter(|rule| *rule.issuer == *issuer);
        let is_allowed = own.any(|SsoRule { rule, .. }| {
            rule.url.origin == url.origin
                && rule.matches_target(&url.target)
                && rule.methods.contains(method)
        });
        if is_allowed {
            return Ok(());
        }
        let page = format!("https://{}{}", url.origin.authority(), url.target.path());
        let needed = format!(
            "to allow it: [[sso.rule]] issuer = \"{issuer}\", url = \"{page}\", match = \"exact\", methods = [\"{method}\"]"
        );
        let reason = "no [[sso.rule]] has the page";
        let (outcome, refusal) = (SsoOutcome::NotListed, Refusal::NotAllowed);
        Err(SsoRefused::new(outcome, refusal, reason, needed))
    }

    /// The issuers that have pages, in the order of the list.
    pub(super) fn issuers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rules.iter().map(|rule| &rule.issuer)
    }

    /// Where the pages of an issuer are.
    pub(super) fn origin(&self, issuer: &str) -> Option<Origin> {
        let mut own = self.rules.iter().filter(|rule| *rule.issuer == *issuer);
        own.next().map(|rule| rule.rule.url.origin.clone())
    }
}
