//! What is authorised goes to its inner server, and the answer comes back.

use common::http::fields;
use common::link::preface::{self, Preface};
use common::mra::access::Refusal;
use common::mra::cookie;
use common::net::Scheme;
use common::oauth::CookieScope;
use common::policy::allow_list::RuleSource;
use common::runtime::body::Body;
use common::runtime::clock;
use common::telemetry::Direction;
use http::header::{AUTHORIZATION, HOST, HeaderName, LOCATION, SET_COOKIE, VIA};
use http::{HeaderMap, HeaderValue, Request, Response, request};

use super::refused::{CLIENT, Refused};
use super::{Authorised, Identified, Streams, location};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

impl Streams {
    pub(super) async fn relay(
        &self,
        authorised: Authorised<'_>,
        preface: Preface,
        mut head: request::Parts,
        body: Body,
    ) -> Result<Response<Body>, Refused> {
        let edge_host = head.headers.get(HOST).cloned();
        self.prepare(&authorised, preface, &mut head)?;
        self.exchange_credential(&authorised, &mut head.headers)
            .await?;
        let Authorised {
            identified: Identified {
                arrived, session, ..
            },
            ..
        } = authorised;
        let origin = arrived.origin;
        let bytes = &self.metrics.requests.body_bytes;
        let body = if http_body::Body::is_end_stream(&body) {
            Body::empty()
        } else {
            body.with_meter(bytes.of(Direction::Up))
        };
        let sent = self
            .upstreams
            .send(origin, Request::from_parts(head, body))
            .await;
        let mut response = sent.map_err(|error| {
            Refused::new(
                error.refusal(),
                format!("{origin}: {error}"),
                error.remedy(),
            )
        })?;
        response = response.map(|body| body.with_meter(bytes.of(Direction::Down)));
        let fields = response.headers_mut();
        fields::strip_hop_by_hop(fields);
        preface::strip(fields);
        keep_edge_cookie(fields);
        if self.is_location_rewritten && fields.contains_key(LOCATION) {
            let list = self.allow_list.current();
            location::rewrite(
                fields,
                edge_host.as_ref(),
                origin,
                &session,
                &list,
                clock::unix_now(),
            );
        }
        Ok(response)
    }

    /// Where the origin gets tokens of its own, it never sees the user's.
    async fn exchange_credential(
        &self,
        authorised: &Authorised<'_>,
        fields: &mut HeaderMap,
    ) -> Result<(), Refused> {
        let arrived = &authorised.identified.arrived;
        let Some(own) = fields.get(AUTHORIZATION).and_then(|own| own.to_str().ok()) else {
            return Ok(());
        };
        let host = &arrived.origin.host;
        let Some(tokens) = self.sign_in.tokens() else {
            return Ok(());
        };
        let exchanged = tokens.exchange(arrived.domain, host, own).await;
        let Some(exchanged) = exchanged else {
            return Ok(());
        };
        let value = exchanged.map_err(|refused| {
            let remedy = "look at [[issuer.exchange]] and at the issuer's log";
            Refused::new(Refusal::OriginUnreachable, refused.to_string(), remedy)
        })?;
        let mut value = header(value.reveal().clone())?;
        value.set_sensitive(true);
        fields.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// Makes the head for the origin: exactly the target that was matched, nothing of the edge, the right credential.
    fn prepare(
        &self,
        authorised: &Authorised<'_>,
        preface: Preface,
        head: &mut request::Parts,
    ) -> Result<(), Refused> {
        let arrived = &authorised.identified.arrived;
        let bad = |_| Refused::new(Refusal::BadRequest, "the target can't be sent", CLIENT);
        head.uri = http::Uri::try_from(arrived.target.to_string()).map_err(bad)?;
        head.version = http::Version::HTTP_11;
        head.extensions.clear();
        let fields = &mut head.headers;
        fields::strip_hop_by_hop(fields);
        cookie::strip_fields(fields);
        self.choose_credential(authorised, fields)?;
        fields.insert(HOST, header(arrived.origin.authority())?);
        fields.remove(FORWARDED);
        fields.insert(X_FORWARDED_FOR, header(preface.client.0.ip().to_string())?);
        fields.append(VIA, self.via.clone());
        fields.insert(preface::TRACKING, preface::value(&preface.tracking));
        Ok(())
    }

    /// The client's own `Authorization` goes to discovered nodes, and elsewhere only if the rule says so; the session's
    /// credential goes to the user's own nodes; neither ever without TLS.
    fn choose_credential(
        &self,
        authorised: &Authorised<'_>,
        fields: &mut HeaderMap,
    ) -> Result<(), Refused> {
        let Identified {
            arrived,
            session,
            cookie,
        } = &authorised.identified;
        let is_automatic = matches!(authorised.rule.source, RuleSource::Automatic(_));
        let is_secure = arrived.origin.scheme == Scheme::Https;
        let may_forward = is_secure && (is_automatic || authorised.rule.forward_authorization);
        if !may_forward {
            fields.remove(AUTHORIZATION);
            return Ok(());
        }
        if fields.contains_key(AUTHORIZATION)
            || !is_automatic
            || !session.may_send_credential_to(&arrived.origin.host)
        {
            return Ok(());
        }
        let credential = self.sessions.credential(cookie, session).map_err(|error| {
            Refused::new(
                Refusal::SignInRequired,
                error.to_string(),
                "none: the client signs in again by itself",
            )
        })?;
        if let Some(credential) = credential {
            if self.passwords.is_unknown(&session.user) {
                self.passwords.learn(&session.user, &credential);
            }
            let mut value = header(credential.reveal().clone())?;
            value.set_sensitive(true);
            fields.insert(AUTHORIZATION, value);
        }
        Ok(())
    }
}

/// An origin may not replace the edge's own cookie, nor one of an issuer's pages.
fn keep_edge_cookie(fields: &mut HeaderMap) {
    let is_edge_cookie = |value: &HeaderValue| {
        let octets = value.as_bytes();
        cookie::sets_edge_cookie(octets) || CookieScope::is_taken(octets)
    };
    if !fields.get_all(SET_COOKIE).iter().any(is_edge_cookie) {
        return;
    }
    let others: Vec<HeaderValue> = fields
        .get_all(SET_COOKIE)
        .iter()
        .filter(|value| !is_edge_cookie(value))
        .cloned()
        .collect();
    fields.remove(SET_COOKIE);
    for value in others {
        fields.append(SET_COOKIE, value);
    }
}

fn header(text: String) -> Result<HeaderValue, Refused> {
    HeaderValue::try_from(text)
        .map_err(|_| Refused::new(Refusal::BadRequest, "a field can't be sent", CLIENT))
}
