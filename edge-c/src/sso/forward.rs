//! A request on its way to the issuer, with nothing of the edge in it, and the answer; refresh tokens one at a time.

use bytes::Bytes;
use common::http::fields;
use common::limits;
use common::link::preface::{self, Preface};
use common::mra::cookie;
use common::oauth::CookieScope;
use common::runtime::body::Body;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, COOKIE, HOST, HeaderName, ORIGIN, REFERER, VIA,
};
use http::{HeaderValue, Request, request};
use tokio::time::timeout;

use super::destination::Destination;
use super::page::{self, Outside};
use super::refresh::{self, Answer, Refresh, Unanswered};
use super::{Sso, SsoRefused};
use crate::tokens::{FetchError, collect};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

impl Sso {
    pub(super) async fn send(
        &self,
        to: &Destination,
        head: request::Parts,
        form: Bytes,
    ) -> Result<Answer, SsoRefused> {
        let spent = to
            .is_token_endpoint
            .then(|| Refresh::read(&head.headers, &form));
        match spent.flatten() {
            None => {
                let answered = self.exchange(to, head, form).await;
                answered.map_err(|unanswered| unanswered.refused)
            }
            Some(refresh) => {
                let send = || self.exchange(to, head, form);
                refresh::in_turn(&self.sessions, &refresh, &self.metrics, send).await
            }
        }
    }

    async fn exchange(
        &self,
        to: &Destination,
        head: request::Parts,
        form: Bytes,
    ) -> Result<Answer, Unanswered> {
        let upstreams = self.tokens.fetcher().upstreams();
        let body = if form.is_empty() {
            Body::empty()
        } else {
            Body::bytes(form)
        };
        let request = Request::from_parts(head, body);
        let answered = async {
            let response = upstreams.send(&to.url.origin, request).await?;
            let (head, body) = response.into_parts();
            let body = collect(body, limits::SSO_PAGE_BYTES_MAX).await?;
            Ok::<_, FetchError>((head, body))
        };
        let timed = timeout(limits::SSO_ANSWER_TIMEOUT, answered).await;
        let (head, body) =
            timed
                .unwrap_or(Err(FetchError::Timeout))
                .map_err(|error| Unanswered {
                    is_sent: !matches!(error, FetchError::NotSent(_)),
                    refused: SsoRefused::issuer(&error),
                })?;
        Ok(Answer {
            status: head.status,
            fields: head.headers,
            body,
        })
    }

    /// Makes the head for the issuer: its own cookies under their names, nothing of the edge.
    pub(super) fn prepare(
        &self,
        to: &Destination,
        outside: &Outside<'_>,
        preface: Preface,
        head: &mut request::Parts,
    ) -> Result<(), SsoRefused> {
        let bad = |_| SsoRefused::client("a field can't be sent");
        let path = outside.path();
        let scope = CookieScope {
            name: outside.issuer,
            path: &path,
        };
        let sent = head.headers.get_all(COOKIE).iter();
        let cookies = scope.inwards(sent.filter_map(|value| value.to_str().ok()));
        head.uri = http::Uri::try_from(to.url.target.to_string())
            .map_err(|_| SsoRefused::client("the target can't be sent"))?;
        head.version = http::Version::HTTP_11;
        head.extensions.clear();
        let fields = &mut head.headers;
        fields::strip_hop_by_hop(fields);
        cookie::strip_fields(fields);
        for name in [COOKIE, REFERER, FORWARDED, http::header::CONTENT_LENGTH] {
            fields.remove(name);
        }
        if !to.keeps_authorization {
            fields.remove(AUTHORIZATION);
        }
        // Pages are read on their way back.
        fields.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(cookies) = cookies {
            fields.insert(COOKIE, HeaderValue::try_from(cookies).map_err(bad)?);
        }
        // A form of the issuer's own page comes from the edge as the browser sees it.
        if fields
            .get(ORIGIN)
            .is_some_and(|origin| *origin == *outside.base())
        {
            let own = page::base_of(&to.url.origin);
            fields.insert(ORIGIN, HeaderValue::try_from(own).map_err(bad)?);
        }
        let host = HeaderValue::try_from(to.url.origin.authority());
        fields.insert(HOST, host.map_err(bad)?);
        let client = preface.client.0.ip().to_string();
        fields.insert(X_FORWARDED_FOR, HeaderValue::try_from(client).map_err(bad)?);
        fields.append(VIA, self.via.clone());
        fields.insert(preface::TRACKING, preface::value(&preface.tracking));
        Ok(())
    }
}
