use proptest::prelude::*;
use rtc_srtp::context::Context as Oracle;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::*;
use crate::limits;
use crate::media::plan::{Mki, SrtpKeys, SrtpSuite};
use crate::media::rtp::RtpHeader;

const SUITES: [SrtpSuite; 4] = [
    SrtpSuite::AeadAes256Gcm,
    SrtpSuite::AeadAes128Gcm,
    SrtpSuite::AesCm128HmacSha1_80,
    SrtpSuite::AesCm128HmacSha1_32,
];

fn keys(suite: SrtpSuite, seed: u8) -> SrtpKeys {
    let material: Vec<u8> = (0..suite.material_bytes())
        .map(|at| {
            seed.wrapping_mul(31)
                .wrapping_add(u8::try_from(at).unwrap())
        })
        .collect();
    SrtpKeys::new(suite, &material, None).unwrap()
}

fn with_mki(keys: &SrtpKeys, mki: Mki) -> SrtpKeys {
    let material = [keys.key(), keys.salt()].concat();
    SrtpKeys::new(keys.suite(), &material, Some(mki)).unwrap()
}

fn oracle(keys: &SrtpKeys) -> Oracle {
    let profile = match keys.suite() {
        SrtpSuite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpSuite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpSuite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
    };
    let provider = rtc_srtp::crypto::default_provider().unwrap();
    Oracle::new(
        keys.key(),
        keys.salt(),
        profile,
        None,
        None,
        provider.crypto(),
    )
    .unwrap()
}

fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend(77_u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

fn rtcp(ssrc: u32, words: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, words];
    packet.extend(ssrc.to_be_bytes());
    packet.extend((1..words).flat_map(|word| [word; 4]));
    packet
}

fn sealed(sender: &mut Sender, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + TRAILER_BYTES_MAX + 8, 0);
    let header = RtpHeader::decode(packet).map_err(|_| SrtpError::Malformed)?;
    let len = sender.seal_rtp(&mut buffer, packet.len(), &header)?;
    buffer.truncate(len);
    Ok(buffer)
}

fn sealed_rtcp(sender: &mut Sender, packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + TRAILER_BYTES_MAX + 8, 0);
    let len = sender.seal_rtcp(&mut buffer, packet.len()).unwrap();
    buffer.truncate(len);
    buffer
}

fn opened(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = packet.to_vec();
    let header = RtpHeader::decode(packet).map_err(|_| SrtpError::Malformed)?;
    let len = receiver.open_rtp(&mut buffer, &header)?;
    buffer.truncate(len);
    Ok(buffer)
}

fn opened_rtcp(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buffer = packet.to_vec();
    let len = receiver.open_rtcp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

fn pair(keys: &SrtpKeys) -> (Sender, Receiver) {
    let receiver = Receiver::new(std::slice::from_ref(keys)).unwrap();
    (Sender::new(keys).unwrap(), receiver)
}

#[test]
fn a_packet_is_opened_once() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(&keys(suite, 1));
        let packet = rtp(7, 65_535, b"hello");
        let report = rtcp(7, 4);

        let protected = sealed(&mut sender, &packet).unwrap();
        let protected_report = sealed_rtcp(&mut sender, &report);

        assert_eq!(opened(&mut receiver, &protected), Ok(packet));
        assert_eq!(opened(&mut receiver, &protected), Err(SrtpError::Replayed));
        assert_eq!(opened_rtcp(&mut receiver, &protected_report), Ok(report));
        assert_eq!(
            opened_rtcp(&mut receiver, &protected_report),
            Err(SrtpError::Replayed)
        );
    }
}

#[test]
fn no_octet_of_a_packet_can_be_changed() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(&with_mki(&keys(suite, 1), Mki::new(9, 2)));
        let protected = sealed(&mut sender, &rtp(7, 9, b"hello")).unwrap();
        let report = sealed_rtcp(&mut sender, &rtcp(7, 4));

        // The version bits and the header's length are left alone: then it is no RTP packet, or is cut off.
        for at in 1..protected.len() {
            let mut forged = protected.clone();
            forged[at] ^= 0x10;
            assert!(
                opened(&mut receiver, &forged).is_err(),
                "{suite:?} octet {at}"
            );
        }
        for at in 1..report.len() {
            let mut forged = report.clone();
            forged[at] ^= 0x10;
            assert!(
                opened_rtcp(&mut receiver, &forged).is_err(),
                "{suite:?} octet {at}"
            );
        }
        assert!(opened(&mut receiver, &protected).is_ok());
        assert!(opened_rtcp(&mut receiver, &report).is_ok());
    }
}

