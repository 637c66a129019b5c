//! curl as a client, in any zone.

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::place::Place;

/// A request in the making. Each [`get`](Self::get) or [`send`](Self::send) is a new curl.
#[derive(Clone, Debug)]
pub struct Curl {
    place: Place,
    arguments: Vec<OsString>,
    output: Option<PathBuf>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// `1.1` or `2`.
    pub version: String,
    /// Names in lower case, in order; of the last response only.
    pub headers: Vec<(String, String)>,
    /// Empty if it was written to a file.
    pub body: Vec<u8>,
    /// How long each step took.
    pub timings: Timings,
    /// Bytes of body received.
    pub downloaded: u64,
    /// Bytes of body sent.
    pub uploaded: u64,
    /// Who answered.
    pub peer: Option<IpAddr>,
}

/// Each from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// TCP connected.
    pub connect: Duration,
    /// TLS established; zero without.
    pub tls: Duration,
    /// First byte of the answer.
    pub first_byte: Duration,
    /// Everything.
    pub total: Duration,
}

/// curl had no answer to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// curl's exit code: 7 refused, 28 time-out, 35 and 60 TLS, 52 empty reply, 56 reset ..
    pub exit: i32,
    /// curl's words.
    pub message: String,
}

impl Curl {
    /// A client at a place; gives up after 30 s.
    #[must_use]
    pub fn new(place: &Place) -> Self {
        let curl = Self {
            place: place.clone(),
            arguments: Vec::new(),
            output: None,
        };
        // `--disable`: no configuration of the user who runs the test; it must come first.
        curl.with(["--disable", "--silent", "--show-error", "--path-as-is"])
            .with(["--noproxy", "*"])
            .limit(Duration::from_secs(30))
    }

    /// Any other option of curl.
    #[must_use]
    pub fn with<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Connects to this socket when it should go to `host` and the socket's port.
    #[must_use]
    pub fn resolve(self, host: &str, socket: SocketAddr) -> Self {
        let address = match socket.ip() {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let entry = format!("{host}:{}:{address}", socket.port());
        self.with(["--resolve", &entry])
    }

    /// Trusts this authority only.
    #[must_use]
    pub fn trust(self, authority: &Path) -> Self {
        self.with(["--cacert"]).with([authority])
    }

    /// HTTP/1.1 and nothing else.
    #[must_use]
    pub fn http1(self) -> Self {
        self.with(["--http1.1"])
    }

    /// HTTP/2 by ALPN.
    #[must_use]
    pub fn http2(self) -> Self {
        self.with(["--http2"])
    }

    /// Basic credentials.
    #[must_use]
    pub fn basic(self, user: &str, password: &str) -> Self {
        self.with(["--basic", "--user", &format!("{user}:{password}")])
    }

    /// One more field.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.with(["--header", &format!("{name}: {value}")])
    }

    /// The method.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        if method == "HEAD" {
            return self.with(["--head"]);
        }
        self.with(["--request", method])
    }

    /// A body from memory, as it is.
    #[must_use]
    pub fn body(self, body: &str) -> Self {
        self.with(["--data-raw", body])
    }

    /// A body from a file, streamed; makes it a PUT.
    #[must_use]
    pub fn upload(self, file: &Path) -> Self {
        self.with(["--upload-file"]).with([file])
    }

    /// Writes the body to a file (`/dev/null` too) instead of memory.
    #[must_use]
    pub fn output(mut self, file: &Path) -> Self {
        self.output = Some(file.to_owned());
        self
    }

    /// Gives up after this.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        self.with(["--max-time", &limit.as_secs_f64().to_string()])
    }

    /// Sends a GET, or what was set; fails without an answer.
    pub fn get(&self, url: &str) -> Result<Answer> {
        self.send(url)?
            .map_err(|failure| anyhow::anyhow!("curl {url}: {failure:?}"))
    }

    /// Sends the request; a curl without an answer is a value.
    pub fn send(&self, url: &str) -> Result<Result<Answer, Failure>> {
        let scratch = tempfile::tempdir()?;
        let (head, own_body) = (scratch.path().join("head"), scratch.path().join("body"));
        let body = self.output.as_deref().unwrap_or(&own_body);
        let mut command = self.place.command("curl");
        command.args(&self.arguments);
        command
            .arg("--dump-header")
            .arg(&head)
            .arg("--output")
            .arg(body);
        command.args(["--write-out", "%{json}", "--", url]);
        let output = command.output().context("Failed to run curl")?;
        if !output.status.success() {
            return Ok(Err(Failure {
                exit: output.status.code().unwrap_or(-1),
                message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            }));
        }
        let report: Value = serde_json::from_slice(&output.stdout).context("curl's report")?;
        // For HEAD curl writes the head where the body would be.
        let has_body = report.get("size_download").and_then(Value::as_u64) != Some(0);
        let body = if self.output.is_none() && has_body {
            fs::read(&own_body).unwrap_or_default()
        } else {
            Vec::new()
        };
        Answer::new(&report, &fs::read_to_string(&head)?, body).map(Ok)
    }
}

impl Answer {
    fn new(report: &Value, head: &str, body: Vec<u8>) -> Result<Self> {
        let number = |name: &str| {
            report[name]
                .as_f64()
                .with_context(|| format!("curl reports no {name}"))
        };
        let seconds = |name: &str| Ok::<_, anyhow::Error>(Duration::from_secs_f64(number(name)?));
        let bytes = |name: &str| report[name].as_u64().unwrap_or_default();
        let status = report["http_code"].as_u64().context("no http_code")?;
        ensure!(status != 0, "curl ended well without a status");
        let last = head
            .trim_end()
            .rsplit("\r\n\r\n")
            .next()
            .unwrap_or_default();
        let fields = last.lines().skip(1).filter_map(|line| line.split_once(':'));
        Ok(Self {
            status: u16::try_from(status)?,
            version: report["http_version"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            headers: fields
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
            body,
            timings: Timings {
                connect: seconds("time_connect")?,
                tls: seconds("time_appconnect")?,
                first_byte: seconds("time_starttransfer")?,
                total: seconds("time_total")?,
            },
            downloaded: bytes("size_download"),
            uploaded: bytes("size_upload"),
            peer: report["remote_ip"].as_str().and_then(|ip| ip.parse().ok()),
        })
    }

    /// The first value of a field.
    #[must_use]
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.header_all(name).next()
    }

    /// Every value of a field.
    pub fn header_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
