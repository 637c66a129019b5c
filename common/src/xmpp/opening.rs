//! edge-e's side of a connection before TLS (RFC 6120 section 5): a header that names a served domain, STARTTLS, and
//! nothing else. Nothing that was said here counts afterwards.

use super::NS_TLS;
use super::error::{Condition, header, stream_error};
use super::framing::{Framer, FramingError, Header, Item};
use crate::limits;
use crate::net::Domain;

/// What comes of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send what is to be sent and close.
    Close(Condition),
    /// Send what is to be sent and read on.
    GoOn,
    /// Send what is to be sent and begin the TLS handshake.
    StartTls,
}

/// The dialogue before TLS.
#[derive(Debug)]
pub struct Opening {
    framer: Framer,
    /// Our stream's id: fresh, random, of characters that need no escaping.
    id: String,
    is_header_sent: bool,
    output: String,
    taken: usize,
    domain: Option<Domain>,
}

impl Opening {
    /// A dialogue that nobody has begun yet.
    #[must_use]
    pub fn new(id: String) -> Self {
        Self {
            framer: Framer::new(limits::XMPP_OPENING_BYTES_MAX),
            id,
            is_header_sent: false,
            output: String::new(),
            taken: 0,
            domain: None,
        }
    }

    /// The domain that the client has named, if it is served. Said in the clear: anybody may have changed it.
    #[must_use]
    pub const fn domain(&self) -> Option<&Domain> {
        self.domain.as_ref()
    }

    /// What is to be sent now, taken out.
    pub fn take_output(&mut self) -> String {
        std::mem::take(&mut self.output)
    }

    /// Bytes of the client; any chunking. `is_served` knows the domains.
    ///
    /// Bytes behind `<starttls/>` are refused: whoever put them there wants them to be read as if TLS protected them.
    pub fn handle_bytes(&mut self, bytes: &[u8], is_served: impl Fn(&Domain) -> bool) -> Progress {
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > limits::XMPP_OPENING_BYTES_MAX {
            return self.close(Condition::PolicyViolation);
        }
        self.framer.push(bytes);
        loop {
            let progress = match self.framer.next_item() {
                Ok(None) => return Progress::GoOn,
                Ok(Some(Item::Open { header, .. })) => self.take_header(&header, &is_served),
                Ok(Some(Item::Element { element, .. })) => {
                    if element.is(NS_TLS, "starttls") {
                        self.start_tls()
                    } else {
                        self.close(Condition::PolicyViolation)
                    }
                }
                Ok(Some(Item::Close { .. })) => self.close(Condition::PolicyViolation),
                Err(error) => self.close(condition(&error)),
            };
            if progress != Progress::GoOn {
                return progress;
            }
        }
    }

    /// The client is told why it is closed.
    pub fn close(&mut self, condition: Condition) -> Progress {
        self.send_header(None);
        self.output.push_str(&stream_error(condition));
        Progress::Close(condition)
    }

    fn take_header(&mut self, told: &Header, is_served: impl Fn(&Domain) -> bool) -> Progress {
        let domain = told.to.as_deref().and_then(|to| Domain::parse(to).ok());
        match domain.filter(is_served) {
            Some(domain) => {
                self.send_header(Some(domain.as_str()));
                self.domain = Some(domain);
                // RFC 6120 section 5.3.1: a server that requires TLS offers nothing beside it.
                self.output.push_str(
                    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
                     </stream:features>",
                );
                Progress::GoOn
            }
            None => self.close(Condition::HostUnknown),
        }
    }

    fn start_tls(&mut self) -> Progress {
        if self.framer.has_rest() {
            return self.close(Condition::PolicyViolation);
        }
        self.output
            .push_str("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        Progress::StartTls
    }

    fn send_header(&mut self, from: Option<&str>) {
        if !std::mem::replace(&mut self.is_header_sent, true) {
            self.output.push_str(&header(from, &self.id));
        }
    }
}

/// The stream error that tells a peer what was wrong with its bytes.
#[must_use]
pub fn condition(error: &FramingError) -> Condition {
    match error {
        FramingError::BadFormat => Condition::BadFormat,
        FramingError::NotWellFormed(_) => Condition::NotWellFormed,
        FramingError::TooDeep | FramingError::TooLong(_) => Condition::PolicyViolation,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "<?xml version='1.0'?><stream:stream to='Example.com' xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
    const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls' cookie='0'/>";

    fn opening() -> Opening {
        Opening::new("id7".to_owned())
    }

    fn say(opening: &mut Opening, text: &str) -> Progress {
        opening.handle_bytes(text.as_bytes(), |domain| domain.as_str() == "example.com")
    }

    #[test]
    fn a_client_is_led_to_tls() {
        let mut opening = opening();

        assert_eq!(say(&mut opening, HEADER), Progress::GoOn);
        let offered = opening.take_output();
        assert!(offered.contains("from='example.com'") && offered.contains("<required/>"));
        assert!(!offered.contains("mechanism"));
        assert_eq!(say(&mut opening, STARTTLS), Progress::StartTls);

        assert_eq!(
            opening.take_output(),
            "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
        );
    }

    #[test]
    fn a_domain_that_is_not_served_is_told_so_after_a_header() {
        for to in ["other.test", "", "-", "a'b"] {
            let mut opening = opening();
            let header = HEADER.replace("Example.com", &to.replace('\'', "&apos;"));

            assert_eq!(
                say(&mut opening, &header),
                Progress::Close(Condition::HostUnknown)
            );
            let told = opening.take_output();

            assert!(
                told.starts_with("<?xml version='1.0'?><stream:stream id='id7'"),
                "{told}"
            );
            assert!(told.ends_with("</stream:error></stream:stream>"), "{told}");
        }
    }

    #[test]
    fn bytes_behind_starttls_are_refused() {
        for injected in ["\n", "<auth/>", "x"] {
            let mut opening = opening();

            let progress = say(&mut opening, &format!("{HEADER}{STARTTLS}{injected}"));

            assert_eq!(progress, Progress::Close(Condition::PolicyViolation));
            assert!(!opening.take_output().contains("proceed"));
        }
    }

    #[test]
    fn nobody_authenticates_before_tls() {
        let mut opening = opening();
        say(&mut opening, HEADER);

        let progress = say(
            &mut opening,
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>",
        );

        assert_eq!(progress, Progress::Close(Condition::PolicyViolation));
    }

    #[test]
    fn an_opening_without_end_is_cut_off() {
        let mut opening = opening();
        say(&mut opening, HEADER);

        let spaces = " ".repeat(limits::XMPP_OPENING_BYTES_MAX);

        assert_eq!(
            say(&mut opening, &spaces),
            Progress::Close(Condition::PolicyViolation)
        );
    }

    proptest! {
        #[test]
        fn any_chunking_leads_to_tls(size in 1_usize..40) {
            let text = format!("{HEADER}\n{STARTTLS}");
            let mut opening = opening();
            let mut progress = Progress::GoOn;

            for chunk in text.as_bytes().chunks(size) {
                prop_assert_eq!(progress, Progress::GoOn);
                progress = opening.handle_bytes(chunk, |_| true);
            }

            prop_assert_eq!(progress, Progress::StartTls);
        }
    }
}