#[test]
fn a_packet_that_is_cut_off_is_refused() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(&keys(suite, 1));
        let protected = sealed(&mut sender, &rtp(7, 9, b"")).unwrap();
        let report = sealed_rtcp(&mut sender, &rtcp(7, 1));

        for len in 12..protected.len() {
            assert!(opened(&mut receiver, &protected[..len]).is_err());
        }
        for len in 0..report.len() {
            assert!(opened_rtcp(&mut receiver, &report[..len]).is_err());
        }
    }
}

#[test]
fn rtcp_in_the_clear_is_told_apart_from_forged_rtcp() {
    let (_, mut receiver) = pair(&keys(SrtpSuite::AesCm128HmacSha1_80, 1));
    let mut goodbye = vec![0x81, 203, 0, 3, 0, 0, 0, 7];
    goodbye.extend([0; 20]);

    let refused = opened_rtcp(&mut receiver, &goodbye);

    assert_eq!(refused, Err(SrtpError::Unencrypted));
}

#[test]
fn strangers_take_no_memory_however_many_sources_they_make_up() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(&keys(suite, 1));
        let (mut stranger, _) = pair(&keys(suite, 2));
        for ssrc in 0..1000 {
            let forged = sealed(
                &mut stranger,
                &rtp(ssrc % 200, u16::try_from(ssrc).unwrap(), b"x"),
            );
            let refused = opened(&mut receiver, &forged.unwrap());
            assert_eq!(refused, Err(SrtpError::Authentication));
        }

        let packet = rtp(3, 9, b"hello");
        let protected = sealed(&mut sender, &packet).unwrap();

        assert_eq!(opened(&mut receiver, &protected), Ok(packet));
    }
}

#[test]
fn a_displaced_source_goes_on_and_its_old_packets_stay_replays() {
    let (mut sender, mut receiver) = pair(&keys(SrtpSuite::AeadAes128Gcm, 1));
    let sources = u32::try_from(limits::MEDIA_SOURCES_MAX * 3).unwrap();
    let first: Vec<_> = (0..sources)
        .map(|ssrc| sealed(&mut sender, &rtp(ssrc, 100, b"one")).unwrap())
        .collect();
    for packet in &first {
        opened(&mut receiver, packet).unwrap();
    }

    for (ssrc, old) in (0..).zip(&first) {
        assert_eq!(opened(&mut receiver, old), Err(SrtpError::Replayed));
        let packet = rtp(ssrc, 101, b"two");
        let protected = sealed(&mut sender, &packet).unwrap();
        assert_eq!(opened(&mut receiver, &protected), Ok(packet));
        let again = sealed(&mut sender, &rtp(ssrc, 101, b"other"));
        assert_eq!(again, Err(SrtpError::Replayed));
    }
}

#[test]
fn the_number_of_sources_has_an_end() {
    let (mut sender, mut receiver) = pair(&keys(SrtpSuite::AeadAes128Gcm, 1));
    let most = limits::MEDIA_SOURCES_MAX + limits::MEDIA_SOURCES_DISPLACED_MAX;
    for ssrc in 0..u32::try_from(most).unwrap() {
        let protected = sealed(&mut sender, &rtp(ssrc, 1, b"x")).unwrap();
        opened(&mut receiver, &protected).unwrap();
    }

    assert_eq!(
        sealed(&mut sender, &rtp(u32::MAX, 1, b"x")),
        Err(SrtpError::Sources)
    );
    let (mut other, _) = pair(&keys(SrtpSuite::AeadAes128Gcm, 1));
    let protected = sealed(&mut other, &rtp(u32::MAX, 1, b"x")).unwrap();
    assert_eq!(opened(&mut receiver, &protected), Err(SrtpError::Sources));
    assert!(sealed(&mut sender, &rtp(0, 2, b"x")).is_ok());
}

