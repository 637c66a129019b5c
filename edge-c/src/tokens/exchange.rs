//! A user's token becomes one for a server inside (RFC 8693), so that the server holds none that opens more.

use std::sync::Arc;
use std::time::Duration;

use common::limits;
use common::net::{Domain, Host};
use common::policy::fading::Fading;
use common::redact::Secret;
use common::runtime::clock;
use serde::Deserialize;

use super::{FetchError, Issuer, Tag, TokenRefused, TokenVerifier, bearer, endpoint, tag};
use crate::config::tokens::Exchange;

/// The tokens that were got lately, by the user's token and the audience.
pub(super) type Exchanged = Fading<(Tag, String), Secret<String>>;

/// RFC 8693 section 2.2.1, as far as it counts.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl TokenVerifier {
    /// The value of `Authorization` for a server inside, made of the user's own `authorization`; `None` where the server gets
    /// the user's own.
    ///
    /// # Errors
    /// [`TokenRefused`] if the issuer gives no token for the server; it must not get the user's instead.
    pub async fn exchange(
        &self,
        domain: &Domain,
        host: &Host,
        authorization: &str,
    ) -> Option<Result<Secret<String>, TokenRefused>> {
        let (scheme, token) = authorization.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let issuers = Arc::clone(&self.issuers.load());
        let mut serving = issuers.iter().filter(|issuer| issuer.serves(domain));
        let (issuer, exchange) = serving.find_map(|issuer| {
            let mut own = issuer.config.exchanges.iter();
            let exchange = own.find(|exchange| exchange.hosts.contains(host))?;
            Some((issuer, exchange))
        })?;
        let key = (tag(token), exchange.audience.clone());
        if let Some((_, known)) = self.exchanged().get(&key, clock::now()) {
            return Some(Ok(known.clone()));
        }
        let asked = self.ask_for(issuer, exchange, token).await;
        self.metrics.fetched(&issuer.config.name, asked.is_ok());
        Some(match asked {
            Ok((value, kept_for)) => {
                let now = clock::now();
                self.exchanged()
                    .renew(key, now + kept_for, value.clone(), now);
                Ok(value)
            }
            Err(error) => Err(issuer.unavailable(error)),
        })
    }

    async fn ask_for(
        &self,
        issuer: &Issuer,
        exchange: &Exchange,
        token: &str,
    ) -> Result<(Secret<String>, Duration), FetchError> {
        let config = &issuer.config;
        let url = match &config.endpoints.token {
            Some(url) => url.clone(),
            None => endpoint(&*self.fetcher.metadata(config).await?, "token_endpoint")?,
        };
        let mut form = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", token),
            ("subject_token_type", ACCESS_TOKEN),
            ("requested_token_type", ACCESS_TOKEN),
            ("audience", exchange.audience.as_str()),
        ];
        if let Some(scope) = &exchange.scope {
            form.push(("scope", scope));
        }
        let json = self
            .fetcher
            .form(&url, config.client.as_ref(), &form)
            .await?;
        let unusable = || FetchError::Upstream("the answer is not one of an exchange".to_owned());
        let answer: Answer = serde_json::from_slice(&json).map_err(|_| unusable())?;
        let is_token = answer.access_token.len() <= limits::TOKEN_BYTES_MAX
            && answer.access_token.bytes().all(|b| b.is_ascii_graphic());
        if !answer.token_type.eq_ignore_ascii_case("bearer") || !is_token {
            return Err(unusable());
        }
        let lifetime = Duration::from_secs(answer.expires_in.unwrap_or_default());
        let kept_for = lifetime
            .saturating_sub(limits::TOKEN_SKEW_DEFAULT)
            .min(limits::TOKEN_VERDICT_AGE_MAX);
        Ok((bearer(&answer.access_token), kept_for))
    }
}

/// RFC 8693 section 3.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
