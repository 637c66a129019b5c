//! `edge-c allow-list`: checks the file, asks it about single requests, and moves rules from and to CSV.
//!
//! Works on files alone; it talks to no running process.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use common::net::{Deployment, Host, HostPort};
use common::policy::allow_list::{AllowListFile, Node, NodeKind, OAuth, Problem, Problems};
use common::time::UnixTime;
use serde_json::{Value, json};

use crate::allow_list;

mod question;
mod transfer;

/// Looked at if neither the command nor the configuration names a file.
pub const DEFAULT_FILE: &str = "/etc/edge/allow-list.toml";

/// Checks the HTTP allow list, asks it questions, and moves rules from and to CSV.
///
/// Everything that no rule allows is denied with 403. A rule says: this URL (exactly, or as a prefix), these methods, for
/// users of this deployment. The file can hold tests; a file whose tests fail is never put in force.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub struct AllowListArgs {
    /// Answers as JSON, for scripts.
    #[arg(long, global = true)]
    pub json: bool,
    /// The allow list; the one of the configuration, or else /etc/edge/allow-list.toml.
    #[arg(long, short, global = true, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: AllowListCommand,
}

const EXIT_CODES: &str = "\
Exit codes:
  0   done; for `test`: the request is allowed
  1   `test` only: the request is blocked
  64  bad arguments
  74  the answer could not be written
  78  the file is missing or invalid, or one of its tests fails

Examples:
  edge-c allow-list check allow-list.toml
  edge-c allow-list test https://photos.example.com/thumbs/alice.jpg
  edge-c allow-list explain https://ucm1.example.com:8443/cucm-uds/user/alice --node ucm=ucm1.example.com
  edge-c allow-list import rules.csv --tests tests.csv -o allow-list.toml
  edge-c allow-list export --format rules > rules.csv";

/// The questions and moves.
#[derive(Clone, Debug, Subcommand)]
pub enum AllowListCommand {
    /// Reads a file, runs its tests, and warns of what is rarely meant.
    ///
    /// Prints every problem with its line, key and value, and what could stand there. Exit code 0 if a running edge-c
    /// would take the file, 78 if not; warnings don't change it.
    Check {
        /// The file; without it, the one that --file or the configuration names.
        #[arg(value_name = "FILE")]
        path: Option<PathBuf>,
    },
    /// Says `allow` or `block` for one request.
    ///
    /// Exit code 0 if it is allowed, 1 if it is blocked: made for scripts. Asks the rules of the file; add --node for the
    /// rules that a node brings along by itself.
    Test(Question),
    /// Says why a request is allowed or blocked, and which rule would be needed.
    ///
    /// Shows the URL in the one form that is matched and sent, every rule that has a say, and, if the request is blocked, the
    /// narrowest rule that would allow it, ready to be pasted.
    Explain(Question),
    /// Turns CSV rules, and perhaps CSV tests, into a TOML file.
    ///
    /// Rules: Url,Deployment,HttpMethods,MatchType,Description, where an empty match means prefix and an empty
    /// deployment "default". Tests: Url,ExpectedResult,Deployment,Description,HttpMethod. The tests are run: if one fails,
    /// nothing is written.
    Import {
        /// The CSV file with the rules.
        #[arg(value_name = "FILE.csv")]
        rules: PathBuf,
        /// The CSV file with the tests.
        #[arg(long, value_name = "TESTS.csv")]
        tests: Option<PathBuf>,
        /// Methods of rules that name none, with commas between.
        #[arg(long, value_name = "METHODS", default_value = "GET,HEAD,OPTIONS")]
        default_methods: String,
        /// Where to write; without it, to the standard output. An existing file is left alone.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Writes the rules or the tests of a file as CSV.
    ///
    /// CSV knows neither expiry dates nor who may see credentials: both are left out, and a note says so.
    Export {
        /// What to write; `both` needs --output NAME and writes NAME-rules.csv and NAME-tests.csv.
        #[arg(long, value_enum, default_value_t = ExportFormat::Rules)]
        format: ExportFormat,
        /// Where to write; without it, to the standard output. An existing file is left alone.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// One request.
#[derive(Args, Clone, Debug)]
pub struct Question {
    /// The URL of the inner server, such as <https://photos.example.com/thumbs/alice.jpg>.
    #[arg(value_name = "URL")]
    pub url: String,
    /// The request method.
    #[arg(long, short, value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// The deployment of the user's domain.
    #[arg(long, short, value_name = "NAME", default_value = "default")]
    pub deployment: String,
    /// Adds the automatic rules of a node, as KIND=HOST or KIND=HOST:PORT; kinds: imp, tftp, ucm, unity. Repeatable.
    #[arg(long = "node", value_name = "KIND=HOST", value_parser = parse_node)]
    pub nodes: Vec<(NodeKind, Host, Option<u16>)>,
    /// Whether clients sign in with tokens: the automatic rules then have the SSO pages.
    #[arg(long)]
    pub oauth: bool,
}

impl Question {
    fn nodes(&self) -> Vec<Node> {
        self.nodes
            .iter()
            .map(|(kind, host, port)| Node {
                kind: *kind,
                host: host.clone(),
                port: *port,
                deployment: Deployment(self.deployment.as_str().into()),
            })
            .collect()
    }

    const fn oauth(&self) -> OAuth {
        if self.oauth { OAuth::On } else { OAuth::Off }
    }
}

/// What `export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Url,Deployment,HttpMethods,MatchType,Description
    Rules,
    /// Url,ExpectedResult,Deployment,Description,HttpMethod
    Tests,
    /// Two files.
    Both,
}

/// Runs the command; answers go to `out`, problems and notes to the standard error. Returns the exit code of the process.
pub fn run(args: &AllowListArgs, out: &mut dyn Write) -> u8 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = UnixTime(since_epoch.map_or(0, |since| since.as_secs()));
    run_at(args, now, out, &mut io::stderr())
}

/// Like [`run`], with the time and the place for problems as arguments.
pub fn run_at(args: &AllowListArgs, now: UnixTime, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let mut desk = Desk {
        is_json: args.json,
        now,
        out,
        err,
    };
    let result = match &args.command {
        AllowListCommand::Check { path } => check(args, path.as_deref(), &mut desk),
        AllowListCommand::Test(question) => question::test(args, question, &mut desk),
        AllowListCommand::Explain(question) => question::explain(args, question, &mut desk),
        AllowListCommand::Import {
            rules,
            tests,
            default_methods,
            output,
        } => {
            let tests = tests.as_deref();
            transfer::import(rules, tests, default_methods, output.as_deref(), &mut desk)
        }
        AllowListCommand::Export { format, output } => {
            transfer::export(args, *format, output.as_deref(), &mut desk)
        }
    };
    match result.or_else(|failure| desk.report(&failure)) {
        Ok(code) => code,
        // Who reads through `head` wants no complaint.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
        Err(_) => CANT_WRITE,
    }
}

const DONE: u8 = 0;
const BLOCKED: u8 = 1;
const BAD_ARGUMENTS: u8 = 64;
const CANT_WRITE: u8 = 74;
const BAD_FILE: u8 = 78;

/// Where answers go, and in which form.
struct Desk<'w> {
    is_json: bool,
    now: UnixTime,
    out: &'w mut dyn Write,
    err: &'w mut dyn Write,
}

