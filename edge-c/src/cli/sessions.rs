//! `edge-c sessions`: who is signed in, and ending that. Asks the running edge-c through its admin listener.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use common::limits;
use common::runtime::exit::Exit;
use common::runtime::terminal;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ConfigFile, Output};

/// The command and what it is about.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    command: SessionsCommand,
    #[command(flatten)]
    pub(super) file: ConfigFile,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// Show the sessions, the soonest to expire first
    List {
        /// Show users and devices by name instead of the hashes that logs have
        #[arg(long)]
        names: bool,
        #[command(flatten)]
        output: Output,
    },
    /// End sessions before their time, on every node and every edge
    Revoke {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// All sessions of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// All sessions that began on this device, such as CSFALICE
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// The one session with this id, 64 hexadecimal digits as `list` shows them
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Every session there is
    #[arg(long)]
    all: bool,
}

/// Does what the command says with the edge-c that listens at `admin`.
pub(super) async fn run(arguments: &SessionsArgs, admin: SocketAddr) -> Exit {
    let admin = reachable(admin);
    let done = match &arguments.command {
        SessionsCommand::List { names, output } => list(admin, *names, output.json).await,
        SessionsCommand::Revoke { which, output } => revoke(admin, which, output.json).await,
    };
    done.unwrap_or_else(|why| {
        terminal::complain(&format!(
            "can't ask edge-c at {admin} (admin.listen): {why}\n    is it running? `systemctl status edge-c`\n"
        ));
        Exit::Unavailable
    })
}

async fn list(admin: SocketAddr, has_names: bool, is_json: bool) -> Result<Exit, String> {
    let mut after: Option<String> = None;
    let mut all = Vec::new();
    // As many pages as there can be sessions, and some to spare for those that come meanwhile.
    for _ in 0..=2 * limits::SESSIONS_MAX / limits::SESSION_PAGE_MAX {
        let names = if has_names { "names&" } else { "" };
        let mark = after.as_ref().map(|mark| format!("after={mark}"));
        let path = format!("/sessions?{names}{}", mark.unwrap_or_default());
        let (status, body) = ask(admin, Method::GET, &path).await?;
        if status != StatusCode::OK {
            return Err(format!("it answers {status}: {}", text(&body, "error")));
        }
        if let Some(Value::Array(sessions)) = body.get("sessions") {
            all.extend(sessions.iter().cloned());
        }
        after = body.get("after").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    if is_json {
        terminal::say(&format!("{}\n", Value::Array(all)));
        return Ok(Exit::Done);
    }
    for session in &all {
        let columns = ["session", "user", "device", "domain", "method", "expires"];
        let columns = columns.map(|name| text(session, name));
        terminal::say(&format!("{}\n", columns.join("\t")));
    }
    terminal::complain(&format!(
        "{} sessions; the last column is the end in unix time\n",
        all.len()
    ));
    Ok(Exit::Done)
}

async fn revoke(admin: SocketAddr, which: &Which, is_json: bool) -> Result<Exit, String> {
    let encoded = |value: &str| utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
    let query = match which {
        Which {
            user: Some(user), ..
        } => format!("user={}", encoded(user)),
        Which {
            device: Some(device),
            ..
        } => format!("device={}", encoded(device)),
        Which {
            session: Some(session),
            ..
        } => format!("session={}", encoded(session)),
        Which { .. } => "all".to_owned(),
    };
    let path = format!("/sessions/revoke?{query}");
    let (status, body) = ask(admin, Method::POST, &path).await?;
    let count = body.get("revoked").and_then(Value::as_u64).unwrap_or(0);
    let error = body.get("error").and_then(Value::as_str);
    if is_json {
        terminal::say(&format!(
            "{}\n",
            json!({ "revoked": count, "error": error })
        ));
    }
    let Some(error) = error else {
        if !is_json {
            terminal::say(&format!("{count} sessions revoked\n"));
        }
        return Ok(Exit::Done);
    };
    if status == StatusCode::BAD_REQUEST {
        terminal::complain(&format!("{error}\n"));
        return Ok(Exit::BadArguments);
    }
    terminal::complain(&format!(
        "{count} sessions revoked on this node, but: {error}\n"
    ));
    Ok(Exit::Unavailable)
}

async fn ask(admin: SocketAddr, method: Method, path: &str) -> Result<(StatusCode, Value), String> {
    let asking = async {
        let stream = TcpStream::connect(admin).await.map_err(told)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, admin.to_string())
            .body(Empty::<Bytes>::new())
            .map_err(told)?;
        let answering = async {
            let answer = sender.send_request(request).await.map_err(told)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(told)?.to_bytes();
            let body = serde_json::from_slice(&body)
                .unwrap_or_else(|_| json!({ "error": String::from_utf8_lossy(&body).trim() }));
            Ok((status, body))
        };
        tokio::pin!(answering);
        tokio::select! {
            answer = &mut answering => answer,
            ended = connection => {
                ended.map_err(told)?;
                answering.await
            }
        }
    };
    timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// An address to listen on everywhere is none to connect to.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        ip if !ip.is_unspecified() => ip,
        ip if ip.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
        _ => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, admin.port())
}

fn text(object: &Value, name: &str) -> String {
    match object.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(_) | None => "-".to_owned(),
    }
}

/// Longer than the admin listener takes for anything.
const PATIENCE: Duration = Duration::from_secs(15);
/// A page of sessions has some 30 KB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  edge-c sessions list                    who is signed in, by the names that logs have for them
  edge-c sessions list --names --json | jq '.[] | select(.user == \"alice\")'
  edge-c sessions revoke --user alice     somebody left the company
  edge-c sessions revoke --device CSFALICE
                                          a laptop was lost

A revocation is on disk, in the shared store and known to every node before the command ends.
Exit codes: 0 done, 64 bad arguments, 69 edge-c can't be asked, or other nodes don't know of it yet,
            78 bad configuration";
