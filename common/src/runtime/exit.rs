//! How a process ends: the exit codes of the product, after `sysexits.h`.

use std::fmt;
use std::process::ExitCode;

use super::supervise::VitalEnd;
use crate::config::ConfigErrors;

/// An exit code and its meaning. Service managers and scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All done.
    Done = 0,
    /// The command line was not understood.
    BadArguments = 64,
    /// A port or a peer was not available at the start.
    Unavailable = 69,
    /// A vital task died.
    VitalTask = 70,
    /// The configuration is not valid.
    BadConfig = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a process could not start or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The configuration, or a file that it names, is not valid (any more).
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// A port or a peer was not available at the start.
    #[error("{what}: {cause}\n    {remedy}")]
    Unavailable {
        /// What was needed.
        what: String,
        /// Why it could not be had.
        cause: String,
        /// What to do.
        remedy: String,
    },
    /// A vital task ended.
    #[error("{0}")]
    VitalTask(#[from] VitalEnd),
}

impl RunError {
    /// A listener that could not be bound, by the key that names its address.
    pub fn bind(key: &str, address: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::Unavailable {
            what: format!("can't listen on {address} ({key})"),
            cause: error.to_string(),
            remedy: bind_remedy(error.kind()).to_owned(),
        }
    }

    /// Something that a valid configuration should have given; `product` is the program that can say more.
    pub fn unusable(product: &str, cause: impl fmt::Display) -> Self {
        Self::Unavailable {
            what: "can't start".to_owned(),
            cause: cause.to_string(),
            remedy: format!("run `{product} check`"),
        }
    }

    /// The exit code for it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::BadConfig,
            Self::Unavailable { .. } => Exit::Unavailable,
            Self::VitalTask(_) => Exit::VitalTask,
        }
    }
}

/// What to do when a socket can't be bound.
#[must_use]
pub(super) fn bind_remedy(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind;
    if kind == ErrorKind::AddrInUse {
        "another process has this port: find it with `ss -ltnp`, stop it or choose another port"
    } else if kind == ErrorKind::AddrNotAvailable {
        "no interface of this machine has this address: correct it, or bring the interface up first"
    } else if kind == ErrorKind::PermissionDenied {
        "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher port, or grant it in the unit file"
    } else {
        "choose another address"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_the_exit_code_that_scripts_rely_on() {
        let busy = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let vital = VitalEnd {
            task: "public",
            how: crate::runtime::supervise::How::Panicked,
        };

        assert_eq!(
            RunError::bind("admin.listen", "[::1]:1", &busy).exit() as u8,
            69
        );
        assert_eq!(RunError::from(vital).exit() as u8, 70);
        assert_eq!(RunError::from(ConfigErrors(Vec::new())).exit() as u8, 78);
        assert_eq!(Exit::BadArguments as u8, 64);
        assert_eq!(Exit::Done as u8, 0);
    }

    #[test]
    fn a_port_that_is_taken_says_how_to_find_who_has_it() {
        let busy = std::io::Error::from(std::io::ErrorKind::AddrInUse);

        let text = RunError::bind("public.listen", "[::]:8443", &busy).to_string();

        assert!(
            text.starts_with("can't listen on [::]:8443 (public.listen): "),
            "{text}"
        );
        assert!(text.contains("ss -ltnp"));
    }
}
