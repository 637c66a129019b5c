//! Edge verbs, and the answers that need no inner server: `get_edge_sso` and every refusal.
//!
//! Values only: which refusal applies is decided elsewhere.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use percent_encoding::percent_decode_str;

pub use self::refusal::{Realm, RealmError, Refusal, Side};
use crate::limits;
use crate::net::Domain;
use crate::redact::Redacted;

mod refusal;

/// What stands behind the domain in a path that names no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `fedlet`: where a SAML assertion is posted.
    Fedlet,
    /// `get_edge_config`: who the servers are, and the cookie.
    GetEdgeConfig,
    /// `get_edge_sso`: whether there is single sign-on.
    GetEdgeSso,
    /// `sip`: SIP over WebSocket (RFC 7118).
    Sip,
    /// `xmpp`: XMPP over WebSocket (RFC 7395).
    Xmpp,
}

impl Verb {
    /// Reads the path segment behind the domain; one slash may follow it.
    #[must_use]
    pub fn parse(segment: &str) -> Option<Self> {
        match segment.strip_suffix('/').unwrap_or(segment) {
            "fedlet" => Some(Self::Fedlet),
            "get_edge_config" => Some(Self::GetEdgeConfig),
            "get_edge_sso" => Some(Self::GetEdgeSso),
            "sip" => Some(Self::Sip),
            "xmpp" => Some(Self::Xmpp),
            _ => None,
        }
    }

    /// The segment, without a slash.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fedlet => "fedlet",
            Self::GetEdgeConfig => "get_edge_config",
            Self::GetEdgeSso => "get_edge_sso",
            Self::Sip => "sip",
            Self::Xmpp => "xmpp",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asks `get_edge_sso`. Nothing of it is proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SsoQuery {
    /// `email=`, percent-decoded.
    pub email: Option<Redacted<String>>,
    /// `username=`, percent-decoded.
    pub username: Option<Redacted<String>>,
}

/// Why a query of an edge verb was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Not UTF-8 once percent-decoded, or with a control character in it.
    #[error("has a value that is not text")]
    Text,
    /// A parameter that counts stands there twice.
    #[error("has a parameter twice")]
    Twice,
    /// Longer than [`limits::VERB_QUERY_BYTES_MAX`].
    #[error("is too long")]
    TooLong,
}

impl SsoQuery {
    /// Reads what follows the `?`. Other parameters are left alone; a `+` is a plus sign, as in an e-mail address.
    ///
    /// # Errors
    /// [`QueryError`] if it is too long, names one of the two twice, or gives it a value that isn't text.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        if query.len() > limits::VERB_QUERY_BYTES_MAX {
            return Err(QueryError::TooLong);
        }
        let mut read = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let place = match name {
                "email" => &mut read.email,
                "username" => &mut read.username,
                _ => continue,
            };
            if place.is_some() {
                return Err(QueryError::Twice);
            }
            *place = Some(Redacted::new(decode(value)?));
        }
        Ok(read)
    }
}

fn decode(value: &str) -> Result<String, QueryError> {
    let text = percent_decode_str(value)
        .decode_utf8()
        .map_err(|_| QueryError::Text)?;
    if text.chars().any(char::is_control) {
        return Err(QueryError::Text);
    }
    Ok(text.into_owned())
}

/// The body of `get_edge_sso`, with places for what differs from answer to answer.
///
/// The vendor's own body isn't public, so it is data. The places are `{enabled}` (`true` or `false`), `{edge}` (edge-e's
/// name), `{port}`, `{domain}` and `{path}` (the domain as it stands in a path); a brace has no other meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsoTemplate(Vec<Piece>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Domain,
    Edge,
    Enabled,
    Path,
    Port,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

/// Why a text is not a template of `get_edge_sso`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Longer than [`limits::SSO_TEMPLATE_BYTES_MAX`].
    #[error("is longer than {} octets", limits::SSO_TEMPLATE_BYTES_MAX)]
    TooLong,
    /// A `{` without its `}`, or the other way round.
    #[error("has a brace without its partner")]
    Unbalanced,
    /// A place that there is no value for.
    #[error("has an unknown place {{{0}}}; known are enabled, edge, port, domain, path")]
    UnknownPlace(String),
}

/// What is put into an [`SsoTemplate`].
#[derive(Clone, Copy, Debug)]
pub struct SsoAnswer<'a> {
    /// Whether the domain has single sign-on.
    pub enabled: bool,
    /// Edge-e's name, as clients know it.
    pub edge: &'a Domain,
    /// The public HTTPS port.
    pub port: u16,
    /// The domain that was asked for.
    pub domain: &'a Domain,
}

impl SsoTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] if it is too long or a brace in it isn't one of the places.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > limits::SSO_TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, place)) = rest.split_once('{') {
            let (name, after) = place.split_once('}').ok_or(TemplateError::Unbalanced)?;
            pieces.push(Piece::Text(plain(before)?));
            pieces.push(Piece::Place(place_called(name)?));
            rest = after;
        }
        pieces.push(Piece::Text(plain(rest)?));
        Ok(Self(pieces))
    }

    /// Writes the answer.
    #[must_use]
    pub fn render(&self, answer: &SsoAnswer<'_>) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                // Names hold letters, digits and '-', '_', '.' only: there is nothing to escape in XML.
                Piece::Place(Place::Domain) => answer.domain.to_string(),
                Piece::Place(Place::Edge) => answer.edge.to_string(),
                Piece::Place(Place::Enabled) => answer.enabled.to_string(),
                // For such a name both alphabets of base64 give the same text.
                Piece::Place(Place::Path) => STANDARD_NO_PAD.encode(answer.domain.as_str()),
                Piece::Place(Place::Port) => answer.port.to_string(),
            })
            .collect()
    }
}

