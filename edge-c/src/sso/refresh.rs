//! One refresh at a time for each refresh token: an issuer that rotates them takes a token that is used twice for stolen,
//! and ends the newer one too (RFC 9700 section 4.14.2). Whose turn it is, [`Sessions`] knows, for all nodes.

use std::fmt;
use std::future::Future;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use common::limits;
use common::mra::access::Refusal;
use common::redact::Secret;
use http::StatusCode;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::SsoRefused;
use super::metrics::{SsoMetrics, SsoOutcome};
use crate::sessions::{Sessions, Turn};
use crate::tokens;

/// An answer, whole.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    pub(super) body: Bytes,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Tokens may be in it.
        f.debug_struct("Answer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Why an issuer gave no answer, and whether it may have got the request.
pub(super) struct Unanswered {
    pub(super) refused: SsoRefused,
    pub(super) is_sent: bool,
}

/// A form that spends a refresh token.
pub(super) struct Refresh {
    token: Secret<String>,
    /// The whole form and the client's secret: whoever sends another one gets no answer of this one.
    asker: [u8; 32],
}

impl Refresh {
    /// Reads a form; nothing if it spends no refresh token.
    pub(super) fn read(fields: &HeaderMap, form: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(form).ok()?;
        let value = |name: &str| {
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            let mut own = pairs.filter(|(key, _)| decoded(key) == name);
            own.next().map(|(_, value)| decoded(value))
        };
        if value("grant_type")? != "refresh_token" {
            return None;
        }
        let secret = fields
            .get(AUTHORIZATION)
            .map_or(&b""[..], HeaderValue::as_bytes);
        Some(Self {
            token: Secret::new(value("refresh_token")?),
            asker: tokens::tag_of(&[secret, b"\0", form].concat()),
        })
    }
}

/// What others with the same token get.
#[derive(Serialize, Deserialize)]
struct Landed {
    asker: String,
    status: u16,
    kind: Option<String>,
    body: String,
}

/// Sends a refresh in its turn, or gives the answer of the same one that was just made.
pub(super) async fn in_turn<F: Future<Output = Result<Answer, Unanswered>>>(
    sessions: &Sessions,
    refresh: &Refresh,
    metrics: &SsoMetrics,
    send: impl FnOnce() -> F,
) -> Result<Answer, SsoRefused> {
    let turn = sessions.refresh_turn(&refresh.token).await;
    let flight = match turn.map_err(|error| in_doubt(&error))? {
        Turn::Yours(flight) => flight,
        Turn::Landed(text) => {
            metrics.refreshes_shared.inc();
            return landed(refresh, text.reveal());
        }
    };
    flight.depart().await.map_err(|error| in_doubt(&error))?;
    metrics.refreshes.inc();
    match send().await {
        Ok(answer) => {
            if let Some(text) = text_of(refresh, &answer)
                && let Err(error) = flight.land(&text).await
            {
                tracing::debug!(%error, "nobody else gets the answer of this refresh");
            }
            Ok(answer)
        }
        Err(unanswered) => {
            if !unanswered.is_sent
                && let Err(error) = flight.release().await
            {
                tracing::debug!(%error, "the turn to refresh passes on by itself");
            }
            Err(unanswered.refused)
        }
    }
}

fn text_of(refresh: &Refresh, answer: &Answer) -> Option<Secret<String>> {
    let kind = answer.fields.get(CONTENT_TYPE);
    let landed = Landed {
        asker: STANDARD_NO_PAD.encode(refresh.asker),
        status: answer.status.as_u16(),
        kind: kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned),
        body: std::str::from_utf8(&answer.body).ok()?.to_owned(),
    };
    serde_json::to_string(&landed).ok().map(Secret::new)
}

fn landed(refresh: &Refresh, text: &str) -> Result<Answer, SsoRefused> {
    let unusable = || SsoRefused::client("the answer of the refresh under way can't be shared");
    let landed: Landed = serde_json::from_str(text).map_err(|_| unusable())?;
    if landed.asker != STANDARD_NO_PAD.encode(refresh.asker) {
        return Err(unusable());
    }
    let mut fields = HeaderMap::new();
    // RFC 6749 section 5.1.
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(kind) = landed
        .kind
        .and_then(|kind| HeaderValue::try_from(kind).ok())
    {
        fields.insert(CONTENT_TYPE, kind);
    }
    Ok(Answer {
        status: StatusCode::from_u16(landed.status).map_err(|_| unusable())?,
        fields,
        body: Bytes::from(landed.body),
    })
}

fn in_doubt(error: &impl fmt::Display) -> SsoRefused {
    let refusal = Refusal::Overloaded {
        retry_after: limits::LINK_DOWN_RETRY_AFTER,
    };
    let remedy =
        "none: the client tries again or signs in; if it is everybody, look at the shared store";
    SsoRefused::new(SsoOutcome::Unavailable, refusal, error.to_string(), remedy)
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_that_spends_a_refresh_token_is_known_and_its_asker_told_apart() {
        let fields = HeaderMap::new();
        let read = |form: &str| Refresh::read(&fields, form.as_bytes());

        let one = read("grant_type=refresh_token&refresh_token=a%2Bb&client_id=x").unwrap();
        let two = read("client_id=y&refresh%5Ftoken=a%2Bb&grant_type=refresh_token").unwrap();

        assert_eq!(one.token.reveal(), "a+b");
        assert_eq!(two.token.reveal(), "a+b");
        assert_ne!(one.asker, two.asker);
        assert!(read("grant_type=authorization_code&code=1").is_none());
        assert!(read("grant_type=refresh_token").is_none());
    }

    #[test]
    fn an_answer_is_for_whoever_asked_the_same() {
        let fields = HeaderMap::new();
        let form = |client: &str| {
            let form = format!("grant_type=refresh_token&refresh_token=r1&client_id={client}");
            Refresh::read(&fields, form.as_bytes()).unwrap()
        };
        let answer = Answer {
            status: StatusCode::OK,
            fields: HeaderMap::new(),
            body: Bytes::from_static(b"{\"access_token\":\"secret\"}"),
        };
        assert!(!format!("{answer:?}").contains("secret"));

        let text = text_of(&form("x"), &answer).unwrap();

        assert_eq!(landed(&form("x"), text.reveal()).unwrap().body, answer.body);
        assert!(landed(&form("y"), text.reveal()).is_err());
    }
}