#[test]
fn whoever_has_one_of_several_keys_is_heard() {
    for suite in SUITES {
        let forks = [
            keys(suite, 1),
            keys(SUITES[0], 2),
            keys(SUITES[2], 3),
            keys(suite, 4),
        ];
        let mut receiver = Receiver::new(&forks).unwrap();

        for (ssrc, fork) in (0..).zip(&forks) {
            let mut sender = Sender::new(fork).unwrap();
            for sequence in [1, 2] {
                let packet = rtp(ssrc, sequence, b"hello");
                let protected = sealed(&mut sender, &packet).unwrap();
                assert_eq!(opened(&mut receiver, &protected), Ok(packet));
                assert!(opened(&mut receiver, &protected).is_err());
            }
        }
    }
}

#[test]
fn keys_that_lost_are_worth_nothing_and_the_one_that_won_goes_on() {
    let forks = [keys(SUITES[0], 1), keys(SUITES[2], 2)];
    let mut receiver = Receiver::new(&forks).unwrap();
    let [mut loser, mut winner] = forks.each_ref().map(|fork| Sender::new(fork).unwrap());
    let first = sealed(&mut winner, &rtp(1, 65_535, b"x")).unwrap();
    opened(&mut receiver, &first).unwrap();

    receiver.set_keys(&forks[1..]).unwrap();

    let stray = sealed(&mut loser, &rtp(2, 1, b"x")).unwrap();
    assert_eq!(
        opened(&mut receiver, &stray),
        Err(SrtpError::Authentication)
    );
    assert_eq!(opened(&mut receiver, &first), Err(SrtpError::Replayed));
    let next = sealed(&mut winner, &rtp(1, 0, b"x")).unwrap();
    assert!(
        opened(&mut receiver, &next).is_ok(),
        "the rollover counter was kept"
    );
    receiver.set_keys(&[]).unwrap();
    assert_eq!(opened(&mut receiver, &next), Err(SrtpError::NoKey));
}

#[test]
fn a_source_whose_first_packets_were_not_heard_may_have_wrapped_around() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(&keys(suite, 1));
        for sequence in [65_534, 65_535] {
            sealed(&mut sender, &rtp(1, sequence, b"lost")).unwrap();
        }

        for sequence in 0..3 {
            let packet = rtp(1, sequence, b"heard");
            let protected = sealed(&mut sender, &packet).unwrap();
            assert_eq!(opened(&mut receiver, &protected), Ok(packet));
        }
    }
}

#[test]
fn a_master_key_identifier_chooses_the_key() {
    for suite in SUITES {
        let one = with_mki(&keys(suite, 1), Mki::new(1, 4));
        let two = with_mki(&keys(suite, 2), Mki::new(2, 4));
        let mut receiver = Receiver::new(&[one.clone(), two.clone()]).unwrap();

        for key in [one, two] {
            let mut sender = Sender::new(&key).unwrap();
            let packet = rtp(u32::from(key.key()[0]), 5, b"hello");
            let report = rtcp(9, 4);
            let protected = sealed(&mut sender, &packet).unwrap();
            assert!(protected.ends_with(key.mki().unwrap().as_bytes()) == is_gcm(suite));
            assert_eq!(opened(&mut receiver, &protected), Ok(packet));
            let protected = sealed_rtcp(&mut sender, &report);
            assert_eq!(opened_rtcp(&mut receiver, &protected), Ok(report));
        }
    }
}

const fn is_gcm(suite: SrtpSuite) -> bool {
    matches!(suite, SrtpSuite::AeadAes128Gcm | SrtpSuite::AeadAes256Gcm)
}

#[test]
fn a_buffer_without_room_is_refused() {
    for suite in SUITES {
        let mut sender = Sender::new(&keys(suite, 1)).unwrap();
        let mut packet = rtp(1, 1, b"hello");
        let header = RtpHeader::decode(&packet).unwrap();
        let len = packet.len();

        assert_eq!(
            sender.seal_rtp(&mut packet, len, &header),
            Err(SrtpError::TooLong)
        );
        assert_eq!(
            sender.seal_rtcp(&mut rtcp(1, 2), 12),
            Err(SrtpError::TooLong)
        );
    }
}

fn suite() -> impl Strategy<Value = SrtpSuite> {
    prop::sample::select(&SUITES)
}