impl Default for SsoTemplate {
    /// In the shape of Unified CM's own resource.
    fn default() -> Self {
        // A constant that a test reads; a template without places would still be a valid answer.
        Self::parse(TEMPLATE).unwrap_or_else(|_| Self(Vec::new()))
    }
}

fn plain(text: &str) -> Result<String, TemplateError> {
    if text.contains('}') {
        return Err(TemplateError::Unbalanced);
    }
    Ok(text.to_owned())
}

fn place_called(name: &str) -> Result<Place, TemplateError> {
    match name {
        "domain" => Ok(Place::Domain),
        "edge" => Ok(Place::Edge),
        "enabled" => Ok(Place::Enabled),
        "path" => Ok(Place::Path),
        "port" => Ok(Place::Port),
        other => Err(TemplateError::UnknownPlace(other.to_owned())),
    }
}

const TEMPLATE: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?>"#,
    r#"<SSOResult version="1.0"><Response><SingleSignOn version="1.0"><Status enabled="{enabled}"/>"#,
    r"<Token><Uri>https://{edge}:{port}/{path}/authorize</Uri></Token>",
    r"</SingleSignOn></Response></SSOResult>",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<'a>(edge: &'a Domain, domain: &'a Domain, enabled: bool) -> SsoAnswer<'a> {
        SsoAnswer {
            enabled,
            edge,
            port: 8443,
            domain,
        }
    }

    #[test]
    fn the_answer_has_the_shape_of_the_sso_resource() {
        let edge = Domain::parse("edge1.example.com").unwrap();
        let domain = Domain::parse("example.com").unwrap();

        let on = SsoTemplate::default().render(&answer(&edge, &domain, true));
        let off = SsoTemplate::default().render(&answer(&edge, &domain, false));

        assert_eq!(
            on,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><SSOResult version=\"1.0\"><Response>\
             <SingleSignOn version=\"1.0\"><Status enabled=\"true\"/><Token>\
             <Uri>https://edge1.example.com:8443/ZXhhbXBsZS5jb20/authorize</Uri></Token>\
             </SingleSignOn></Response></SSOResult>"
        );
        assert!(off.contains("enabled=\"false\""));
    }

    #[test]
    fn a_template_of_ones_own_takes_every_place() {
        let edge = Domain::parse("e.example.com").unwrap();
        let domain = Domain::parse("d.example.com").unwrap();
        let template = SsoTemplate::parse("{domain}|{edge}|{enabled}|{path}|{port}.").unwrap();

        assert_eq!(
            template.render(&answer(&edge, &domain, false)),
            "d.example.com|e.example.com|false|ZC5leGFtcGxlLmNvbQ|8443."
        );
    }

    #[test]
    fn a_wrong_template_says_what_is_wrong() {
        for (text, error) in [
            ("{", TemplateError::Unbalanced),
            ("a}b", TemplateError::Unbalanced),
            ("{edge}}", TemplateError::Unbalanced),
            ("{user}", TemplateError::UnknownPlace("user".to_owned())),
            ("{}", TemplateError::UnknownPlace(String::new())),
        ] {
            assert_eq!(SsoTemplate::parse(text), Err(error), "{text}");
        }
        let long = "x".repeat(limits::SSO_TEMPLATE_BYTES_MAX + 1);
        assert_eq!(SsoTemplate::parse(&long), Err(TemplateError::TooLong));
    }

    #[test]
    fn a_query_names_the_user_by_mail_or_by_name() {
        let read = SsoQuery::parse("realm=local&email=alice%2Bx%40example.com").unwrap();
        assert_eq!(read.email.unwrap().reveal().as_str(), "alice+x@example.com");
        assert_eq!(read.username, None);

        let read = SsoQuery::parse("username=alice+x").unwrap();
        assert_eq!(read.username.unwrap().reveal().as_str(), "alice+x");
        assert_eq!(SsoQuery::parse(""), Ok(SsoQuery::default()));
    }

    #[test]
    fn an_odd_query_is_refused_and_never_printed() {
        for (query, error) in [
            ("email=a&email=b", QueryError::Twice),
            ("email=%ff", QueryError::Text),
            ("username=a%0d%0ab", QueryError::Text),
            (&"x".repeat(2_049), QueryError::TooLong),
        ] {
            assert_eq!(SsoQuery::parse(query), Err(error));
        }
        let read = SsoQuery::parse("email=alice@example.com").unwrap();
        assert!(!format!("{read:?}").contains("alice"));
    }

    #[test]
    fn verbs_read_back_and_may_end_in_one_slash() {
        for verb in [
            Verb::Fedlet,
            Verb::GetEdgeConfig,
            Verb::GetEdgeSso,
            Verb::Sip,
            Verb::Xmpp,
        ] {
            assert_eq!(Verb::parse(verb.as_str()), Some(verb));
            assert_eq!(Verb::parse(&format!("{verb}/")), Some(verb));
            assert_eq!(Verb::parse(&format!("{verb}//")), None);
        }
        assert_eq!(Verb::parse("GET_EDGE_SSO"), None);
        assert_eq!(Verb::parse(""), None);
    }
}
