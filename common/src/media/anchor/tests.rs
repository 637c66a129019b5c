//! Offer and answer as sentences: what each side sends, what the other side gets, what the engine is told.

mod calls;
mod changes;
mod forks;
mod lines;
mod scene;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_is_sent_no_port_is_lost_and_no_stream_is_unprotected(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        super::fuzz::steps(&bytes);
    }
}
