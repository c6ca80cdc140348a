//! HPACK (RFC 7541): header fields compressed by tables that both ends keep.
//!
//! | file | holds |
//! | --- | --- |
//! | `huffman` | the code of strings |
//! | `table` | the static table, and the dynamic one of a decoder |
//! | `decode` | a header block into fields |
//! | `encode` | fields into a header block |

mod decode;
mod encode;
mod huffman;
mod table;

pub(super) use decode::{Decoder, Field};
pub(super) use encode::{Encoder, Worth};

/// Why a header block cannot be decoded: the connection ends with COMPRESSION_ERROR (RFC 9113 section 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum HpackError {
    /// The block ends within a field.
    #[error("a header block ends within a field")]
    Cut,
    /// An integer beyond 2^28.
    #[error("an integer of a header block is too large")]
    Integer,
    /// No entry has that index.
    #[error("a header block names an entry that is not in the table")]
    Index,
    /// A string that is no Huffman code.
    #[error("a string of a header block is no Huffman code")]
    Huffman,
    /// A table size above what was allowed, or not at the block's start.
    #[error("a header block changes the table's size against the rules")]
    Size,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::names::Id;
    use proptest::prelude::*;

    type Seen = Vec<(Vec<u8>, Vec<u8>)>;

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Seen, HpackError> {
        let mut seen = Vec::new();
        decoder.decode(block, |field| seen.push((field.name.to_vec(), field.value.to_vec())))?;
        Ok(seen)
    }

    fn text(fields: &[(&str, &str)]) -> Seen {
        fields.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
    }

    #[test]
    fn requests_of_the_rfc() {
        // RFC 7541 appendix C.4: three requests on one connection, with Huffman coding.
        let mut decoder = Decoder::new(4096);
        let first = [
            0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4,
            0xff,
        ];
        let want =
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        assert_eq!(decoded(&mut decoder, &first).unwrap(), text(&want));
        let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        let want = [&want[..], &[("cache-control", "no-cache")]].concat();
        assert_eq!(decoded(&mut decoder, &second).unwrap(), text(&want));
        let third = [
            0x82, 0x87, 0x85, 0xbf, 0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f, 0x89, 0x25,
            0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf,
        ];
        let want = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(decoded(&mut decoder, &third).unwrap(), text(&want));
        assert_eq!(decoder.table_size(), 164);
    }

    #[test]
    fn bad_blocks_are_refused() {
        let bad: [(&[u8], HpackError); 8] = [
            (&[0x80], HpackError::Index),
            (&[0xff, 0x50], HpackError::Index),
            (&[0x41], HpackError::Cut),
            (&[0x41, 0x05, b'a'], HpackError::Cut),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], HpackError::Integer),
            (&[0x3f, 0xe2, 0x1f], HpackError::Size),
            (&[0x82, 0x20], HpackError::Size),
            (&[0x00, 0x81, 0xff, 0x00], HpackError::Huffman),
        ];
        for (block, error) in bad {
            assert_eq!(decoded(&mut Decoder::new(4096), block).unwrap_err(), error, "{block:x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            blocks in prop::collection::vec(prop::collection::vec(("[a-c]{1,3}", "[x-z]{0,3}"), 0..12), 1..20),
            sizes in prop::collection::vec(0u32..300, 20),
        ) {
            let mut encoder = Encoder::new();
            let mut decoder = Decoder::new(4096);
            for (block, size) in blocks.iter().zip(sizes) {
                encoder.set_table_size(size);
                let mut bytes = Vec::new();
                encoder.begin(&mut bytes);
                for (name, value) in block {
                    encoder.field(&mut bytes, Id::Other, name.as_bytes(), value.as_bytes(), Worth::Keeping);
                }
                let want: Seen = block.iter().map(|(n, v)| (n.clone().into(), v.clone().into())).collect();
                prop_assert_eq!(decoded(&mut decoder, &bytes).unwrap(), want);
                prop_assert!(decoder.table_size() <= size as usize);
            }
        }

        #[test]
        fn no_bytes_break_the_decoder(block in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new(4096);
            // Whatever the verdict, the table keeps its bound.
            let _ = decoded(&mut decoder, &block);
            prop_assert!(decoder.table_size() <= 4096);
        }
    }
}
