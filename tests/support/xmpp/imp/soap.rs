//! The SOAP service that gives out one-time passwords: `login`, `get-all-config`, `get-onetime-password`.

use std::sync::Arc;

use http::StatusCode;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::{State, random};
use crate::http_server::{Answer, Handler, Received};

/// Where clients ask.
pub const PATH: &str = "/EPASSoap/service/v80";

pub(super) fn handler(state: Arc<State>) -> Handler {
    Arc::new(move |request: &Received| {
        let (path, _) = request.path_and_query();
        if path != PATH {
            return Answer::empty(StatusCode::NOT_FOUND);
        }
        if request.method != "POST" {
            return Answer::empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let body = String::from_utf8_lossy(&request.body);
        answer(&state, &body).map_or_else(
            || Answer::empty(StatusCode::UNAUTHORIZED),
            |inner| {
                let text = format!(
                    "<?xml version='1.0' encoding='UTF-8'?>\
                     <soap:Envelope xmlns:soap='http://schemas.xmlsoap.org/soap/envelope/'>\
                     <soap:Body>{inner}</soap:Body></soap:Envelope>"
                );
                Answer::new(StatusCode::OK, "text/xml", text)
            },
        )
    })
}

fn answer(state: &State, body: &str) -> Option<String> {
    if has(body, "login") {
        let (user, password) = (text(body, "username")?, text(body, "password")?);
        if !state.is_password(&user, &password) {
            return None;
        }
        let key = random();
        state.changing().sessions.insert(key.clone(), user);
        return Some(format!(
            "<login-response><session-key>{key}</session-key></login-response>"
        ));
    }
    let key = text(body, "session-key")?;
    let user = state.changing().sessions.get(&key)?.clone();
    if has(body, "get-all-config") {
        let domain = &state.plan.domain;
        return Some(format!(
            "<get-all-config-response><Presence.Domain>{domain}</Presence.Domain></get-all-config-response>"
        ));
    }
    has(body, "get-onetime-password").then(|| {
        let token = random();
        state.changing().one_time.insert((user, token.clone()));
        format!(
            "<get-onetime-password-response><onetime-password>{token}</onetime-password>\
             </get-onetime-password-response>"
        )
    })
}

/// Whether there is an element of that name, in whichever namespace.
fn has(body: &str, name: &str) -> bool {
    text(body, name).is_some()
}

/// The text of the first element of that name, in whichever namespace; empty if it has none of its own.
#[must_use]
pub fn text(body: &str, name: &str) -> Option<String> {
    let mut reader = Reader::from_str(body);
    let mut is_found = false;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if start.local_name().as_ref() == name => is_found = true,
            Event::Empty(empty) if empty.local_name().as_ref() == name => {
                return Some(String::new());
            }
            Event::Text(text) if is_found => {
                return Some(text.to_string());
            }
            Event::Start(_) | Event::End(_) if is_found => return Some(String::new()),
            Event::Eof => return None,
            Event::Start(_)
            | Event::End(_)
            | Event::Empty(_)
            | Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => {}
        }
    }
}
