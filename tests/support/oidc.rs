//! `oidc-provider` in Node as the issuer of tokens inside, and a browser outside that signs in at it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::curl::{Answer, Curl};
use crate::installed;
use crate::place::Place;
use crate::process::Process;

/// An issuer inside. Its grants and keys outlive the process, in its folder.
#[derive(Debug)]
pub struct Issuer {
    place: Place,
    url: String,
    socket: SocketAddr,
    folder: PathBuf,
    /// Certificate chain and key, without extension.
    identity: PathBuf,
    process: Option<Process>,
}

impl Issuer {
    /// Starts one that is called `host`, with a key called `k1`.
    pub fn start(place: &Place, dir: &Path, host: &str, socket: SocketAddr) -> Result<Self> {
        let folder = dir.join("issuer");
        fs::create_dir_all(&folder)?;
        let mut issuer = Self {
            place: place.clone(),
            url: format!("https://{host}:{}", socket.port()),
            socket,
            folder,
            identity: dir.join("inside/photos"),
            process: None,
        };
        issuer.restart("k1")?;
        Ok(issuer)
    }

    /// Its `iss`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it at once.
    pub fn stop(&mut self) -> Result<()> {
        self.process
            .take()
            .map_or(Ok(()), |mut process| process.kill())
    }

    /// Starts it anew with these keys, parted by blanks; it signs with the first.
    pub fn restart(&mut self, keys: &str) -> Result<()> {
        self.stop()?;
        fs::write(self.folder.join("kid"), keys)?;
        let modules = installed::npm("oidc", "support/oidc")?;
        // Modules are found beside the script, so it runs where they are.
        let script = modules.join("issuer.mjs");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/oidc/issuer.mjs");
        // Another test may start one at the same time: it must not read half a script.
        let fresh = modules.join(format!("issuer-{}.mjs", std::process::id()));
        fs::write(&fresh, fs::read(source)?)?;
        fs::rename(&fresh, &script)?;
        let mut command = self.place.command("node");
        command.arg(script).arg(&self.url);
        command.arg(self.socket.ip().to_string());
        command.arg(self.socket.port().to_string());
        command
            .arg(self.identity.with_extension("pem"))
            .arg(self.identity.with_extension("key"))
            .arg(&self.folder);
        let log = self.folder.join("log");
        // What it said in an earlier life is not this one's.
        drop(fs::remove_file(&log));
        let mut process = Process::spawn("issuer", command, &log)?;
        process.wait_ready(|| Ok(fs::read_to_string(&log)?.contains("listening")))?;
        self.process = Some(process);
        Ok(())
    }

    /// Everything it has said since it was started.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join("log"))?)
    }
}

/// A client outside, with the cookies of a browser, that knows the edge alone.
#[derive(Debug)]
pub struct Browser {
    curl: Curl,
    jar: PathBuf,
    /// `https://edge1.example.com:8443/<B64(D)>`.
    edge: String,
}

/// What the token endpoint gives.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// For servers.
    pub access: String,
    /// For the next ones.
    pub refresh: String,
}

/// The pair of RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// See [`VERIFIER`].
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const CALLBACK: &str = "http://127.0.0.1/callback";

impl Browser {
    /// One that finds the edge by `curl`, and keeps cookies in a file below `dir`.
    #[must_use]
    pub fn new(curl: &Curl, dir: &Path, edge: &str) -> Self {
        let jar = dir.join("cookies");
        let text = jar.to_string_lossy().into_owned();
        Self {
            curl: curl
                .clone()
                .with(["--cookie", &text, "--cookie-jar", &text]),
            jar,
            edge: edge.to_owned(),
        }
    }

    /// What an authorisation request asks for.
    #[must_use]
    pub fn authorization_query() -> String {
        format!(
            "client_id=phone&response_type=code&redirect_uri={CALLBACK}&scope=openid%20offline_access%20uc&prompt=consent\
             &code_challenge={CHALLENGE}&code_challenge_method=S256&state=s1"
        )
    }

