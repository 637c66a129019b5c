//! SIP messages as a test sees them: a start line, headers in order, a body. By no means a parser for strangers.

use anyhow::{Context as _, Result};

/// A message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Names in lower case and in full, in order.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: String,
}

impl Message {
    /// Reads the first message and says how long it was; `None` if it isn't there as a whole.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let (head, rest) = bytes.split_at(end);
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (full_name(name.trim()), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.context("no Content-Length")?.1.parse()?;
        let Some(body) = rest.get(4..4 + length) else {
            return Ok(None);
        };
        let body = String::from_utf8_lossy(body).into_owned();
        Ok(Some((
            Self {
                start,
                headers,
                body,
            },
            end + 4 + length,
        )))
    }

    /// The method, of a request.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        let (first, _) = self.start.split_once(' ')?;
        (first != "SIP/2.0").then_some(first)
    }

    /// The status, of a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The request-URI, of a request.
    #[must_use]
    pub fn uri(&self) -> Option<&str> {
        self.method()?;
        self.start.split(' ').nth(1)
    }

    /// The first value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every line of a header, by its name in lower case.
    #[must_use]
    pub fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    /// The text of a response to this request. A tag is added to To where it has none; Record-Route is taken over.
    #[must_use]
    pub fn answered(&self, status: &str, contact: &str, headers: &str, body: &str) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for (name, value) in &self.headers {
            let is_tagged = value.contains(";tag=") || status.starts_with("100");
            let line = match name.as_str() {
                "via" | "record-route" | "from" | "call-id" | "cseq" => {
                    format!("{name}: {value}\r\n")
                }
                "to" if is_tagged => format!("To: {value}\r\n"),
                "to" => format!("To: {value};tag=answering\r\n"),
                _ => continue,
            };
            text.push_str(&line);
        }
        let length = body.len();
        text.push_str(&format!(
            "Contact: {contact}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ));
        text
    }

    /// The value of an SDP line or attribute: what follows `prefix` on the first line that has it.
    #[must_use]
    pub fn sdp(&self, prefix: &str) -> Option<&str> {
        self.body.lines().find_map(|line| line.strip_prefix(prefix))
    }
}

/// What stands between `<` and `>`, or everything before the parameters.
pub(super) fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => value.split(';').next().unwrap_or(value),
    }
}

fn full_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let full = match name.as_str() {
        "v" => "via",
        "f" => "from",
        "t" => "to",
        "i" => "call-id",
        "m" => "contact",
        "l" => "content-length",
        "c" => "content-type",
        "k" => "supported",
        other => other,
    };
    full.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_when_it_is_there_as_a_whole() {
        let text = b"SIP/2.0 180 Ringing\r\nt: <sip:b@x>;tag=1\r\nContent-Length: 2\r\n\r\nhirest";

        let (message, length) = Message::read(text).unwrap().unwrap();

        assert_eq!((message.status(), message.method()), (Some(180), None));
        assert_eq!(message.header("to"), Some("<sip:b@x>;tag=1"));
        assert_eq!(
            (message.body.as_str(), &text[length..]),
            ("hi", &b"rest"[..])
        );
        assert_eq!(Message::read(&text[..text.len() - 5]).unwrap(), None);
    }
}