impl Desk<'_> {
    /// Writes the answer in the form that was asked for.
    fn answer(&mut self, text: &str, json: &Value) -> io::Result<()> {
        if self.is_json {
            writeln!(self.out, "{json:#}")?;
        } else {
            writeln!(self.out, "{}", text.trim_end())?;
        }
        self.out.flush()
    }

    /// Writes a remark that is no part of the answer.
    fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.err, "{text}")
    }

    fn report(&mut self, failure: &Failure) -> io::Result<u8> {
        let (code, message, problems) = match failure {
            Failure::Arguments(message) => (BAD_ARGUMENTS, message.clone(), json!([])),
            Failure::File(message) => (BAD_FILE, message.clone(), json!([])),
            Failure::Problems(problems) => (
                BAD_FILE,
                problems.to_string(),
                problems.iter().map(problem_json).collect(),
            ),
            Failure::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(DONE),
            Failure::Write(error) => (
                CANT_WRITE,
                format!("can't write the answer: {error}"),
                json!([]),
            ),
        };
        if self.is_json {
            let json = json!({ "error": message, "problems": problems });
            writeln!(self.out, "{json:#}")?;
        } else {
            self.note(&message)?;
        }
        Ok(code)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Arguments(String),
    #[error("{0}")]
    File(String),
    #[error("{0}")]
    Problems(#[from] Problems),
    #[error("{0}")]
    Write(#[from] io::Error),
}

fn check(args: &AllowListArgs, path: Option<&Path>, desk: &mut Desk<'_>) -> Result<u8, Failure> {
    let path = path.unwrap_or_else(|| file_of(args));
    let file = load(path)?;
    let name = path.display().to_string();
    let warnings = file.warnings(&name, desk.now);
    for warning in warnings.to_string().lines().filter(|_| !desk.is_json) {
        writeln!(desk.err, "warning: {warning}")?;
    }
    let (rules, tests) = (file.rules.len(), file.tests.len());
    let text = format!("{name}: good; {rules} rules, {tests} tests passed");
    let json = json!({
        "valid": true,
        "file": name,
        "rules": rules,
        "tests": tests,
        "warnings": warnings.iter().map(problem_json).collect::<Vec<_>>(),
    });
    desk.answer(&text, &json)?;
    Ok(DONE)
}

fn file_of(args: &AllowListArgs) -> &Path {
    args.file
        .as_deref()
        .unwrap_or_else(|| Path::new(DEFAULT_FILE))
}

fn load(path: &Path) -> Result<AllowListFile, Failure> {
    let text = read(path)?;
    Ok(AllowListFile::parse(&path.display().to_string(), &text)?)
}

fn read(path: &Path) -> Result<String, Failure> {
    allow_list::read(path)
        .map_err(|error| Failure::File(format!("can't read {}: {error}", path.display())))
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "line": problem.line,
        "place": problem.place,
        "key": problem.key,
        "value": problem.value,
        "what": problem.what,
        "allowed": problem.allowed,
    })
}

fn parse_node(text: &str) -> Result<(NodeKind, Host, Option<u16>), String> {
    let (kind, host) = text
        .split_once('=')
        .ok_or("write KIND=HOST, such as ucm=ucm1.example.com")?;
    let kind = NodeKind::parse(kind)
        .ok_or_else(|| format!("the kind \"{kind}\" is none of imp, tftp, ucm, unity"))?;
    if let Ok(host) = Host::parse(host) {
        return Ok((kind, host, None));
    }
    let HostPort { host, port } = host.parse().map_err(|error| format!("{error}"))?;
    Ok((kind, host, Some(port)))
}

#[cfg(test)]
mod tests;