    /// Signs in at the issuer's own pages as a person would, and returns the code. Leaves the edge at no step.
    pub fn sign_in(&self, user: &str) -> Result<String> {
        let query = Self::authorization_query();
        let mut answer = self.curl.get(&format!("{}/authorize?{query}", self.edge))?;
        for _ in 0..STEPS_MAX {
            if let Some(place) = answer.header("location") {
                if let Some(rest) = place.strip_prefix(CALLBACK) {
                    return code_of(rest);
                }
                let place = self.own(place)?;
                answer = self.curl.get(&place)?;
                continue;
            }
            ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
            let page = answer.text();
            let action = self.own(between(&page, "action=\"", "\"")?)?;
            let prompt = between(&page, "name=\"prompt\" value=\"", "\"")?;
            let form = if prompt == "login" {
                format!("prompt=login&login={user}&password=x")
            } else {
                format!("prompt={prompt}")
            };
            answer = self.curl.clone().body(&form).get(&action)?;
        }
        bail!("no code after {STEPS_MAX} pages")
    }

    /// Whoever sends it elsewhere has shown an inside name.
    fn own(&self, place: &str) -> Result<String> {
        ensure!(place.starts_with(&self.edge), "sent to {place}");
        Ok(place.to_owned())
    }

    /// Trades a code for tokens.
    pub fn trade(&self, code: &str) -> Result<Answer> {
        self.post(
            "token",
            &format!(
                "grant_type=authorization_code&client_id=phone&code={code}&redirect_uri={CALLBACK}&code_verifier={VERIFIER}"
            ),
        )
    }

    /// Trades a refresh token for others.
    pub fn refresh(&self, token: &str) -> Result<Answer> {
        let form = format!("grant_type=refresh_token&client_id=phone&refresh_token={token}");
        self.post("token", &form)
    }

    /// Gives a token up.
    pub fn revoke(&self, token: &str) -> Result<Answer> {
        self.post("revoke", &format!("client_id=phone&token={token}"))
    }

    fn post(&self, verb: &str, form: &str) -> Result<Answer> {
        let url = format!("{}/{verb}", self.edge);
        self.curl.clone().body(form).get(&url)
    }

    /// GETs a page below the domain's path on the edge.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.curl.get(&format!("{}{path}", self.edge))
    }

    /// Its cookies by name, with their paths.
    pub fn cookies(&self) -> Result<BTreeMap<String, String>> {
        let text = fs::read_to_string(&self.jar)?;
        let lines = text
            .lines()
            .map(|line| line.strip_prefix("#HttpOnly_").unwrap_or(line))
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        let fields = lines.map(|line| line.split('\t').collect::<Vec<_>>());
        let pairs = fields.filter_map(|fields| {
            let (name, path) = (fields.get(5)?, fields.get(2)?);
            Some(((*name).to_owned(), (*path).to_owned()))
        });
        Ok(pairs.collect())
    }
}

/// Reads the answer of a token endpoint.
pub fn tokens(answer: &Answer) -> Result<Tokens> {
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    let json: Value = serde_json::from_slice(&answer.body)?;
    let text = |name: &str| {
        let value = json.get(name).and_then(Value::as_str);
        value
            .map(str::to_owned)
            .with_context(|| format!("no {name}"))
    };
    Ok(Tokens {
        access: text("access_token")?,
        refresh: text("refresh_token")?,
    })
}

fn code_of(query: &str) -> Result<String> {
    let pairs = query.trim_start_matches('?').split('&');
    let code = pairs.filter_map(|pair| pair.strip_prefix("code=")).next();
    code.map(str::to_owned).with_context(|| query.to_owned())
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Result<&'t str> {
    let rest = text.split_once(before).map(|(_, rest)| rest);
    let found = rest.and_then(|rest| rest.split_once(after));
    found
        .map(|(found, _)| found)
        .with_context(|| format!("no {before} in {text}"))
}

const STEPS_MAX: usize = 12;
