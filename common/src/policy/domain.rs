//! The service domains, the deployments they belong to, and which are enabled.

use std::collections::BTreeMap;

use crate::limits;
use crate::net::{Deployment, Domain, NameError};

/// Why a set of domains is not a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainTableError {
    /// Deployments are named in rules and labels.
    #[error(
        "the deployment of \"{domain}\" has an empty name or one over {max} octets",
        max = limits::DEPLOYMENT_BYTES_MAX
    )]
    Deployment {
        /// Whose.
        domain: Domain,
    },
    /// Not a DNS name.
    #[error("the domain \"{text}\" {why}")]
    Name {
        /// As written.
        text: String,
        /// What is wrong with it.
        why: NameError,
    },
    /// The same domain twice.
    #[error("the domain \"{0}\" is named twice")]
    Repeated(Domain),
    /// Over [`limits::DOMAINS_MAX`].
    #[error("more than {max} domains", max = limits::DOMAINS_MAX)]
    TooMany,
}

/// One service domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainEntry {
    /// Its name, as clients write it.
    pub name: Domain,
    /// What its users may reach.
    pub deployment: Deployment,
    /// Whether its users may sign in.
    pub is_enabled: bool,
}

/// Every service domain. An unknown domain and one that is off are the same to a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainTable {
    entries: BTreeMap<Domain, DomainEntry>,
}

impl DomainTable {
    /// Makes a table of `entries`.
    ///
    /// # Errors
    /// [`DomainTableError`] if a domain comes twice, a deployment can't be named, or there are too many.
    pub fn new(entries: impl IntoIterator<Item = DomainEntry>) -> Result<Self, DomainTableError> {
        let mut table = Self::default();
        for entry in entries {
            let name = entry.name.clone();
            let deployment_bytes = entry.deployment.0.len();
            if deployment_bytes == 0 || deployment_bytes > limits::DEPLOYMENT_BYTES_MAX {
                return Err(DomainTableError::Deployment { domain: name });
            }
            if table.entries.insert(name.clone(), entry).is_some() {
                return Err(DomainTableError::Repeated(name));
            }
            if table.entries.len() > limits::DOMAINS_MAX {
                return Err(DomainTableError::TooMany);
            }
        }
        Ok(table)
    }

    /// Makes a table of names, deployments (`default` if there is none) and whether each is enabled.
    ///
    /// # Errors
    /// [`DomainTableError`] as for [`DomainTable::new`], or for a name that is no DNS name.
    pub fn parse<'a>(
        rows: impl IntoIterator<Item = (&'a str, Option<&'a str>, bool)>,
    ) -> Result<Self, DomainTableError> {
        let entries = rows.into_iter().map(|(name, deployment, is_enabled)| {
            let deployment =
                deployment.map_or_else(Deployment::standard, |name| Deployment(name.into()));
            Domain::parse(name)
                .map(|name| DomainEntry {
                    name,
                    deployment,
                    is_enabled,
                })
                .map_err(|why| DomainTableError::Name {
                    text: name.chars().take(limits::DNS_NAME_BYTES_MAX).collect(),
                    why,
                })
        });
        Self::new(entries.collect::<Result<Vec<_>, _>>()?)
    }

    /// The deployment of `domain`, if it is known and enabled.
    #[must_use]
    pub fn deployment(&self, domain: &Domain) -> Option<&Deployment> {
        self.entries
            .get(domain)
            .filter(|entry| entry.is_enabled)
            .map(|entry| &entry.deployment)
    }

    /// All of them, enabled or not, by name.
    pub fn iter(&self) -> impl Iterator<Item = &DomainEntry> {
        self.entries.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_its_deployment_in_any_letter_case() {
        let table = DomainTable::parse([
            ("Example.COM.", None, true),
            ("lab.example.com", Some("lab"), true),
        ])
        .unwrap();

        assert_eq!(of(&table, "example.com").as_deref(), Some("default"));
        assert_eq!(of(&table, "LAB.example.com").as_deref(), Some("lab"));
    }

    #[test]
    fn unknown_and_disabled_domains_have_none() {
        let table = DomainTable::parse([("example.com", None, false)]).unwrap();

        assert_eq!(of(&table, "example.com"), None);
        assert_eq!(of(&table, "sub.example.com"), None);
        assert_eq!(of(&table, "com"), None);
        assert_eq!(table.iter().count(), 1);
    }

    #[test]
    fn what_is_no_table_says_why() {
        let error = |rows: &[(&str, Option<&str>, bool)]| {
            DomainTable::parse(rows.iter().copied())
                .unwrap_err()
                .to_string()
        };

        assert_eq!(
            error(&[("a.example", None, true), ("A.example.", None, false)]),
            "the domain \"a.example\" is named twice"
        );
        assert_eq!(
            error(&[("a..example", None, true)]),
            "the domain \"a..example\" has an empty label"
        );
        assert_eq!(
            error(&[("a.example", Some(""), true)]),
            "the deployment of \"a.example\" has an empty name or one over 64 octets"
        );
    }

    #[test]
    fn the_bound_holds() {
        let names: Vec<String> = (0..=limits::DOMAINS_MAX)
            .map(|n| format!("d{n}.example"))
            .collect();
        let rows = names.iter().map(|name| (name.as_str(), None, true));

        assert_eq!(DomainTable::parse(rows), Err(DomainTableError::TooMany));
    }

    fn of(table: &DomainTable, name: &str) -> Option<String> {
        let domain = Domain::parse(name).unwrap();
        table.deployment(&domain).map(ToString::to_string)
    }
}
