//! Certificates of edge-e that clients or edge-c will refuse. Warnings only: what is trusted is decided elsewhere.

use common::config::certificate::Facts;
use common::config::section::Identity;
use common::config::{ConfigWarning, Loaded, Purpose};
use common::time::UnixTime;

use super::Config;

pub(super) fn about_certificates(loaded: &Loaded<Config>, now: UnixTime) -> Vec<ConfigWarning> {
    let config = &loaded.config;
    let mut warnings = Vec::new();
    for identity in &config.public.certificates {
        warnings.extend(loaded.about_certificate(&identity.chain, Purpose::Server, now));
    }
    let link = &config.link.identity.identity.chain;
    warnings.extend(loaded.about_certificate(link, Purpose::Server, now));
    if !config
        .public
        .certificates
        .iter()
        .any(|identity| covers_name(identity, config))
    {
        warnings.extend(
            config
                .public
                .certificates
                .first()
                .map(|first| ConfigWarning {
                    place: loaded.place_of(&first.chain),
                    why: format!(
                        "has no certificate for {}, so clients will refuse this edge",
                        config.name
                    ),
                    remedy: format!("add DNS:{} to the subject alternative name", config.name),
                }),
        );
    }
    warnings
}

fn covers_name(identity: &Identity, config: &Config) -> bool {
    let facts = Facts::of_leaf(&identity.chain);
    facts.is_ok_and(|facts| facts.covers_name(&config.name))
}
