use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, UnboundKey};
use aws_lc_rs::cipher::AES_128;

use super::master::{encrypting, salt_of};
use super::*;

fn octets(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u32> = hexadecimal
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

const MASTER: &str = "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6";

fn master() -> SrtpKeys {
    SrtpKeys::new(SrtpSuite::AesCm128HmacSha1_80, &octets(MASTER), None).unwrap()
}

/// RFC 3711 appendix B.3.
#[test]
fn session_keys_are_derived_as_in_the_rfc() {
    let master = Master::new(&master()).unwrap();

    let key = master.derive::<16>(0).unwrap();
    let authentication = master.derive::<94>(1).unwrap();
    let salt = master.derive::<14>(2).unwrap();

    assert_eq!(key.to_vec(), octets("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(salt.to_vec(), octets("30CBBC08863D8C85D49DB34A9AE1"));
    let expected = octets(
        "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
         E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
         6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2",
    );
    assert_eq!(authentication.to_vec(), expected);
}

/// RFC 3711 appendix B.2: the key stream, at its beginning and at block 0xfeff.
#[test]
fn the_key_stream_is_that_of_the_rfc() {
    let counter = Counter {
        authentication: Hmac::new_from_slice(&[0; 20]).unwrap(),
        salt: salt_of(&octets("F0F1F2F3F4F5F6F7F8F9FAFBFCFD")),
        tag_bytes: LONG_TAG_BYTES,
        key: encrypting(&AES_128, &octets("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap(),
    };
    let mut stream = vec![0; 0xff01 * 16];

    counter.apply(0, 0, &mut stream).unwrap();

    assert_eq!(
        stream[..32],
        octets("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB")
    );
    let later = octets("EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE");
    assert_eq!(stream[0xfeff * 16..], later);
}

/// A packet that libsrtp and others test with, under the keys of RFC 3711 appendix B.3.
#[test]
fn a_known_packet_in_counter_mode() {
    let cipher = Cipher::new(&master()).unwrap();
    let plain = octets("800f1234decafbadcafebabe abababababababababababababababab");
    let mut buffer = plain.clone();
    buffer.resize(64, 0);

    let len = cipher
        .seal_rtp(&mut buffer, 28, 12, 0xcafe_babe, 0x1234)
        .unwrap();

    let protected =
        octets("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    assert_eq!(buffer[..len], protected);
    let opened = cipher.open_rtp(
        &mut buffer[..len],
        12,
        0xcafe_babe,
        0x1234,
        Opening::InPlace,
    );
    assert_eq!(opened, Ok(28));
    assert_eq!(buffer[..28], plain);
}

/// Session keys as RFC 7714 section 16 states them.
fn gcm(key: &str) -> Cipher {
    let transform = || {
        let key = octets(key);
        let algorithm = if key.len() == 16 {
            &AES_128_GCM
        } else {
            &AES_256_GCM
        };
        Transform::Gcm {
            key: Box::new(LessSafeKey::new(UnboundKey::new(algorithm, &key).unwrap())),
            salt: salt_of(b"Quid pro quo"),
        }
    };
    Cipher {
        rtp: transform(),
        rtcp: transform(),
        mki: Vec::new(),
    }
}

const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// RFC 7714 sections 16.1.1 and 16.2.1.
#[test]
fn the_packets_of_the_rfc_in_gcm() {
    let plain = octets(
        "8040f17b8041f8d35501a0b2 47616c6c696120657374206f6d6e697320646976697361
         20696e207061727465732074726573",
    );
    let protected_128 = octets(
        "8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f
         42a5f47a51c7d19b36de3adf8833 899d7f27beb16a9152cf765ee4390cce",
    );
    let protected_256 = octets(
        "8040f17b8041f8d35501a0b2 32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3
         b50b2a0276ffae0f1ba63799b87b 7aa3db36dfffd6b0f9bb7878d7a76c13",
    );
    for (key, protected) in [(KEY_128, protected_128), (KEY_256, protected_256)] {
        let cipher = gcm(key);
        let mut buffer = plain.clone();
        buffer.resize(100, 0);

        let len = cipher
            .seal_rtp(&mut buffer, plain.len(), 12, 0x5501_a0b2, 0xf17b)
            .unwrap();

        assert_eq!(buffer[..len], protected);
        let mut aside = [0; 100];
        let opening = Opening::Through(&mut aside);
        let opened = cipher.open_rtp(&mut buffer[..len], 12, 0x5501_a0b2, 0xf17b, opening);
        assert_eq!(opened, Ok(plain.len()));
        assert_eq!(buffer[..plain.len()], plain);
    }
}

/// RFC 7714 section 17.1.
#[test]
fn the_report_of_the_rfc_in_gcm() {
    let plain = octets(
        "81c8000d4d617273 4e5450314e545032525450200000042a0000e9304c756e61
         deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    );
    let protected = octets(
        "81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32d
         c676a5f1730d6fda4ce09b4686303ded 0bb9275bc84aa45896cf4d2fc5abf872 45d9eade 800005d4",
    );
    let cipher = gcm(KEY_128);
    let mut buffer = plain.clone();
    buffer.resize(100, 0);

    let len = cipher
        .seal_rtcp(&mut buffer, plain.len(), 0x4d61_7273, 0x5d4)
        .unwrap();

    assert_eq!(buffer[..len], protected);
    assert_eq!(cipher.rtcp_index(&buffer[..len]), Ok(0x5d4));
    let opened = cipher.open_rtcp(&mut buffer[..len], 0x4d61_7273, 0x5d4, Opening::InPlace);
    assert_eq!(opened, Ok(plain.len()));
    assert_eq!(buffer[..plain.len()], plain);
}
