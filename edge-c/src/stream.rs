//! A request that came over the link: who asks, whether that is allowed, and only then to whom it goes.
//!
//! The types make the order: [`Arrived`] -> [`Identified`] -> [`Authorised`], and only the last can be relayed.
//! Everything edge-e says is a claim; it is all read again here.

use std::sync::Arc;

use arc_swap::ArcSwap;
use common::http::target::Target;
use common::link::preface::Preface;
use common::mra::access::{Realm, Refusal, Verb};
use common::mra::cookie;
use common::mra::edge_path::EdgePath;
use common::net::{Deployment, Domain, Origin};
use common::policy::allow_list::{self, DenyReason, Rule, RuleSource, Verdict};
use common::policy::domain::DomainTable;
use common::runtime::body::Body;
use common::runtime::clock;
use common::runtime::request_count::Counted;
use common::session::Session;
use common::telemetry::Route;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, request};

use crate::allow_list::LiveAllowList;
use crate::metrics::{ListVerdict, Metrics};
use crate::sessions::Sessions;
use crate::sign_in::SignIn;
use crate::sip::passwords::Passwords;
use crate::sso::ask::HomeSso;
use crate::sso::{Sso, SsoRequest};
use crate::upstream::http::Upstreams;
use blocked::Blocked;
use refused::{CLIENT, Refused};

pub mod blocked;
mod edge_api;
mod location;
mod refused;
mod relay;

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
        let response =
            result.unwrap_or_else(|refused| refused.response(preface, &self.realm.load()));
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
        failed.map_or(Ok(None), |error| Err(error.into()))
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
}

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
