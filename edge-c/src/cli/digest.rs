//! `edge-c digest`: the users whose phones edge-c authenticates itself. Passwords come from standard input only, so that
//! none stands in a process list or a shell history.

use std::io::{BufRead, Write};

use clap::{Args, Subcommand};
use common::limits;
use common::redact::Secret;
use common::runtime::exit::Exit;
use common::runtime::terminal;
use serde_json::json;

use super::{ConfigFile, Output};
use crate::config::Session;
use crate::sip::passwords::{Stored, StoredError, sealed_file};

/// The command and what it is about.
#[derive(Debug, Args)]
pub(super) struct DigestArgs {
    #[command(subcommand)]
    pub(super) command: DigestCommand,
    #[command(flatten)]
    pub(super) file: ConfigFile,
}

#[derive(Debug, Subcommand)]
pub(super) enum DigestCommand {
    /// Add a user, or give one another password, which is the first line of standard input
    Add(Who),
    /// Show users and realms
    List(Output),
    /// Take a user out
    Remove(Who),
}

#[derive(Debug, Args)]
pub(super) struct Who {
    /// The user name that the phone sends
    user: String,
    /// The realm that edge-c asks in: `realm` of its registrar, or the first of its hosts
    realm: String,
}

/// Does what the command says with the sealed file of `session`.
pub(super) fn run(
    command: &DigestCommand,
    session: &Session,
    input: impl BufRead,
    output: &mut impl Write,
) -> Exit {
    match change(command, session, input, output) {
        Ok(exit) => exit,
        Err(error) => {
            terminal::complain(&format!("{error}\n"));
            match error {
                StoredError::Name => Exit::BadArguments,
                StoredError::File(_) | StoredError::Full | StoredError::Malformed => {
                    Exit::Unavailable
                }
            }
        }
    }
}

fn change(
    command: &DigestCommand,
    session: &Session,
    input: impl BufRead,
    output: &mut impl Write,
) -> Result<Exit, StoredError> {
    let file = sealed_file(session)?;
    let mut stored = Stored::read(&file)?;
    let done = match command {
        DigestCommand::Add(Who { user, realm }) => {
            let Some(password) = password(input) else {
                terminal::complain("no password: give it as the first line of standard input\n");
                return Ok(Exit::BadArguments);
            };
            let was_there = stored.add(user, realm, password.reveal())?;
            stored.write(&file)?;
            if was_there { "replaced" } else { "added" }.to_owned()
        }
        DigestCommand::Remove(Who { user, realm }) => {
            if !stored.remove(user, realm) {
                terminal::complain(
                    "there is no such user in this realm: see `edge-c digest list`\n",
                );
                return Ok(Exit::BadArguments);
            }
            stored.write(&file)?;
            "removed".to_owned()
        }
        DigestCommand::List(Output { json: true }) => {
            let users = stored
                .names()
                .map(|(user, realm)| json!({ "user": user, "realm": realm }));
            serde_json::Value::from_iter(users).to_string()
        }
        DigestCommand::List(_) => {
            let users = stored
                .names()
                .map(|(user, realm)| format!("{user}\t{realm}"));
            users.collect::<Vec<_>>().join("\n")
        }
    };
    let end = if done.is_empty() { "" } else { "\n" };
    if write!(output, "{done}{end}").is_err() {
        // Whoever has closed the output does not want to read it.
        return Ok(Exit::Unavailable);
    }
    Ok(Exit::Done)
}

fn password(input: impl BufRead) -> Option<Secret<String>> {
    let mut line = Vec::new();
    let most = u64::try_from(limits::PASSWORD_BYTES_MAX).unwrap_or(u64::MAX);
    input.take(most).read_until(b'\n', &mut line).ok()?;
    let line = zeroize::Zeroizing::new(line);
    let text = std::str::from_utf8(&line)
        .ok()?
        .trim_end_matches(['\r', '\n']);
    (!text.is_empty()).then(|| Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::net::Domain;

    use super::*;

    fn session(folder: &std::path::Path) -> Session {
        Session {
            lifetime: Duration::from_secs(1),
            cookie_domain: Domain::parse("example.com").unwrap(),
            state_dir: folder.to_owned(),
            key_file: folder.join("session.key"),
            shared: None,
        }
    }

    fn who(user: &str) -> Who {
        Who {
            user: user.to_owned(),
            realm: "lab.test".to_owned(),
        }
    }

    #[test]
    fn users_are_added_shown_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(folder.path());
        let run = |command: DigestCommand, input: &str| {
            let mut output = Vec::new();
            let exit = run(&command, &session, input.as_bytes(), &mut output);
            (exit, String::from_utf8(output).unwrap())
        };
        let list = || DigestCommand::List(Output { json: false });

        assert_eq!(run(list(), ""), (Exit::Done, String::new()));
        assert_eq!(
            run(DigestCommand::Add(who("1001")), "pass word\r\n"),
            (Exit::Done, "added\n".into())
        );
        assert_eq!(
            run(DigestCommand::Add(who("1001")), "other"),
            (Exit::Done, "replaced\n".into())
        );
        assert_eq!(run(list(), ""), (Exit::Done, "1001\tlab.test\n".into()));
        let json = run(DigestCommand::List(Output { json: true }), "").1;
        assert_eq!(json, "[{\"realm\":\"lab.test\",\"user\":\"1001\"}]\n");
        assert_eq!(
            run(DigestCommand::Remove(who("1001")), ""),
            (Exit::Done, "removed\n".into())
        );
        assert_eq!(
            run(DigestCommand::Remove(who("1001")), "").0,
            Exit::BadArguments
        );
        assert_eq!(
            run(DigestCommand::Add(who("1001")), "\n").0,
            Exit::BadArguments
        );
    }
}
