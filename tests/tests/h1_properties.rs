//! The HTTP/1.1 connection, on random scripts.

use bytes::BytesMut;
use fulmar_core::h1::{Connection, Limits, Scratch};
use fulmar_tests::properties::h1::{h1_exchange, h1_response};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_segmentation_of_any_bytes_tells_the_same(data in prop::collection::vec(any::<u8>(), 0..80)) {
        h1_response(&data);
    }

    #[test]
    fn fragments_of_responses_in_any_order_tell_the_same(
        first in any::<[u8; 5]>(),
        rest in prop::collection::vec(0x60_u8..=0xff, 0..14),
    ) {
        h1_response(&[&first[..], &[1], &rest].concat());
    }

    #[test]
    fn a_sound_head_and_any_fragments_tell_the_same(
        first in any::<[u8; 5]>(),
        fields in prop::collection::vec(0x60_u8 + 13..=0x60 + 27, 0..4),
        body in prop::collection::vec(0x60_u8 + 28..=0x60 + 37, 0..8),
    ) {
        h1_response(&[&first[..], &[1, 0x60], &fields, &[0x60 + 10], &body].concat());
    }

    #[test]
    fn commands_and_input_in_any_order_make_sound_exchanges(data in prop::collection::vec(any::<u8>(), 0..600)) {
        h1_exchange(&data);
    }
}

#[test]
fn an_idle_poll_tells_nothing_and_changes_nothing() {
    let mut connection = Connection::new(Limits::default());
    let (mut rx, mut scratch) = (BytesMut::with_capacity(64), Scratch::default());
    for _ in 0..3 {
        assert_eq!(connection.poll_event(&mut rx, &mut scratch), Ok(None));
    }
    assert!(connection.is_idle() && rx.capacity() == 64);
}

/// Found by fuzzing: a status line that ends within its version, byte by byte and at once.
#[test]
fn a_status_line_that_ends_early_is_wrong_in_the_same_way_however_cut() {
    h1_response(b"\n\xdd\x8a`+=\nHTTP/1.1\x94\x94\x94 200 \0\xff\xff\xff\0\0\x19\xd9\xdd");
    for line in [
        "HTTP/1.1\n 200 OK....",
        "HTTP/1\n.........",
        "HT\n..............",
        "HTTP/1.1 2\n..........",
    ] {
        let mut data = vec![0, 0, 0, 0, 0, 0];
        data.extend_from_slice(line.as_bytes());
        h1_response(&data);
    }
}
