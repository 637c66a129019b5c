//! What the admin listener of edge-c answers beside what both edges do: the sessions there are, and their end.
//!
//! | request | answer |
//! |---|---|
//! | `GET /sessions` | one page of sessions as JSON, the soonest to expire first; `after` of the answer asks for the next |
//! | `POST /sessions/revoke` | ends those of `user`, of `device`, the one `session`, or `all`, everywhere |

use common::runtime::admin::{Answering, More};
use common::session::{DeviceName, UserName};
use common::time::UnixTime;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::sessions::{Listed, PageMark, Selection, Sessions, StoreState};

/// Answers from these sessions.
#[derive(Clone, Debug)]
pub(super) struct Operator(pub(super) Sessions);

impl More for Operator {
    fn answer<'a>(
        &'a self,
        method: &'a Method,
        path: &'a str,
        query: Option<&'a str>,
    ) -> Answering<'a> {
        Box::pin(async move {
            match (path, method) {
                ("/sessions", &Method::GET) => Some(self.list(query.unwrap_or_default())),
                ("/sessions/revoke", &Method::POST) => {
                    Some(self.revoke(query.unwrap_or_default()).await)
                }
                ("/sessions" | "/sessions/revoke", _) => {
                    let why = json!({ "error": "GET /sessions or POST /sessions/revoke" });
                    Some((StatusCode::METHOD_NOT_ALLOWED, why))
                }
                _ => None,
            }
        })
    }
}

impl Operator {
    fn list(&self, query: &str) -> (StatusCode, Value) {
        let has_names = parameter(query, "names").is_some();
        let after = match parameter(query, "after") {
            Some(text) => match mark(&text) {
                Some(mark) => Some(mark),
                None => return refused("after is no mark of an earlier answer"),
            },
            None => None,
        };
        let page = self.0.list(after);
        let sessions: Vec<Value> = page
            .sessions
            .iter()
            .map(|session| shown(session, has_names))
            .collect();
        let next = page
            .next
            .map(|mark| format!("{}.{}", mark.expires, mark.id.hex()));
        let is_complete = self.0.store_state() == StoreState::Up;
        let body = json!({ "sessions": sessions, "after": next, "is_store_up": is_complete });
        (StatusCode::OK, body)
    }

    async fn revoke(&self, query: &str) -> (StatusCode, Value) {
        let which = match selection(query) {
            Ok(which) => which,
            Err(why) => return refused(&why),
        };
        match self.0.revoke(which).await {
            Ok(count) => (StatusCode::OK, json!({ "revoked": count })),
            Err(error) => {
                let body = json!({ "revoked": error.count, "error": error.why.to_string() });
                (StatusCode::SERVICE_UNAVAILABLE, body)
            }
        }
    }
}

fn refused(why: &str) -> (StatusCode, Value) {
    (StatusCode::BAD_REQUEST, json!({ "error": why }))
}

fn selection(query: &str) -> Result<Selection, String> {
    let user = parameter(query, "user");
    let device = parameter(query, "device");
    let session = parameter(query, "session");
    let all = parameter(query, "all");
    let given = [&user, &device, &session, &all];
    if given.iter().filter(|value| value.is_some()).count() != 1 {
        return Err("one of user, device, session and all is needed".to_owned());
    }
    if let Some(user) = user {
        let user = UserName::parse(&user).map_err(|why| format!("the user {why}"))?;
        return Ok(Selection::User(user));
    }
    if let Some(device) = device {
        let device = DeviceName::parse(&device).map_err(|why| format!("the device {why}"))?;
        return Ok(Selection::Device(device));
    }
    match session {
        Some(session) => session
            .parse()
            .map(Selection::Session)
            .map_err(|_| "a session has 64 hexadecimal digits: see `sessions list`".to_owned()),
        None => Ok(Selection::All),
    }
}

fn shown(session: &Listed, has_names: bool) -> Value {
    let user = if has_names {
        session.user.reveal().clone()
    } else {
        session.user.to_string()
    };
    let device = session.device.as_ref().map(|device| {
        if has_names {
            device.as_str().to_owned()
        } else {
            device.to_string()
        }
    });
    json!({ "session": session.id.hex(), "user": user, "domain": session.domain.as_str(), "device": device,
        "method": session.method.label(), "created": session.created.0, "expires": session.expires.0 })
}

fn mark(text: &str) -> Option<PageMark> {
    let (expires, id) = text.split_once('.')?;
    Some(PageMark {
        expires: UnixTime(expires.parse().ok()?),
        id: id.parse().ok()?,
    })
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    percent_decode_str(value).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_selection_is_taken() {
        let user = UserName::parse("alice b").unwrap();
        let device = DeviceName::parse("CSFALICE").unwrap();
        assert_eq!(selection("user=alice%20b"), Ok(Selection::User(user)));
        assert_eq!(selection("device=csfalice"), Ok(Selection::Device(device)));
        assert_eq!(selection("all"), Ok(Selection::All));
        for wrong in ["", "user=a&all", "session=12", "user="] {
            assert!(selection(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mark_reads_back_as_written() {
        let text = format!("1800000000.{}", "ab".repeat(32));
        let mark = mark(&text).unwrap();

        assert_eq!(format!("{}.{}", mark.expires, mark.id.hex()), text);
        assert_eq!(super::mark("1"), None);
    }
}
