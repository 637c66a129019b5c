//! A request that came over the link: who asks, whether that is allowed, and only then to whom it goes.
//!
//! The types make the order: [`Arrived`] -> [`Identified`] -> [`Authorised`], and only the last can be relayed.
//! Everything edge-e says is a claim; it is all read again here.

use std::sync::Arc;

use arc_swap::ArcSwap;
use common::http::fields;
use common::http::target::Target;
use common::limits;
use common::link::preface::{self, Preface};
use common::mra::access::{Realm, Refusal, Verb};
use common::mra::cookie;
use common::mra::edge_path::EdgePath;
use common::net::{Deployment, Domain, Origin, Scheme};
use common::oauth::CookieScope;
use common::policy::allow_list::{self, DenyReason, Rule, RuleSource, Verdict};
use common::policy::domain::DomainTable;
use common::redact::{Redacted, Secret};
use common::runtime::body::Body;
use common::runtime::clock;
use common::runtime::request_count::Counted;
use common::session::{DeviceName, Session};
use common::telemetry::{Direction, Route};
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, LOCATION, SET_COOKIE, USER_AGENT, VIA,
    WWW_AUTHENTICATE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, request};

use crate::allow_list::LiveAllowList;
use crate::metrics::{ListVerdict, Metrics, SignInOutcome};
use crate::sessions::{IssueError, NewSession, Sessions, StoreError};
use crate::sign_in::{EdgeConfigRequest, Granted, SignIn, hint_of, services_of};
use crate::sip::passwords::Passwords;
use crate::sso::ask::HomeSso;
use crate::sso::{Sso, SsoRequest};
use crate::uds::OnBehalf;
use crate::upstream::http::Upstreams;
use blocked::Blocked;

pub mod blocked;
mod location;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// What every request needs.
#[derive(Debug)]
pub struct Streams {
    /// Which domains are served, and by which deployment.
    pub domains: ArcSwap<DomainTable>,
    /// Who is signed in.
    pub sessions: Sessions,
    /// Who may sign in.
    pub sign_in: SignIn,
    /// What may be asked for.
    pub allow_list: Arc<LiveAllowList>,
    /// Where it is.
    pub upstreams: Upstreams,
    /// Pages of issuers of tokens.
    pub sso: Sso,
    /// Who has single sign-on.
    pub home_sso: HomeSso,
    /// The realm of the Basic challenge.
    pub realm: ArcSwap<Realm>,
    /// Whether `Location` fields are rewritten to their form at the edge.
    pub is_location_rewritten: bool,
    /// Own pseudonym in `Via`.
    pub via: HeaderValue,
    /// What the allow list refused last.
    pub blocked: Blocked,
    /// Learns what users prove, where edge-c authenticates phones itself.
    pub passwords: Arc<Passwords>,
    /// What is counted.
    pub metrics: Metrics,
}

/// A refusal on its way to the client, and what the log says of it.
struct Refused {
    refusal: Refusal,
    reason: String,
    remedy: String,
    /// Counts against the client's address.
    is_wrong_guess: bool,
    challenge: Challenge,
}

/// What a client that must sign in is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Challenge {
    /// A password.
    #[default]
    Password,
    /// A password or a token.
    PasswordOrToken,
    /// Another token than the one it has shown, of which this is wrong.
    Token(&'static str),
}

impl Refused {
    fn new(refusal: Refusal, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            refusal,
            reason: reason.into(),
            remedy: remedy.into(),
            is_wrong_guess: false,
            challenge: Challenge::default(),
        }
    }
}

impl Challenge {
    fn write(self, realm: &Realm, fields: &mut HeaderMap) {
        match self {
            Self::Password => {}
            // Clients that know passwords alone look at the first.
            Self::PasswordOrToken => {
                if let Some(bearer) = realm.bearer_challenge(None) {
                    fields.append(WWW_AUTHENTICATE, bearer);
                }
            }
            Self::Token(fault) => {
                if let Some(bearer) = realm.bearer_challenge(Some(fault)) {
                    fields.insert(WWW_AUTHENTICATE, bearer);
                }
            }
        }
    }
}

/// Nobody but the client can mend it.
const CLIENT: &str = "none: the client is at fault";

/// A request for an inner server, read but not judged.
struct Arrived<'a> {
    domain: &'a Domain,
    origin: &'a Origin,
    target: Target<'a>,
}

