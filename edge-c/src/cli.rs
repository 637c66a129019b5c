//! The command line of edge-c: what is asked for, and the exit code it ends with.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use common::config::{ConfigErrors, Loaded};
use common::runtime::exit::{Exit, RunError};
use common::runtime::{clock, drain, telemetry, terminal};
use serde_json::json;

use crate::app;
use crate::cli::allow_list::AllowListArgs;
use crate::cli::digest::DigestArgs;
use crate::cli::sessions::SessionsArgs;
use crate::config::Config;

pub mod allow_list;
mod digest;
mod doctor;
mod sessions;

/// The inside of the pair: dials edge-e, decides who may do what, reaches the inner servers.
#[derive(Debug, Parser)]
#[command(name = "edge-c", after_long_help = EXAMPLES, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM; SIGHUP reads certificates, allow list and domains anew
    Run(ConfigFile),
    /// Read the configuration and every file it names, and say what is wrong with them
    Check(Checked),
    /// Check, and look at certificates, every edge-e, the inside DNS and inner servers
    Doctor(Checked),
    /// Check the HTTP allow list, ask it questions, move rules from and to CSV
    AllowList(AllowListArgs),
    /// Users whose SIP phones edge-c authenticates itself
    Digest(DigestArgs),
    /// Show who is signed in, and end that
    Sessions(SessionsArgs),
    /// Print the version
    Version(Output),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Checked {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Args)]
struct Output {
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// Does what the command line asks for.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error).into(),
    };
    match cli.command {
        Command::AllowList(arguments) => allow_list(arguments),
        Command::Run(file) => run(&file).into(),
        Command::Check(checked) => check(&checked).into(),
        Command::Doctor(checked) => doctor(&checked).into(),
        Command::Digest(arguments) => digest(&arguments).into(),
        Command::Sessions(arguments) => sessions(&arguments).into(),
        Command::Version(output) => version(output).into(),
    }
}

/// Help that was asked for is no error; clap's own exit code for the rest is 2.
fn refuse(error: &clap::Error) -> Exit {
    let text = error.render().to_string();
    if error.use_stderr() {
        terminal::complain(&text);
        return Exit::BadArguments;
    }
    terminal::say(&text);
    Exit::Done
}

fn run(file: &ConfigFile) -> Exit {
    match serve(file) {
        Ok(()) => Exit::Done,
        Err(error) => {
            terminal::complain(&format!("{error}\n"));
            error.exit()
        }
    }
}

fn serve(file: &ConfigFile) -> Result<(), RunError> {
    let loaded = load(file)?;
    let (format, filter) = (loaded.config.log.format, loaded.config.log.filter.clone());
    let log = telemetry::start(format, filter).map_err(|error| unavailable("the log", &error))?;
    for warning in &loaded.warnings {
        let (key, remedy) = (&warning.place.key, &warning.remedy);
        tracing::warn!(key, reason = warning.why, remedy, "configuration");
    }
    let runtime = terminal::runtime().map_err(|error| unavailable("worker threads", &error))?;
    runtime.block_on(async {
        let shutdown = drain::termination().map_err(|error| unavailable("signals", &error))?;
        Box::pin(app::run(loaded, log, shutdown)).await
    })
}

fn unavailable(what: &str, cause: &dyn std::fmt::Display) -> RunError {
    RunError::Unavailable {
        what: format!("can't set up {what}"),
        cause: cause.to_string(),
        remedy: "look at the limits of the service".to_owned(),
    }
}

fn check(checked: &Checked) -> Exit {
    let result = load(&checked.file);
    terminal::report(&result, checked.output.json)
}

fn doctor(checked: &Checked) -> Exit {
    let loaded = load(&checked.file);
    let Ok(valid) = &loaded else {
        return terminal::report(&loaded, checked.output.json);
    };
    match terminal::runtime() {
        Ok(runtime) => {
            let report = runtime.block_on(doctor::examine(valid));
            terminal::diagnosis(&report, checked.output.json)
        }
        Err(error) => {
            terminal::complain(&format!("can't start: {error}\n"));
            Exit::Unavailable
        }
    }
}

/// Without a file of its own, the command looks at the one that the installed configuration names.
fn allow_list(mut arguments: AllowListArgs) -> ExitCode {
    if arguments.file.is_none() {
        let installed = load(&ConfigFile {
            config: CONFIG_DEFAULT.into(),
        });
        arguments.file = installed
            .ok()
            .and_then(|loaded| loaded.config.allow_list_file);
    }
    allow_list::run(&arguments, &mut std::io::stdout()).into()
}

fn digest(arguments: &DigestArgs) -> Exit {
    match load(&arguments.file) {
        Ok(loaded) => digest::run(
            &arguments.command,
            &loaded.config.session,
            std::io::stdin().lock(),
            &mut std::io::stdout(),
        ),
        Err(errors) => {
            terminal::complain(&format!("{errors}\n"));
            Exit::BadConfig
        }
    }
}

fn sessions(arguments: &SessionsArgs) -> Exit {
    let loaded = match load(&arguments.file) {
        Ok(loaded) => loaded,
        Err(errors) => {
            terminal::complain(&format!("{errors}\n"));
            return Exit::BadConfig;
        }
    };
    match terminal::runtime() {
        Ok(runtime) => runtime.block_on(sessions::run(arguments, loaded.config.admin.listen)),
        Err(error) => {
            terminal::complain(&format!("can't start: {error}\n"));
            Exit::Unavailable
        }
    }
}

fn version(output: Output) -> Exit {
    let version = env!("CARGO_PKG_VERSION");
    if output.json {
        let line = json!({ "product": "edge-c", "version": version });
        terminal::say(&format!("{line}\n"));
    } else {
        terminal::say(&format!("edge-c {version}\n"));
    }
    Exit::Done
}

fn load(file: &ConfigFile) -> Result<Loaded<Config>, ConfigErrors> {
    Config::load(&file.config, clock::unix_now())
}

const CONFIG_DEFAULT: &str = "/etc/edge-c/edge-c.toml";

const EXAMPLES: &str = "\
Examples:
  edge-c check --config edge-c.toml       is the configuration valid? exit code 78 if not
  edge-c doctor --config edge-c.toml      and does it reach every edge-e and inner server?
  edge-c run --config edge-c.toml         serve in the foreground; SIGTERM stops in order
  edge-c allow-list explain https://photos.example.com/alice.jpg
                                          why is it allowed or blocked?
  edge-c check --json | jq .errors        for scripts
  edge-c digest add 1001 example.com <password-file
                                          a phone that edge-c authenticates itself
  edge-c sessions revoke --user alice     sign her out everywhere, now

Every key is explained in deploy/edge-c.example.toml.

Exit codes: 0 done, 64 bad arguments, 69 a port or peer is unavailable at the start,
            70 a vital task died, 78 bad configuration";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 64 bad arguments, 69 a port or peer is unavailable at the start,
            70 a vital task died, 78 bad configuration
More with --help.";
