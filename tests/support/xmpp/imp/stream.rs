//! One stream of a client: SASL, resource binding, and messages among those who are there.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::scan::{Piece, Scan, attribute, content};
use super::{Attempt, State, random};

/// What comes before TLS.
pub(super) async fn prelude<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    domain: &str,
) -> io::Result<()> {
    let mut scan = Scan::default();
    loop {
        match piece(stream, &mut scan).await? {
            Piece::Header => {
                let features =
                    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
                let text = format!(
                    "{}<stream:features>{features}</stream:features>",
                    header(domain)
                );
                stream.write_all(text.as_bytes()).await?;
            }
            // Clients of the field add attributes of their own.
            Piece::Element(element) if element.starts_with("<starttls") => {
                let proceed = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
                stream.write_all(proceed).await?;
                return match scan.is_empty() {
                    true => Ok(()),
                    false => Err(ErrorKind::InvalidData.into()),
                };
            }
            Piece::Element(_) | Piece::End => return Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// What comes after it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    state: Arc<State>,
) -> io::Result<()> {
    let mut scan = Scan::default();
    let user = sign_in(&mut stream, &mut scan, &state).await?;
    let id = user.split('@').next().unwrap_or_default();
    let jid = format!("{id}@{}", state.plan.domain);
    let (sender, mut inbox) = mpsc::channel(INBOX);
    state.changing().online.insert(jid.clone(), sender);
    loop {
        while let Some(piece) = scan.next() {
            let answer = match piece {
                Piece::Header => Some(opening(
                    &state,
                    "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
                     <session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>",
                )),
                Piece::Element(element) => answer(&state, &jid, &element),
                Piece::End => {
                    stream.write_all(b"</stream:stream>").await?;
                    return stream.shutdown().await;
                }
            };
            if let Some(answer) = answer {
                stream.write_all(answer.as_bytes()).await?;
            }
        }
        // On the stack only while there is something to read.
        let readable = read(&mut stream, &mut scan);
        tokio::select! {
            // Cancel safe: what was read is in `scan`, and the read of a TLS stream takes all or nothing.
            count = readable => if count? == 0 { return Ok(()) },
            text = inbox.recv() => match text {
                Some(text) => stream.write_all(text.as_bytes()).await?,
                // Somebody else is this user now.
                None => return Ok(()),
            },
        }
    }
}

/// Until somebody is let in; returns who.
async fn sign_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    scan: &mut Scan,
    state: &State,
) -> io::Result<String> {
    loop {
        let answer = match piece(stream, scan).await? {
            Piece::Header => {
                let elsewhere = state.changing().other_host.clone();
                if let Some(host) = elsewhere {
                    let text = format!(
                        "{}<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{host}\
                         </see-other-host></stream:error></stream:stream>",
                        header(&state.plan.domain)
                    );
                    stream.write_all(text.as_bytes()).await?;
                    stream.shutdown().await?;
                    return Err(ErrorKind::ConnectionAborted.into());
                }
                opening(state, &mechanisms(state))
            }
            Piece::Element(element) if element.starts_with("<auth") => {
                let attempt = authenticate(state, &element);
                state.changing().attempts.push(attempt.clone());
                if attempt.is_success {
                    stream.write_all(SUCCESS).await?;
                    return Ok(attempt.user);
                }
                FAILURE.to_owned()
            }
            Piece::Element(_) | Piece::End => return Err(ErrorKind::InvalidData.into()),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn mechanisms(state: &State) -> String {
    let mut text =
        "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism>\
                    <mechanism>CISCO-VTG-TOKEN</mechanism>"
            .to_owned();
    for host in state.plan.home_and_backup.iter().flatten() {
        text += &format!("<hostname xmlns='urn:xmpp:domain-based-name:0'>{host}</hostname>");
    }
    text + "</mechanisms>"
}

fn authenticate(state: &State, element: &str) -> Attempt {
    let mechanism = attribute(element, "mechanism").unwrap_or_default();
    let response = BASE64.decode(content(element).unwrap_or_default().trim());
    let response = String::from_utf8(response.unwrap_or_default()).unwrap_or_default();
    let fields: Vec<&str> = response.split('\0').collect();
    let (user, is_success) = match (mechanism, fields.as_slice()) {
        ("PLAIN", [_, user, password]) => (*user, state.is_password(user, password)),
        ("CISCO-VTG-TOKEN", [user, token]) => {
            let user = user.strip_prefix("userid=").unwrap_or_default();
            let token = token.strip_prefix("token=").unwrap_or_default();
            (user, state.is_one_time(user, token))
        }
        _ => ("", false),
    };
    Attempt {
        mechanism: mechanism.to_owned(),
        user: user.to_owned(),
        is_success,
    }
}

/// The answer to a stanza, if it needs one from here.
fn answer(state: &State, jid: &str, element: &str) -> Option<String> {
    let id = attribute(element, "id").unwrap_or_default();
    if element.starts_with("<message") {
        let to = attribute(element, "to")?.split('/').next()?;
        let stamped = element.replacen("<message", &format!("<message from='{jid}/imp'"), 1);
        let inbox = state.changing().online.get(to).cloned();
        // Who does not read loses messages.
        drop(inbox.map(|inbox| inbox.try_send(stamped)));
        return None;
    }
    if !element.starts_with("<iq") || attribute(element, "type") == Some("result") {
        return None;
    }
    let inner = if element.contains("urn:ietf:params:xml:ns:xmpp-bind") {
        format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}/imp</jid></bind>")
    } else if element.contains("jabber:iq:roster") {
        "<query xmlns='jabber:iq:roster'/>".to_owned()
    } else {
        String::new()
    };
    Some(format!("<iq type='result' id='{id}'>{inner}</iq>"))
}

fn opening(state: &State, features: &str) -> String {
    let header = header(&state.plan.domain);
    format!("{header}<stream:features>{features}</stream:features>")
}

/// As these nodes write it.
fn header(domain: &str) -> String {
    format!(
        "<?xml version='1.0' encoding='UTF-8'?><stream:stream xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' id='{}' from='{domain}' version='1.0' \
         xml:lang='en-US.UTF-8'>",
        random()
    )
}

async fn piece<S: AsyncRead + Unpin>(stream: &mut S, scan: &mut Scan) -> io::Result<Piece> {
    loop {
        if let Some(piece) = scan.next() {
            return Ok(piece);
        }
        if read(stream, scan).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S, scan: &mut Scan) -> io::Result<usize> {
    let mut bytes = [0; 2048];
    let count = stream.read(&mut bytes).await?;
    scan.push(bytes.get(..count).unwrap_or_default());
    Ok(count)
}

const SUCCESS: &[u8] = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const FAILURE: &str =
    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
/// Messages that wait for one reader.
const INBOX: usize = 16;
