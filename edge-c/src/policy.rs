//! What each edge-e is told of the domains: which they are, and what it may answer for them by itself.

use common::link::control::message::{DomainPolicy, Policy};
use common::mra::access::{SsoAnswer, SsoTemplate, TemplateError};
use common::policy::domain::{DomainEntry, DomainTable, DomainTableError};

use crate::config::{Config, Edge, ServiceDomain, Sso};

/// The domains that are served, and the deployment of each.
///
/// # Errors
/// [`DomainTableError`] if the configuration names one twice.
pub fn domains(config: &Config) -> Result<DomainTable, DomainTableError> {
    DomainTable::new(config.domains.iter().map(|domain| DomainEntry {
        name: domain.name.clone(),
        deployment: domain.deployment.clone(),
        is_enabled: true,
    }))
}

/// What `edge` is told.
///
/// # Errors
/// [`TemplateError`] if a template of the configuration can't be read.
pub fn for_edge(config: &Config, edge: &Edge) -> Result<Policy, TemplateError> {
    let domains = config.domains.iter().map(|domain| {
        Ok(DomainPolicy {
            name: domain.name.clone(),
            sso_document: sso_document(domain, edge)?,
            is_sso_asked: matches!(domain.sso, Sso::Ask { .. }),
            is_sso_relayed: config.sso_relay.is_some(),
        })
    });
    Ok(Policy {
        realm: config.sign_in.realm.clone(),
        domains: domains.collect::<Result<_, _>>()?,
        serves_sessions_of: Vec::new(),
        xmpp_domains: config
            .xmpp
            .iter()
            .flat_map(|xmpp| xmpp.names().cloned())
            .collect(),
    })
}

fn sso_document(domain: &ServiceDomain, edge: &Edge) -> Result<String, TemplateError> {
    let is_enabled = match &domain.sso {
        Sso::Config { .. } => true,
        // What is said of everybody until the home cluster has been asked.
        Sso::Ask { .. } | Sso::Off => false,
    };
    sso_answer(domain, edge, is_enabled)
}

/// The answer to `get_edge_sso` of a domain's user at an edge.
///
/// # Errors
/// [`TemplateError`] if a template of the configuration can't be read.
pub fn sso_answer(
    domain: &ServiceDomain,
    edge: &Edge,
    is_enabled: bool,
) -> Result<String, TemplateError> {
    let template = match &domain.sso {
        Sso::Ask {
            template: Some(template),
        }
        | Sso::Config {
            template: Some(template),
        } => SsoTemplate::parse(template)?,
        Sso::Ask { template: None } | Sso::Config { template: None } | Sso::Off => {
            SsoTemplate::default()
        }
    };
    let answer = SsoAnswer {
        enabled: is_enabled,
        edge: &edge.name,
        port: edge.https_port.get(),
        domain: &domain.name,
    };
    Ok(template.render(&answer))
}
