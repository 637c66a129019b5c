use std::sync::Arc;

use common::net::Host;
use common::testing::issuer::Issuer as Signer;
use prometheus_client::registry::Registry;
use serde_json::json;

use super::*;
use crate::testing::{TestIssuer, World, domain, on_behalf};

const IDP: &str = "idp.example.com";

struct Lab {
    world: World,
    issuer: TestIssuer,
    verifier: TokenVerifier,
}

impl Lab {
    async fn start(keys: &str) -> Self {
        Self::start_with(keys, |_| ()).await
    }

    async fn start_with(keys: &str, change: impl Fn(&mut config::Issuer)) -> Self {
        let world = World::start(&[&["a1.example.com"], &[IDP]]).await;
        let issuer = TestIssuer::start(&world).await;
        issuer.set("/jwks", 200, keys);
        let mut config = issuer.config();
        change(&mut config);
        let verifier = world.verifier(&[config]);
        Self {
            world,
            issuer,
            verifier,
        }
    }

    async fn verify(&self, token: &str) -> Verdict {
        let domain = Domain::parse("example.com").unwrap();
        self.verifier
            .verify(&domain, token, Some("alice"), &on_behalf())
            .await
    }

    fn claims(&self, user: &str) -> serde_json::Value {
        let now = clock::unix_now().0;
        json!({ "iss": self.issuer.name(), "aud": "urn:edge", "sub": user, "exp": now + 600 })
    }
}

