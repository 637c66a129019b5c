//! Certificates of edge-c that edge-e will refuse. Warnings only: what is trusted is decided elsewhere.

use common::config::certificate::Facts;
use common::config::{ConfigWarning, Loaded, Purpose};
use common::time::UnixTime;

use super::Config;

pub(super) fn about_certificates(loaded: &Loaded<Config>, now: UnixTime) -> Vec<ConfigWarning> {
    let chain = &loaded.config.link.identity.identity.chain;
    let name = &loaded.config.name;
    let mut warnings = loaded.about_certificate(chain, Purpose::Client, now);
    if let Some(identity) = loaded
        .config
        .sip
        .as_ref()
        .and_then(|sip| sip.identity.as_ref())
    {
        warnings.extend(loaded.about_certificate(&identity.chain, Purpose::Client, now));
    }
    for identity in loaded
        .config
        .xmpp
        .iter()
        .flat_map(|xmpp| &xmpp.certificates)
    {
        warnings.extend(loaded.about_certificate(&identity.chain, Purpose::Server, now));
    }
    if Facts::of_leaf(chain).is_ok_and(|facts| !facts.covers_name(name)) {
        warnings.push(ConfigWarning {
            place: loaded.place_of(chain),
            why: format!("names a certificate without {name}, so edge-e may refuse the link"),
            remedy: format!("add DNS:{name} to its subject alternative name, or correct `name`"),
        });
    }
    warnings
}
