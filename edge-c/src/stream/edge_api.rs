//! The edge's own requests: who has single sign-on, and the sign-in that begins a session.

use common::link::preface::{self, Preface};
use common::net::Domain;
use common::redact::Secret;
use common::runtime::body::Body;
use common::runtime::clock;
use common::session::DeviceName;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Response};

use super::Streams;
use super::refused::{Challenge, Refused};
use crate::metrics::SignInOutcome;
use crate::sessions::NewSession;
use crate::sign_in::{EdgeConfigRequest, Granted, hint_of, services_of};
use crate::uds::OnBehalf;

const XML: HeaderValue = HeaderValue::from_static("text/xml;charset=UTF-8");

impl Streams {
    /// What the user's home cluster says of single sign-on.
    pub(super) async fn edge_sso(
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
        response.headers_mut().insert(CONTENT_TYPE, XML);
        Ok(response)
    }

    pub(super) async fn edge_config(
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
        let issued = self.sessions.issue(new, clock::unix_now()).await?;
        self.metrics.sessions_issued.inc();
        let mut response = Response::new(Body::from(granted.document));
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, XML);
        fields.insert(SET_COOKIE, issued.set_cookie);
        fields.insert(preface::TRACKING, preface::value(&preface.tracking));
        Ok(response)
    }
}
