//! Response heads: our parser beside `httparse`.

use fulmar_tests::properties::head::h1_heads_as_httparse;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    #[test]
    fn arbitrary_bytes_are_heads_to_both_or_to_none(data in prop::collection::vec(any::<u8>(), 0..200)) {
        h1_heads_as_httparse(&data);
    }

    #[test]
    fn pieces_in_any_order_are_read_alike(
        lenient in any::<u8>(),
        pieces in prop::collection::vec(0x60_u8.., 0..12),
    ) {
        h1_heads_as_httparse(&[&[lenient, 0, 0x78], &pieces[..], &[0x7f]].concat());
    }

    #[test]
    fn a_sound_head_with_mutated_bytes_is_read_alike(
        lenient in any::<u8>(),
        mutations in prop::collection::vec(any::<(u8, u8, u8)>(), 3),
        lines in prop::collection::vec(0x81_u8..=0x86, 0..12),
        ending in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mutations = mutations.iter().flat_map(|&(a, b, c)| [a, b, c]);
        let mut data = vec![lenient, 3];
        data.extend(mutations);
        data.push(0x78);
        data.extend(lines);
        data.push(0x7e);
        // A field line is read in another way where few bytes follow.
        data.extend(ending);
        h1_heads_as_httparse(&data);
    }
}

#[test]
fn every_byte_at_every_place_of_an_ordinary_head_is_read_alike() {
    let head = b"200 OK\r\ndate: Tue, 24 Nov 2026 04:00:00 GMT\r\nx-request-id: 7b1d9f0e4c5a\r\nvary: a\r\n\r\n";
    for lenient in 0..2 {
        for place in 0..head.len() as u16 + 9 {
            for byte in 0..=255 {
                let [high, low] = place.to_be_bytes();
                for body in [0, 80] {
                    let mut data = vec![lenient, 1, high, low, byte];
                    data.extend_from_slice(b"200 OK\r\n");
                    data.extend_from_slice(&spelt(&head[8..]));
                    data.resize(data.len() + body, b'.');
                    h1_heads_as_httparse(&data);
                }
            }
        }
    }
}

/// Capital letters: small ones stand for pieces.
fn spelt(text: &[u8]) -> Vec<u8> {
    text.to_ascii_uppercase()
}