/// A request of somebody who is signed in.
struct Identified<'a> {
    arrived: Arrived<'a>,
    session: Arc<Session>,
    /// The cookie that names the session; it also opens the credential.
    cookie: String,
}

/// A request that the allow list allows.
struct Authorised<'a> {
    identified: Identified<'a>,
    rule: Arc<Rule>,
}

impl Streams {
    /// Answers one request of the link to the edge called `edge`.
    pub async fn answer(
        self: Arc<Self>,
        edge: Arc<Domain>,
        request: Request<Body>,
    ) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let preface = match Preface::take(&mut head.headers) {
            Ok(preface) => preface,
            Err(error) => {
                tracing::warn!(side = "link", reason = %error, remedy = "upgrade the older of the two edges",
                    "request refused");
                return Refusal::BadRequest
                    .response(&self.realm.load())
                    .map(|()| Body::empty());
            }
        };
        let counted = Counted::begin(&self.metrics.requests);
        let target = head.uri.path_and_query().cloned();
        let path = EdgePath::parse(target.as_ref().map_or("", PathAndQuery::as_str));
        let route = path.as_ref().map_or(Route::Other, route_label);
        let result = match path {
            Ok(path) => Box::pin(self.route(&edge, preface, path, head, body)).await,
            Err(error) => Err(Refused::new(Refusal::NotFound, error.to_string(), CLIENT)),
        };
        let response = result.unwrap_or_else(|refused| self.refuse(preface, &refused));
        tracing::debug!(tracking_id = %preface.tracking, %route, status = response.status().as_u16(),
            duration_us = counted.elapsed().as_micros(), "answered");
        counted.end(route, response.status());
        response
    }

    async fn route(
        &self,
        edge: &Domain,
        preface: Preface,
        path: EdgePath<'_>,
        head: request::Parts,
        body: Body,
    ) -> Result<Response<Body>, Refused> {
        self.deployment(path.domain())?;
        match path {
            EdgePath::Verb {
                domain,
                verb: Verb::GetEdgeConfig,
                query,
            } => {
                self.edge_config(edge, preface, domain, query, &head.headers)
                    .await
            }
            EdgePath::Verb {
                domain,
                verb: Verb::GetEdgeSso,
                query,
            } => self.edge_sso(edge, preface, &domain, query).await,
            EdgePath::Sso { domain, page } => {
                let domain = &domain;
                let request = SsoRequest {
                    domain,
                    page,
                    preface,
                };
                let answered = self.sso.answer(&request, head, body).await;
                answered.map_err(|sso| Refused::new(sso.refusal, sso.reason, sso.remedy))
            }
            EdgePath::Verb { verb, .. } => Err(Refused::new(
                Refusal::NotFound,
                format!("{verb} is switched off"),
                "none",
            )),
            EdgePath::Proxied {
                domain,
                origin,
                target,
            } => {
                let target = Target::parse(target).map_err(|error| {
                    self.metrics.verdicts.of(ListVerdict::Target).inc();
                    Refused::new(Refusal::NotAllowed, format!("the target {error}"), CLIENT)
                })?;
                let arrived = Arrived {
                    domain: &domain,
                    origin: &origin,
                    target,
                };
                let identified = self.identify(arrived, &head.headers).await?;
                let authorised = self.authorise(identified, head.method.as_str())?;
                self.relay(authorised, preface, head, body).await
            }
        }
    }

    fn deployment(&self, domain: &Domain) -> Result<Deployment, Refused> {
        self.domains
            .load()
            .deployment(domain)
            .cloned()
            .ok_or_else(|| {
                Refused::new(
                    Refusal::DomainUnknown,
                    format!("{domain} is not a [[domain]]"),
                    "add it if it is yours",
                )
            })
    }

    /// The first of the request's cookies that names a session counts.
    async fn session_of(
        &self,
        head: &HeaderMap,
    ) -> Result<Option<(Arc<Session>, String)>, Refused> {
        let now = clock::unix_now();
        let mut failed = None;
        for cookie in cookie::candidates(head) {
            match self.sessions.find(cookie, now).await {
                Ok(Some(session)) => return Ok(Some((session, cookie.to_owned()))),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), |error| Err(unsure(&error)))
    }

    async fn identify<'a>(
        &self,
        arrived: Arrived<'a>,
        head: &HeaderMap,
    ) -> Result<Identified<'a>, Refused> {
        let remedy = "none: the client signs in again by itself";
        let (session, cookie) = self.session_of(head).await?.ok_or_else(|| {
            self.metrics.sessions_unknown.inc();
            Refused::new(Refusal::SignInRequired, "no such session", remedy)
        })?;
        if session.domain != *arrived.domain {
            let reason = "the session is of another domain";
            return Err(Refused::new(Refusal::SignInRequired, reason, remedy));
        }
        Ok(Identified {
            arrived,
            session,
            cookie,
        })
    }

    fn authorise<'a>(
        &self,
        identified: Identified<'a>,
        method: &str,
    ) -> Result<Authorised<'a>, Refused> {
        let request = allow_list::Request {
            method,
            origin: identified.arrived.origin,
            target: &identified.arrived.target,
            deployment: &identified.session.deployment,
            now: clock::unix_now(),
        };
        let list = self.allow_list.current();
        let verdict = list.verdict(&request);
        self.metrics.verdicts.of(verdict_label(&verdict)).inc();
        let rule = match verdict {
            Verdict::Allow(rule) => {
                if let RuleSource::File { line } = rule.source {
                    self.metrics.rule_hits.of(&line.to_string()).inc();
                }
                Arc::clone(rule)
            }
            Verdict::Deny(denial) => {
                let rule = format!("{:#}", denial.needed_rule());
                self.blocked
                    .note(method, identified.arrived.origin, &denial.reason, &rule);
                let remedy = format!("to allow it: {rule}");
                return Err(Refused::new(
                    Refusal::NotAllowed,
                    denial.reason.to_string(),
                    remedy,
                ));
            }
        };
        Ok(Authorised { identified, rule })
    }

    async fn relay(
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
        let exchanged = self.sign_in.exchange(arrived.domain, host, own).await;
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

    /// What the user's home cluster says of single sign-on.
    async fn edge_sso(
        &self,
        edge: &Domain,
        preface: Preface,
        domain: &Domain,
        query: Option<&str>,
    ) -> Result<Response<Body>, Refused> {
        let on_behalf = OnBehalf {
            client: preface.client,
            tracking: preface.tracking,
        };
        let asked = self.home_sso.answer(edge, domain, query, &on_behalf).await;
        let document = asked.map_err(|refusal| {
            let remedy = "none, or set sso = \"ask\" for the domain";
            Refused::new(refusal, "get_edge_sso can't be answered", remedy)
        })?;
        let mut response = Response::new(Body::from(document));
        let xml = HeaderValue::from_static("text/xml;charset=UTF-8");
        response.headers_mut().insert(CONTENT_TYPE, xml);
        Ok(response)
    }

    async fn edge_config(
        &self,
        edge: &Domain,
        preface: Preface,
        domain: Domain,
        query: Option<&str>,
        fields: &HeaderMap,
    ) -> Result<Response<Body>, Refused> {
        let text = |name: HeaderName| fields.get(name).and_then(|value| value.to_str().ok());
        let device = text(USER_AGENT).and_then(|agent| DeviceName::parse(agent).ok());
        let request = EdgeConfigRequest {
            domain: domain.clone(),
            hint: hint_of(query),
            authorization: text(AUTHORIZATION).map(|value| Secret::new(value.to_owned())),
            services: services_of(query),
            device: device.clone(),
            edge: edge.clone(),
            on_behalf: OnBehalf {
                client: preface.client,
                tracking: preface.tracking,
            },
        };
        let began = clock::now();
        let granted = self.sign_in.edge_config(&request).await;
        let outcome = match &granted {
            Ok(granted) if granted.is_remembered => SignInOutcome::Cached,
            Ok(_) => SignInOutcome::Proved,
            Err(error) => error.outcome(),
        };
        self.metrics.sign_ins.of(outcome).inc();
        self.metrics
            .sign_in_seconds
            .of(outcome)
            .observe(clock::elapsed(began).as_secs_f64());
        let granted = granted.map_err(|error| Refused {
            is_wrong_guess: error.is_wrong_guess(),
            challenge: match error.token_fault() {
                Some(fault) => Challenge::Token(fault),
                None if self.sign_in.takes_tokens(&domain) => Challenge::PasswordOrToken,
                None => Challenge::Password,
            },
            ..Refused::new(error.refusal(), error.to_string(), error.remedy())
        })?;
        tracing::info!(tracking_id = %preface.tracking, user = %granted.user.redacted(), home = %granted.home.host,
            method = granted.method.label(), is_remembered = granted.is_remembered, "signed in");
        self.begin_session(edge, preface, device, granted).await
    }

    async fn begin_session(
        &self,
        edge: &Domain,
        preface: Preface,
        device: Option<DeviceName>,
        granted: Granted,
    ) -> Result<Response<Body>, Refused> {
        self.passwords.learn(&granted.user, &granted.credential);
        let new = NewSession {
            user: granted.user,
            domain: granted.domain,
            deployment: granted.deployment,
            home: granted.home,
            method: granted.method,
            device,
            client: preface.client,
            nodes: granted.nodes,
            credential: Some(granted.credential),
            edge_name: edge.clone(),
            until: granted.until,
        };
        let issued = self
            .sessions
            .issue(new, clock::unix_now())
            .await
            .map_err(|error| not_begun(&error))?;
        self.metrics.sessions_issued.inc();
        let mut response = Response::new(Body::from(granted.document));
        let fields = response.headers_mut();
        fields.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/xml;charset=UTF-8"),
        );
        fields.insert(SET_COOKIE, issued.set_cookie);
        fields.insert(preface::TRACKING, preface::value(&preface.tracking));
        Ok(response)
    }

    fn refuse(&self, preface: Preface, refused: &Refused) -> Response<Body> {
        let Refused {
            refusal,
            reason,
            remedy,
            is_wrong_guess,
            challenge,
        } = refused;
        let client = Redacted::new(preface.client.0.ip().to_string());
        tracing::info!(
            tracking_id = %preface.tracking, side = refusal.side().label(), reason, remedy,
            status = refusal.status().as_u16(), %client, "refused"
        );
        let realm = self.realm.load();
        let mut response = refusal.response(&realm).map(|()| Body::empty());
        if *refusal == Refusal::SignInRequired {
            challenge.write(&realm, response.headers_mut());
        }
        // Whether the client's connection ends is edge-e's business; the link's must not.
        if response
            .headers_mut()
            .remove(http::header::CONNECTION)
            .is_some()
        {
            tracing::trace!("the link stays open");
        }
        if *is_wrong_guess {
            response
                .headers_mut()
                .insert(preface::AUTH, preface::AUTH_FAILED);
        }
        response
            .headers_mut()
            .insert(preface::TRACKING, preface::value(&preface.tracking));
        response
    }
}

