//! Bearer tokens of clients (RFC 8898): looked at before the registrar is, where the configuration says so. What makes a token
//! good, whoever knows users knows.

use super::config::TokenPolicy;
use super::context::Arrived;
use super::output::{Event, Proof, RefusalReason};
use super::refuse::Refuse;
use super::{FlowId, Proxy, Services};
use crate::limits;
use crate::sip::auth::{AuthScheme, TokenFault};
use crate::sip::identity::Aor;
use crate::sip::message::Message;
use crate::sip::name::Name;
use crate::sip::registration::Flow;

impl Proxy {
    /// Checks the token of a request, which must be that of the user of one of `aors`; `None` if there is none, or tokens are
    /// the registrar's business.
    pub(super) fn check_token(
        &mut self,
        message: &Message,
        flow: FlowId,
        aors: &[Aor],
        services: &Services<'_>,
    ) -> Result<Option<Proof>, Refuse> {
        let is_token = |scheme| scheme == AuthScheme::Bearer;
        let mut tokens = message
            .credentials()
            .filter(|(_, each)| is_token(each.scheme()));
        let (TokenPolicy::Verify, Some((name, first))) =
            (self.config.identity.tokens, tokens.next())
        else {
            return Ok(None);
        };
        let token = first
            .bearer_token()
            .and_then(|token| str::from_utf8(token).ok());
        // Of two, who knows which one the registrar reads.
        let token = token.filter(|_| tokens.next().is_none());
        let mut fault = TokenFault::Refused;
        for aor in aors {
            match token.map(|token| services.hashes.check_token(aor, token)) {
                Some(Ok(())) => return Ok(Some(Proof::Token)),
                Some(Err(why)) => fault = why,
                None => {}
            }
        }
        if fault == TokenFault::Forged {
            self.events
                .push_back(Event::AuthenticationFailed { flow, aor: None });
        }
        Err(refusal(fault, name, aors.first(), services))
    }

    /// Checks the token of a request that is no REGISTER: for the addresses that the client has registered. Within a dialog
    /// there is nothing to check, its beginning was.
    pub(super) fn check_speakers_token(
        &mut self,
        arrived: &Arrived,
        flow: FlowId,
        services: &Services<'_>,
    ) -> Result<(), Refuse> {
        let message = &arrived.message;
        if self.config.identity.tokens == TokenPolicy::Pass || message.to_tag().is_some() {
            return Ok(());
        }
        let state = self.registrations.flow(flow);
        let bindings = state.map(Flow::bindings).unwrap_or_default();
        let aors: Vec<Aor> = bindings.iter().map(|binding| binding.aor.clone()).collect();
        self.check_token(message, flow, &aors, services).map(drop)
    }
}

/// Whether a request has a token, good or not.
pub(super) fn has_token(message: &Message) -> bool {
    let mut credentials = message.credentials();
    credentials.any(|(_, each)| each.scheme() == AuthScheme::Bearer)
}

/// RFC 8898 sections 2.3 and 4.
fn refusal(fault: TokenFault, name: Name, aor: Option<&Aor>, services: &Services<'_>) -> Refuse {
    let reason = match fault {
        TokenFault::Expired => RefusalReason::ExpiredToken,
        TokenFault::Forged | TokenFault::Refused => RefusalReason::WrongToken,
        TokenFault::Unavailable => {
            let after = limits::SIP_OVERLOAD_RETRY_AFTER.as_secs().to_string();
            let refuse = Refuse::new(503, RefusalReason::TokenUnverified);
            return refuse.with(Name::RetryAfter, after);
        }
    };
    let host = aor.map_or("", Aor::host);
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || ".-:[]".contains(*c);
    let realm: String = host.chars().filter(is_plain).collect();
    let mut challenge = format!("Bearer realm=\"{realm}\"");
    let server = aor.and_then(|aor| services.hashes.authorization_server(aor));
    if let Some(server) = server.filter(|server| !server.contains(['"', '\\'])) {
        challenge.push_str(&format!(", authz_server=\"{server}\""));
    }
    challenge.push_str(", error=\"invalid_token\"");
    if name == Name::ProxyAuthorization {
        return Refuse::new(407, reason).with(Name::ProxyAuthenticate, challenge);
    }
    Refuse::new(401, reason).with(Name::WwwAuthenticate, challenge)
}
