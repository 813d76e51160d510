//! Masking (RFC 6455 section 5.3), eight bytes at a time.

use bytes::Bytes;

/// Bytes that are copied and masked at once: of a fixed number, which takes fewer steps.
const BLOCK: usize = 256;

/// The bytes masked: in place where nobody else has them, else in a copy.
pub(super) fn masked(bytes: Bytes, key: [u8; 4]) -> Bytes {
    match bytes.try_into_mut() {
        Ok(mut own) => {
            mask(&mut own, key);
            own.freeze()
        }
        Err(shared) => masked_copy(&shared, key).into(),
    }
}

fn masked_copy(bytes: &[u8], key: [u8; 4]) -> Vec<u8> {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    // With room for the rest.
    let mut copy = Vec::with_capacity(blocks.len() + 1);
    copy.extend(blocks.iter().map(|block| {
        let mut block = *block;
        mask(&mut block, key);
        block
    }));
    let mut copy = copy.into_flattened();
    let at = copy.len();
    copy.extend_from_slice(rest);
    mask(&mut copy[at..], key);
    copy
}

/// XORs the bytes with the key, over and over, from its first byte on.
#[inline]
pub(super) fn mask(bytes: &mut [u8], key: [u8; 4]) {
    let half = u64::from(u32::from_ne_bytes(key));
    let word = half << 32 | half;
    // A fixed number of words becomes a few wide instructions, without a loop's entry and exit.
    let (blocks, rest) = bytes.as_chunks_mut::<64>();
    for block in blocks {
        mask_words(block.as_chunks_mut().0, word);
    }
    let (words, rest) = rest.as_chunks_mut();
    mask_words(words, word);
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[inline]
fn mask_words(words: &mut [[u8; 8]], word: u64) {
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_masked_with_its_byte_of_the_key() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in (0..70_usize).chain(2 * BLOCK - 5..2 * BLOCK + 5) {
            let plain: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
            let mut in_place = plain.clone();
            mask(&mut in_place, key);
            for (at, byte) in in_place.iter().enumerate() {
                assert_eq!(*byte, plain[at] ^ key[at % 4], "byte {at} of {len}");
            }
            let shared = Bytes::from(plain.clone());
            assert_eq!(masked(shared.clone(), key), in_place, "a copy of {len}");
            assert_eq!(shared, plain);
            assert_eq!(masked(shared, key), in_place, "{len} in place");
        }
    }

    #[test]
    fn the_example_of_rfc_6455_section_5_7() {
        let mut bytes = *b"Hello";
        mask(&mut bytes, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(bytes, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }
}
