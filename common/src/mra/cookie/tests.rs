use super::*;
use proptest::prelude::*;

fn issued() -> CookieValue {
    CookieValue::issue(
        &FilterKey::new([1; 32]),
        KeyId {
            core: CoreId(3),
            generation: 250,
        },
        UnixTime(1_800_000_000),
        *b"eighteen octets ok",
    )
}

#[test]
fn a_cookie_is_64_characters_and_reads_back() {
    let text = issued().text();

    assert_eq!(text.len(), 64);
    let value = CookieValue::parse(&text).unwrap();
    assert_eq!(value, issued());
    assert_eq!(value.key_id().core, CoreId(3));
    assert_eq!(value.key_id().generation, 250);
    assert_eq!(value.expiry(), UnixTime(1_800_000_000));
    assert_eq!(&value.random(), b"eighteen octets ok");
    assert!(value.is_tagged_by(&FilterKey::new([1; 32])));
    assert!(!value.is_tagged_by(&FilterKey::new([2; 32])));
}

#[test]
fn the_layout_is_the_one_that_is_written_down() {
    let octets = URL_SAFE_NO_PAD.decode(issued().text()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);

    assert_eq!(octets[..3], [1, 3, 250]);
    assert_eq!(octets[3..7], 1_800_000_000_u32.to_be_bytes());
    assert_eq!(&octets[7..25], b"eighteen octets ok");
    assert_eq!(octets[25..], hmac::sign(&key, &octets[..25]).as_ref()[..23]);
    assert_eq!(
        issued().session_id().0,
        digest::digest(&digest::SHA256, b"eighteen octets ok").as_ref()
    );
}

#[test]
fn what_is_not_exactly_a_cookie_is_refused() {
    let good = issued().text();
    let wrong_version = format!("B{}", &good[1..]);
    for (text, error) in [
        ("", CookieError::Encoding),
        (&good[1..], CookieError::Encoding),
        (&format!("{good}A"), CookieError::Encoding),
        (&format!("{good}="), CookieError::Encoding),
        (&format!("{}=", &good[1..]), CookieError::Encoding),
        (&format!("{}+", &good[..63]), CookieError::Encoding),
        (&format!("{}/", &good[..63]), CookieError::Encoding),
        (&format!("{} ", &good[..63]), CookieError::Encoding),
        (&format!("{}\u{e9}", &good[..62]), CookieError::Encoding),
        (&wrong_version, CookieError::Version),
    ] {
        assert_eq!(CookieValue::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn an_expiry_that_does_not_fit_is_the_last_that_does() {
    let value = CookieValue::issue(
        &FilterKey::new([1; 32]),
        issued().key_id(),
        UnixTime(u64::MAX),
        [0; 18],
    );

    assert_eq!(value.expiry(), UnixTime(u32::MAX.into()));
}

#[test]
fn a_session_id_reads_back_and_prints_short() {
    let id = issued().session_id();

    assert_eq!(id.hex().parse(), Ok(id));
    assert!(id.hex().starts_with(&id.to_string()));
    assert_eq!(id.to_string().parse::<SessionId>(), Err(SessionIdError));
    assert!("+".repeat(64).parse::<SessionId>().is_err());
    assert!("\u{e9}".repeat(32).parse::<SessionId>().is_err());
}

#[test]
fn nothing_prints_what_lets_a_client_in() {
    assert_eq!(format!("{:?}", issued()), "[secret]");
    assert_eq!(format!("{:?}", FilterKey::new([1; 32])), "[secret]");
    assert_eq!(format!("{}", issued().session_id()).len(), 16);
}

proptest! {
    #[test]
    fn no_flipped_bit_keeps_the_tag(bit in 0_usize..384, key in any::<[u8; 32]>(), random in any::<[u8; 18]>()) {
        let key = FilterKey::new(key);
        let value = CookieValue::issue(&key, issued().key_id(), UnixTime(5), random);
        let mut octets = value.0;
        octets[bit / 8] ^= 1 << (bit % 8);

        prop_assert!(value.is_tagged_by(&key));
        prop_assert!(!CookieValue(octets).is_tagged_by(&key));
    }

    #[test]
    fn any_text_is_read_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_cookie(&octets);
    }

    #[test]
    fn any_64_characters_of_the_alphabet_have_one_spelling(text in "[A-Za-z0-9_-]{64}") {
        fuzz_cookie(text.as_bytes());
        let current = format!("AQ{}", &text[2..]);
        fuzz_cookie(current.as_bytes());
    }
}
