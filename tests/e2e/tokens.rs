//! Access tokens and single sign-on: an issuer inside that only edge-c reaches, clients outside, and who should not get in.

mod attack;
mod exchange;
mod issuer;
mod relay;

use std::fs;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use common::testing::issuer::Issuer as Signer;
use serde_json::{Value, json};
use support::curl::Answer;
use support::netns;
use support::oidc::{Browser, Issuer};
use support::pair::{Member, Size};
use toml::{Table, toml};

use crate::stage::{DOMAIN, Stage, edge_name, verb_url};

const AUDIENCE: &str = "urn:edge:uc";
/// The issuer shares name, address and certificate with the photo server.
const HOST: &str = "photos.example.com";
const PORT: u16 = 7443;

/// A pair, an issuer inside, and what the pair is told of it.
struct Lab {
    stage: Stage,
    issuer: Issuer,
}

impl Lab {
    /// Tokens of the issuer count; its pages are not relayed.
    fn with_tokens() -> Self {
        Self::start(|_| ())
    }

    /// Its pages are relayed too.
    fn with_pages() -> Self {
        Self::start(|core| {
            let rule = toml! {
                issuer = "corp"
                match = "prefix"
                url = "https://photos.example.com:7443/"
            };
            core.set("sso", "rule", vec![rule]);
        })
    }

    fn start(change: impl FnOnce(&mut Member)) -> Self {
        let mut stage = Stage::prepare(Size::ONE);
        let [address, _] = netns::inside(80);
        let socket = SocketAddr::new(address, PORT);
        let issuer = Issuer::start(&stage.zones.inside(), stage.path(), HOST, socket).unwrap();
        let core = &mut stage.pair.cores[0];
        let mut table = toml! {
            name = "corp"
            kind = "jwks"
        };
        table.insert("issuer".to_owned(), issuer.url().into());
        table.insert("audiences".to_owned(), vec![AUDIENCE].into());
        core.config_mut()
            .insert("issuer".to_owned(), vec![table].into());
        change(core);
        stage.pair.start().unwrap();
        Self { stage, issuer }
    }

    fn browser(&self) -> Browser {
        let edge = format!(
            "https://{}:8443/{}",
            edge_name(1),
            STANDARD_NO_PAD.encode(DOMAIN)
        );
        Browser::new(&self.stage.client(), self.stage.path(), &edge)
    }
}

/// A pair that takes tokens of an issuer whose public key is in a file.
fn static_stage(signer: &Signer, change: impl FnOnce(&mut Table)) -> Stage {
    let mut stage = Stage::prepare(Size::ONE);
    let file = stage.path().join("issuer.pem");
    fs::write(&file, signer.pem()).unwrap();
    let mut table = toml! {
        name = "corp"
        kind = "static"
        issuer = "https://idp.example.com"
        audiences = ["urn:edge:uc"]
    };
    table.insert(
        "keys".to_owned(),
        vec![file.to_string_lossy().into_owned()].into(),
    );
    change(&mut table);
    let core = &mut stage.pair.cores[0];
    core.config_mut()
        .insert("issuer".to_owned(), vec![table].into());
    stage.pair.start().unwrap();
    stage
}

fn now() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.unwrap().as_secs()
}

/// The claims of a good token for alice.
fn claims() -> Value {
    json!({ "iss": "https://idp.example.com", "aud": AUDIENCE, "sub": "alice", "exp": now() + 600 })
}

fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// `get_edge_config` with a token.
fn ask(stage: &Stage, token: &str) -> Answer {
    let client = stage
        .client()
        .header("Authorization", &format!("Bearer {token}"));
    client
        .get(&verb_url(1, "get_edge_config?service_name=_cisco-uds"))
        .unwrap()
}

fn assert_token_refused(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}");
    let challenges: Vec<_> = answer.header_all("www-authenticate").collect();
    assert_eq!(challenges.len(), 1, "{what}");
    assert!(
        challenges[0].starts_with("Bearer realm=\"Cisco-Edge\", error=\"invalid_token\""),
        "{what}: {challenges:?}"
    );
    assert!(
        answer.body.is_empty() && answer.header("set-cookie").is_none(),
        "{what}"
    );
}
