use std::path::Path;

use super::*;
use crate::config::tests::{errors_with as errors, parse_with as parse};

const ISSUER: &str = r#"
[[issuer]]
name = "corp"
kind = "jwks"
issuer = "https://idp.example.com"
audiences = ["urn:example:uc"]
"#;

#[test]
fn without_the_sections_no_token_counts_and_nothing_is_relayed() {
    let config = parse("").unwrap().config;

    assert!(config.issuers.is_empty());
    assert_eq!(config.sso_relay, None);
}

#[test]
fn the_smallest_issuer_gets_strict_defaults() {
    let config = parse(ISSUER).unwrap().config;

    let rules = &config.issuers[0].rules;
    assert_eq!(rules.algorithms, [Algorithm::Rs256]);
    assert_eq!(rules.types, ["at+jwt"]);
    assert_eq!(rules.user_claim, "sub");
    assert_eq!(rules.skew, Duration::from_secs(5));
    assert_eq!(config.issuers[0].extra_time, Duration::ZERO);
}

#[test]
fn the_self_describing_form_needs_neither_issuer_nor_audience() {
    let text = "[[issuer]]\nname = 'ucm'\nkind = 'static'\nkeys = ['authz.pem']\ndecryption_key = 'authz.key'\nuser_claim = 'uid'\n";

    let config = parse(text).unwrap().config;

    assert_eq!(config.issuers[0].rules.types, ["jwt"]);
    assert!(matches!(&config.issuers[0].kind,
        IssuerKind::Static { decryption_key: Some(path), .. } if path == Path::new("/etc/edge/authz.key")));
}

/// Every one of these stands in what is said about the file.
fn assert_refused(text: &str, said: &[&str]) {
    let errors = errors(text);
    for one in said {
        assert!(errors.contains(one), "{one}\n{errors}");
    }
}

#[test]
fn what_would_let_strangers_in_is_refused() {
    assert_refused(
        "[[issuer]]\nname = 'corp'\nkind = 'jwks'\n",
        &[
            "`issuer.issuer` is needed",
            "`issuer.audiences` is needed: else tokens for any other",
        ],
    );
    assert_refused(
        "[[issuer]]\nname = 'Corp'\nkind = 'oidc'\nalgorithms = ['HS256', 'none']\njwks_url = 'http://idp.example.com/jwks'\n",
        &[
            "edge-c.toml:18: `issuer.name` is no name for paths",
            "edge-c.toml:19: `issuer.kind` is not one of the words allowed",
            "\"jwks\", \"static\", \"introspection\", \"uds\"",
            "is not a signature algorithm that is supported",
            "found: 'none'",
            "ES256, ES384, EdDSA",
            "`issuer.jwks_url` is not an https URL",
        ],
    );
    assert_refused(
        "[[issuer]]\nname = 'corp'\nkind = 'static'\n[[issuer]]\nname = 'i'\nkind = 'introspection'\naudiences = ['x']\nclock_skew = '10m'\n",
        &[
            "`issuer.keys` is needed for kind \"static\"",
            "`issuer.client_id` is needed to ask the issuer",
            "`issuer.clock_skew` is out of range",
            "allowed: 0ms to 1m",
        ],
    );
    assert_refused(
        &format!("{ISSUER}{ISSUER}"),
        &[
            "is the name of an earlier [[issuer]]",
            "would be taken for the other's",
        ],
    );
}

#[test]
fn the_pages_of_an_issuer_are_listed_one_by_one() {
    let rule = "[sso]\nrate_limit = { count = 10, window = '1m' }\n[[sso.rule]]\nissuer = 'corp'\nurl = 'https://idp.example.com/login/'\nmatch = 'prefix'\n";

    let config = parse(&format!("{ISSUER}{rule}")).unwrap().config;

    let relay = config.sso_relay.unwrap();
    assert_eq!(relay.rate_limit.count, 10);
    let rule = &relay.rules[0].rule;
    assert_eq!(rule.url.to_string(), "https://idp.example.com/login/");
    assert!(rule.methods.contains("POST") && !rule.methods.contains("PUT"));
}

#[test]
fn a_rule_of_nobody_and_a_section_without_rules_are_refused() {
    assert_refused(&format!("{ISSUER}[sso]\n"), &["`sso.rule` is missing"]);
    assert_refused(
        &format!(
            "{ISSUER}[[sso.rule]]\nissuer = 'other'\nurl = 'http://idp.example.com/'\nmethods = ['G T']\n"
        ),
        &[
            "is not an https URL",
            "`sso.rule.match` is missing",
            "`sso.rule.methods`",
        ],
    );
    assert_refused(
        &format!(
            "{ISSUER}[[sso.rule]]\nissuer = 'other'\nurl = 'https://idp.example.com/'\nmatch = 'exact'\n"
        ),
        &["`sso.rule.issuer` is the name of no [[issuer]]"],
    );
}