fn error(verdict: Verdict) -> TokenError {
    match verdict {
        Err(TokenRefused::Token { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keys_are_fetched_once_and_verdicts_are_remembered() {
    let signer = Signer::ec("k1");
    let lab = Lab::start(&signer.jwks()).await;
    let tokens: Vec<_> = (0..20)
        .map(|n| signer.token(&lab.claims(&format!("user{n}"))))
        .collect();

    for token in tokens.iter().chain(&tokens) {
        let accepted = lab.verify(token).await.unwrap();
        assert_eq!(&*accepted.issuer, "corp");
    }

    assert_eq!(lab.issuer.times_asked("/jwks"), 1);
}

#[tokio::test]
async fn a_hundred_who_wait_for_a_new_key_make_one_fetch() {
    let (old, new) = (Signer::ec("k1"), Signer::ec("k2"));
    let lab = Arc::new(Lab::start(&old.jwks()).await);
    lab.verify(&old.token(&lab.claims("alice"))).await.unwrap();
    lab.issuer.set("/jwks", 200, &new.jwks());

    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let (lab, token) = (
                Arc::clone(&lab),
                new.token(&lab.claims(&format!("user{n}"))),
            );
            tokio::spawn(async move { lab.verify(&token).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }

    assert_eq!(lab.issuer.times_asked("/jwks"), 2);
    // The old key has left the set: its tokens are over, and asking again must wait.
    let gone = lab.verify(&old.token(&lab.claims("bob"))).await;
    assert_eq!(error(gone), TokenError::UnknownKey);
    assert_eq!(lab.issuer.times_asked("/jwks"), 2);
}

#[tokio::test]
async fn made_up_key_names_do_not_become_fetches() {
    let signer = Signer::ec("k1");
    let lab = Lab::start(&signer.jwks()).await;
    for n in 0..50 {
        let stranger = Signer::ec(&format!("made-up-{n}"));
        let refused = lab.verify(&stranger.token(&lab.claims("alice"))).await;
        assert_eq!(error(refused), TokenError::UnknownKey);
    }

    assert!(lab.issuer.times_asked("/jwks") <= 2);
}

#[tokio::test]
async fn an_issuer_that_is_away_does_not_end_what_its_keys_have_opened() {
    let signer = Signer::ec("k1");
    let lab = Lab::start(&signer.jwks()).await;
    lab.verify(&signer.token(&lab.claims("alice")))
        .await
        .unwrap();
    lab.issuer.set("/jwks", 503, "");

    lab.verify(&signer.token(&lab.claims("bob"))).await.unwrap();

    let other = Signer::ec("k2").token(&lab.claims("carol"));
    assert_eq!(error(lab.verify(&other).await), TokenError::UnknownKey);
    lab.verify(&signer.token(&lab.claims("dave")))
        .await
        .unwrap();
}

#[tokio::test]
async fn without_any_keys_the_issuer_is_said_to_be_away_and_is_not_stormed() {
    let signer = Signer::ec("k1");
    let lab = Lab::start("").await;
    lab.issuer.set("/jwks", 500, "");

    for _ in 0..10 {
        let refused = lab.verify(&signer.token(&lab.claims("alice"))).await;
        assert!(
            matches!(refused, Err(TokenRefused::Unavailable { .. })),
            "{refused:?}"
        );
    }

    assert_eq!(lab.issuer.times_asked("/jwks"), 1);
}

#[tokio::test]
async fn metadata_says_where_the_keys_are_and_only_its_own_issuers() {
    let signer = Signer::ec("k1");
    let without_url = |config: &mut config::Issuer| config.kind = IssuerKind::Jwks { url: None };
    let lab = Lab::start_with(&signer.jwks(), without_url).await;
    let place = "/.well-known/openid-configuration";
    let name = lab.issuer.name();
    let document =
        |issuer: &str| json!({ "issuer": issuer, "jwks_uri": format!("{name}/jwks") }).to_string();

    lab.issuer
        .set(place, 200, &document("https://evil.example.com"));
    let refused = lab
        .verify(&signer.token(&lab.claims("alice")))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("another issuer"), "{refused}");

    let lab = Lab::start_with(&signer.jwks(), without_url).await;
    let name = lab.issuer.name();
    let own = json!({ "issuer": name, "jwks_uri": format!("{name}/jwks") }).to_string();
    lab.issuer.set(place, 200, &own);
    lab.verify(&signer.token(&lab.claims("alice")))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stranger_is_sent_away_without_a_question() {
    let lab = Lab::start(&Signer::ec("k1").jwks()).await;
    let mut claims = lab.claims("alice");
    claims["iss"] = json!("https://evil.example.com");

    for token in [
        Signer::ec("k1").token(&claims),
        "opaque".to_owned(),
        "a.b.c".to_owned(),
    ] {
        assert_eq!(lab.verify(&token).await, Err(TokenRefused::NoIssuer));
    }
    assert_eq!(lab.issuer.times_asked("/"), 0);
}

#[tokio::test]
async fn an_opaque_token_is_introspected_with_the_clients_secret_and_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s:cret\n").unwrap();
    let change = |config: &mut config::Issuer| {
        config.kind = IssuerKind::Introspection {
            url: config.endpoints.token.clone(),
        };
        config.rules.user_claim = "username".to_owned();
        config.client = Some(config::Client {
            id: "edge-c".to_owned(),
            secret_file: Some(secret.clone()),
        });
    };
    let lab = Lab::start_with("", change).await;
    let active = json!({ "active": true, "username": "alice", "aud": "urn:edge" }).to_string();
    lab.issuer.set("/token", 200, &active);

    for _ in 0..3 {
        assert_eq!(lab.verify("opaque-1").await.unwrap().user.as_str(), "alice");
    }

    let asked = lab.issuer.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body, "token=opaque-1&token_type_hint=access_token");
    // "edge-c:s%3Acret"
    assert_eq!(
        asked[0].authorization.as_deref(),
        Some("Basic ZWRnZS1jOnMlM0FjcmV0")
    );
    lab.issuer.set("/token", 200, r#"{"active":false}"#);
    assert_eq!(error(lab.verify("opaque-2").await), TokenError::Inactive);
    assert_eq!(error(lab.verify("opaque-2").await), TokenError::Inactive);
    assert_eq!(lab.issuer.times_asked("/token"), 2);
    lab.issuer.set("/token", 200, "<html>");
    assert!(matches!(
        lab.verify("opaque-3").await,
        Err(TokenRefused::Unavailable { .. })
    ));
}

#[tokio::test]
async fn the_home_cluster_vouches_for_a_token_of_its_own_user() {
    let uds = |config: &mut config::Issuer| config.kind = IssuerKind::Uds;
    let lab = Lab::start_with("", uds).await;
    lab.world.nodes.add_user(0, "alice", "secret");
    lab.world.nodes.add_token("good", "alice");

    let accepted = lab.verify("good").await.unwrap();

    assert_eq!((accepted.user.as_str(), accepted.until), ("alice", None));
    assert_eq!(error(lab.verify("bad").await), TokenError::Inactive);
}

#[tokio::test]
async fn who_cannot_wait_gets_a_verdict_by_the_keys_at_hand() {
    let signer = Signer::ec("k1");
    let lab = Lab::start(&signer.jwks()).await;
    let own = domain().name;
    let token = signer.token(&lab.claims("alice"));

    let early = lab.verifier.verify_now(&own, &token);
    assert!(
        matches!(early, Err(TokenRefused::Unavailable { .. })),
        "{early:?}"
    );
    lab.verify(&signer.token(&lab.claims("bob"))).await.unwrap();

    assert_eq!(
        lab.verifier.verify_now(&own, &token).unwrap().user.as_str(),
        "alice"
    );
}

#[tokio::test]
async fn a_key_that_somebody_who_cannot_wait_has_met_is_fetched_soon() {
    let (old, new) = (Signer::ec("k1"), Signer::ec("k2"));
    let lab = Lab::start(&old.jwks()).await;
    lab.verify(&old.token(&lab.claims("bob"))).await.unwrap();
    lab.issuer.set("/jwks", 200, &new.jwks());
    let own = domain().name;
    let token = new.token(&lab.claims("alice"));
    assert_eq!(
        error(lab.verifier.verify_now(&own, &token)),
        TokenError::UnknownKey
    );

    let known = async {
        while lab.verifier.verify_now(&own, &token).is_err() {
            tokio::task::yield_now().await;
        }
    };
    let fetched = tokio::select! {
        () = lab.verifier.run() => false,
        known = tokio::time::timeout(Duration::from_secs(20), known) => known.is_ok(),
    };

    assert!(fetched);
    assert_eq!(lab.issuer.times_asked("/jwks"), 2);
}

#[tokio::test]
async fn verdicts_are_counted_by_issuer_and_outcome() {
    let mut registry = Registry::default();
    let metrics = TokenMetrics::register(&mut registry);
    metrics.announce("corp");
    metrics.verdict("corp", TokenOutcome::Expired);

    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();

    for line in [
        "token_verdicts_total{issuer=\"corp\",outcome=\"expired\"} 1\n",
        "token_verdicts_total{issuer=\"corp\",outcome=\"accepted\"} 0\n",
        "issuer_requests_total{issuer=\"corp\",outcome=\"failed\"} 0\n",
    ] {
        assert!(page.contains(line), "{page}");
    }
}

#[tokio::test]
async fn a_server_inside_gets_a_token_of_its_own_and_never_the_users() {
    let change = |config: &mut config::Issuer| {
        config.client = Some(config::Client {
            id: "edge-c".to_owned(),
            secret_file: None,
        });
        config.exchanges = vec![config::Exchange {
            audience: "https://unity.example.com".to_owned(),
            hosts: vec![Host::parse("unity1.example.com").unwrap()],
            scope: Some("voicemail".to_owned()),
        }];
    };
    let lab = Lab::start_with("", change).await;
    let answer = json!({ "access_token": "inner", "token_type": "Bearer", "expires_in": 60,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token" });
    lab.issuer.set("/token", 200, &answer.to_string());
    for _ in 0..3 {
        let value = exchange(&lab, "Bearer users", "unity1")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(value.reveal(), "Bearer inner");
    }
    assert!(exchange(&lab, "Basic YTpi", "unity1").await.is_none());
    assert!(exchange(&lab, "Bearer users", "a1").await.is_none());

    let asked = lab.issuer.asked();
    assert_eq!(asked.len(), 1, "it is kept while it is good");
    assert_eq!(
        asked[0].body,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=users\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
         &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
         &audience=https%3A%2F%2Funity.example.com&scope=voicemail&client_id=edge-c"
    );
    lab.issuer.set("/token", 400, "{}");
    let refused = exchange(&lab, "Bearer others", "unity1").await.unwrap();
    assert!(matches!(refused, Err(TokenRefused::Unavailable { .. })));
}

async fn exchange(
    lab: &Lab,
    authorization: &str,
    host: &str,
) -> Option<Result<Secret<String>, TokenRefused>> {
    let host = Host::parse(&format!("{host}.example.com")).unwrap();
    lab.verifier
        .exchange(&domain().name, &host, authorization)
        .await
}