/// Nobody can say whether the session lives: the client keeps it and comes again.
fn unsure(error: &StoreError) -> Refused {
    let refusal = Refusal::Overloaded {
        retry_after: limits::LINK_DOWN_RETRY_AFTER,
    };
    Refused::new(refusal, error.to_string(), STORE_REMEDY)
}

fn not_begun(error: &IssueError) -> Refused {
    let refusal = Refusal::Overloaded {
        retry_after: limits::LINK_DOWN_RETRY_AFTER,
    };
    let remedy = match error {
        IssueError::Seal(_) | IssueError::TooLarge => "look at the session store's state_dir",
        IssueError::Store(_) => STORE_REMEDY,
    };
    Refused::new(refusal, error.to_string(), remedy)
}

const STORE_REMEDY: &str =
    "look at the server that [session.redis] names, and at the network to it";

const fn route_label(path: &EdgePath<'_>) -> Route {
    match path {
        EdgePath::Proxied { .. } => Route::Proxied,
        EdgePath::Sso { .. } => Route::Sso,
        EdgePath::Verb {
            verb: Verb::GetEdgeConfig,
            ..
        } => Route::EdgeConfig,
        EdgePath::Verb {
            verb: Verb::GetEdgeSso,
            ..
        } => Route::EdgeSso,
        EdgePath::Verb { .. } => Route::Other,
    }
}

fn verdict_label(verdict: &Verdict<'_>) -> ListVerdict {
    match verdict {
        Verdict::Allow(rule) => match rule.source {
            RuleSource::Automatic(_) => ListVerdict::Automatic,
            RuleSource::File { .. } => ListVerdict::Rule,
        },
        Verdict::Deny(denial) => match denial.reason {
            DenyReason::Expired(_) => ListVerdict::RuleExpired,
            DenyReason::Method(_) => ListVerdict::OtherMethod,
            DenyReason::NoRuleForOrigin | DenyReason::NoRuleForPath => ListVerdict::NoRule,
            DenyReason::OtherDeployment => ListVerdict::OtherDeployment,
        },
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