/// A header of any form, then a payload.
fn packet() -> impl Strategy<Value = (u8, Vec<u8>, Option<Vec<u8>>, Vec<u8>)> {
    let words = |most: usize| {
        prop::collection::vec(any::<[u8; 4]>(), 0..most).prop_map(|words| words.concat())
    };
    let payload = prop::collection::vec(any::<u8>(), 0..1300);
    (any::<u8>(), words(16), prop::option::of(words(5)), payload)
}

fn built(
    ssrc: u32,
    sequence: u16,
    (kind, contributing, extension, payload): &(u8, Vec<u8>, Option<Vec<u8>>, Vec<u8>),
) -> Vec<u8> {
    let count = u8::try_from(contributing.len() / 4).unwrap();
    let mut packet = rtp(ssrc, sequence, contributing);
    packet[0] |= count;
    packet[1] = *kind;
    if let Some(extension) = extension {
        packet[0] |= 0x10;
        // Not one of RFC 8285, whose elements the other implementation parses.
        packet.extend([0x12, 0x34]);
        packet.extend(u16::try_from(extension.len() / 4).unwrap().to_be_bytes());
        packet.extend(extension);
    }
    packet.extend(payload);
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Ours and another implementation's, both ways, over a wrap of the sequence number.
    #[test]
    fn another_implementation_protects_the_same_way(
        suite in suite(),
        seed: u8,
        ssrc: u32,
        start: u16,
        packets in prop::collection::vec((packet(), 0_u16..2000), 1..20),
    ) {
        let keys = keys(suite, seed);
        let (mut sender, mut receiver) = pair(&keys);
        let (mut other_sender, mut other_receiver) = (oracle(&keys), oracle(&keys));
        let mut sequence = start;
        for (parts, step) in packets {
            let packet = built(ssrc, sequence, &parts);
            sequence = sequence.wrapping_add(step + 1);

            let ours = sealed(&mut sender, &packet).unwrap();
            let others = other_sender.encrypt_rtp(&packet).unwrap();
            prop_assert_eq!(&ours[..], &others[..]);
            prop_assert_eq!(&other_receiver.decrypt_rtp(&ours).unwrap()[..], &packet[..]);
            prop_assert_eq!(opened(&mut receiver, &others), Ok(packet));
        }
    }

    #[test]
    fn another_implementation_protects_rtcp_the_same_way(
        suite in suite(),
        seed: u8,
        ssrc: u32,
        packets in prop::collection::vec(1_u8..200, 1..10),
    ) {
        let keys = keys(suite, seed);
        let (mut sender, mut receiver) = pair(&keys);
        let (mut other_sender, mut other_receiver) = (oracle(&keys), oracle(&keys));
        for words in packets {
            let packet = rtcp(ssrc, words);

            let ours = sealed_rtcp(&mut sender, &packet);
            let others = other_sender.encrypt_rtcp(&packet).unwrap();
            prop_assert_eq!(&other_receiver.decrypt_rtcp(&ours).unwrap()[..], &packet[..]);
            prop_assert_eq!(opened_rtcp(&mut receiver, &others), Ok(packet));
        }
    }

    /// Packets out of order, lost and repeated, over several turns of the sequence number: each is heard once.
    #[test]
    fn every_packet_is_heard_once_in_any_order(
        suite in suite(),
        start: u16,
        steps in prop::collection::vec((1_u64..4000, any::<prop::sample::Index>(), any::<bool>()), 1..80),
    ) {
        let (mut sender, mut receiver) = pair(&keys(suite, 1));
        let mut index = u64::from(start);
        let mut on_the_way: Vec<Vec<u8>> = Vec::new();
        let mut heard: Vec<Vec<u8>> = Vec::new();
        for (step, which, is_jump) in steps {
            index += if is_jump { step } else { 1 };
            let [.., a, b] = index.to_be_bytes();
            let packet = rtp(1, u16::from_be_bytes([a, b]), &index.to_be_bytes());
            on_the_way.push(sealed(&mut sender, &packet).unwrap());
            if on_the_way.len() > 5 || is_jump {
                let next = on_the_way.swap_remove(which.index(on_the_way.len()));
                if let Ok(packet) = opened(&mut receiver, &next) {
                    prop_assert!(!heard.contains(&packet));
                    heard.push(packet);
                }
                prop_assert!(opened(&mut receiver, &next).is_err());
            }
        }
    }
}
