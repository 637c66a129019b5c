use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};

use super::*;

fn pki() -> Pki {
    Pki::generate(&Plan::standard("example.com")).unwrap()
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let anchor = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(anchor).unwrap();
    Arc::new(roots)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn leaf(pki: &Pki, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pki.identity(name).unwrap().chain_pem.as_bytes()).unwrap()
}

/// Why a client refuses the server certificate, if it does.
fn server_refusal(pki: &Pki, authority: &Authority, name: &str, host: &str) -> Option<Error> {
    WebPkiServerVerifier::builder_with_provider(roots(authority), provider())
        .build()
        .unwrap()
        .verify_server_cert(
            &leaf(pki, name),
            &[],
            &ServerName::try_from(host.to_owned()).unwrap(),
            &[],
            UnixTime::now(),
        )
        .err()
}

/// Why a server refuses the client certificate, if it does.
fn client_refusal(pki: &Pki, authority: &Authority, name: &str) -> Option<Error> {
    WebPkiClientVerifier::builder_with_provider(roots(authority), provider())
        .build()
        .unwrap()
        .verify_client_cert(&leaf(pki, name), &[], UnixTime::now())
        .err()
}

#[test]
fn the_public_certificate_names_the_edge_and_the_service_domain() {
    let pki = pki();

    for host in [
        "edge1.example.com",
        "example.com",
        "collab-edge.example.com",
    ] {
        assert_eq!(
            server_refusal(&pki, &pki.public, "public/edge1", host),
            None,
            "{host}"
        );
    }
    assert!(server_refusal(&pki, &pki.public, "public/edge1", "edge2.example.com").is_some());
    assert!(server_refusal(&pki, &pki.inside, "public/edge1", "edge1.example.com").is_some());
}

#[test]
fn link_identities_serve_one_side_only() {
    let pki = pki();

    assert_eq!(
        server_refusal(&pki, &pki.link, "link/edge1", "edge1.link.internal"),
        None
    );
    assert_eq!(client_refusal(&pki, &pki.link, "link/edge-c2"), None);
    assert!(client_refusal(&pki, &pki.link, "link/edge1").is_some());
    assert!(server_refusal(&pki, &pki.link, "link/edge-c1", "edge-c1.link.internal").is_some());
}

#[test]
fn faulty_certificates_fail_for_their_one_fault() {
    let pki = pki();
    let expired = |e: &Error| {
        matches!(
            e,
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. }
            )
        )
    };

    let error = client_refusal(&pki, &pki.link, "link/faulty/edge-c1-expired").unwrap();
    assert!(expired(&error), "{error:?}");
    let error = server_refusal(
        &pki,
        &pki.link,
        "link/faulty/edge1-expired",
        "edge1.link.internal",
    );
    assert!(expired(&error.unwrap()));
    let error = client_refusal(&pki, &pki.link, "link/faulty/edge-c1-foreign").unwrap();
    assert!(
        matches!(
            error,
            Error::InvalidCertificate(CertificateError::UnknownIssuer)
        ),
        "{error:?}"
    );
    let error = server_refusal(
        &pki,
        &pki.inside,
        "inside/faulty/ucm-expired",
        "cucm1a.example.com",
    );
    assert!(expired(&error.unwrap()));
    assert_eq!(
        server_refusal(
            &pki,
            &pki.inside,
            "inside/faulty/wrong-name",
            "somebody-else.invalid"
        ),
        None
    );
    assert_eq!(
        client_refusal(&pki, &pki.link, "link/faulty/stranger"),
        None
    );
}

#[test]
fn a_server_named_by_address_has_it_in_its_certificate() {
    let mut plan = Plan::standard("example.com");
    plan.inner[0].addresses = vec![
        "10.9.1.31".parse().unwrap(),
        "fd00:9:1::31".parse().unwrap(),
    ];
    let pki = Pki::generate(&plan).unwrap();

    assert_eq!(
        server_refusal(&pki, &pki.inside, "inside/ucm", "10.9.1.31"),
        None
    );
    assert_eq!(
        server_refusal(&pki, &pki.inside, "inside/ucm", "fd00:9:1::31"),
        None
    );
    assert!(server_refusal(&pki, &pki.inside, "inside/imp", "10.9.1.31").is_some());
}

#[test]
fn files_hold_matching_pairs_and_keys_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let pki = pki();

    pki.write_to(dir.path()).unwrap();

    for name in pki.identities.keys() {
        let key_file = dir.path().join(format!("{name}.key"));
        let mode = fs::metadata(&key_file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        let chain = CertificateDer::pem_file_iter(dir.path().join(format!("{name}.pem")))
            .unwrap()
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_file(&key_file).unwrap();
        rustls::sign::CertifiedKey::from_der(chain, key, &provider()).unwrap();
    }
    assert!(dir.path().join("link/ca.pem").exists());
}

#[test]
fn keys_are_ecdsa_p256_and_good_for_more_than_a_month() {
    let pki = pki();
    let der = leaf(&pki, "public/edge1");
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();

    let algorithm = &certificate.public_key().algorithm;
    let curve = algorithm.parameters.as_ref().unwrap().as_oid().unwrap();
    assert_eq!(curve.to_id_string(), "1.2.840.10045.3.1.7");
    let left = certificate.validity().time_to_expiration().unwrap();
    assert!(left > Duration::from_secs(31 * 86_400));
}
