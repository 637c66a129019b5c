//! Stream errors that the edges make themselves (RFC 6120 section 4.9.3), and SASL failures (section 6.5).

/// Why a stream is closed; each has the name that RFC 6120 gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// Not a stream.
    BadFormat,
    /// Something took too long.
    ConnectionTimeout,
    /// The domain is not served here.
    HostUnknown,
    /// Something of our own went wrong.
    InternalServerError,
    /// Data was sent before authentication.
    NotAuthorized,
    /// Not well-formed XML.
    NotWellFormed,
    /// A local rule: too long, too often, too early.
    PolicyViolation,
    /// No node inside can be reached.
    RemoteConnectionFailed,
    /// The session is over, the client authenticates anew.
    Reset,
    /// No room for another stream.
    ResourceConstraint,
    /// XML that streams may not have.
    RestrictedXml,
    /// The edge is going away.
    SystemShutdown,
}

impl Condition {
    /// The name of the element, also in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadFormat => "bad-format",
            Self::ConnectionTimeout => "connection-timeout",
            Self::HostUnknown => "host-unknown",
            Self::InternalServerError => "internal-server-error",
            Self::NotAuthorized => "not-authorized",
            Self::NotWellFormed => "not-well-formed",
            Self::PolicyViolation => "policy-violation",
            Self::RemoteConnectionFailed => "remote-connection-failed",
            Self::Reset => "reset",
            Self::ResourceConstraint => "resource-constraint",
            Self::RestrictedXml => "restricted-xml",
            Self::SystemShutdown => "system-shutdown",
        }
    }
}

/// A stream header of our own. `id` is a fresh random text without characters that XML escapes; `from` a served domain.
#[must_use]
pub fn header(from: Option<&str>, id: &str) -> String {
    let mut text = String::from("<?xml version='1.0'?><stream:stream");
    if let Some(from) = from {
        write_attribute(&mut text, "from", from);
    }
    write_attribute(&mut text, "id", id);
    text.push_str(
        " version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    );
    text
}

/// The error and the end of the stream. A header of our own must have been sent before.
#[must_use]
pub fn stream_error(condition: Condition) -> String {
    let name = condition.as_str();
    format!(
        "<stream:error><{name} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
    )
}

/// A refusal of a SASL exchange; `namespace` is that of the profile the client uses.
#[must_use]
pub fn sasl_failure(namespace: &str, condition: &str) -> String {
    // The condition has the namespace of RFC 6120 in both profiles (XEP-0388 section 2.6.3).
    if namespace == super::NS_SASL {
        format!("<failure xmlns='{namespace}'><{condition}/></failure>")
    } else {
        let sasl = super::NS_SASL;
        format!("<failure xmlns='{namespace}'><{condition} xmlns='{sasl}'/></failure>")
    }
}

/// Appends ` name='value'` with the value escaped.
pub fn write_attribute(text: &mut String, name: &str, value: &str) {
    text.push(' ');
    text.push_str(name);
    text.push_str("='");
    for character in value.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '\'' => text.push_str("&apos;"),
            other => text.push(other),
        }
    }
    text.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::NS_STREAM_ERRORS;
    use crate::xmpp::framing::{Framer, Item};

    #[test]
    fn an_error_reads_back_as_one() {
        let text = header(Some("a'b<c&d"), "7") + &stream_error(Condition::HostUnknown);
        let mut framer = Framer::new(10_000);
        framer.push(text.as_bytes());

        let Some(Item::Open { header, .. }) = framer.next_item().unwrap() else {
            panic!()
        };
        let Some(Item::Element { element, .. }) = framer.next_item().unwrap() else {
            panic!()
        };

        assert_eq!(header.from.as_deref(), Some("a'b<c&d"));
        assert!(element.child(NS_STREAM_ERRORS, "host-unknown").is_some());
        assert!(matches!(framer.next_item(), Ok(Some(Item::Close { .. }))));
    }
}
