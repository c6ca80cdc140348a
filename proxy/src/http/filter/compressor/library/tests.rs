use super::*;
use proptest::prelude::*;
use std::io::Read;

const GZIP: Library = Library::Gzip(None, 12);
const BROTLI: Library = Library::Brotli(Brotli {
    quality: 3,
    mode: Mode::Generic,
    window_bits: 18,
    block_bits: 24,
    plain_literals: false,
});
const ZSTD: Library = Library::Zstd(Zstd { level: 3, checksum: false, strategy: 0 });

fn decoded(library: Library, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let read = match library {
        Library::Gzip(..) => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).map(|_| ()),
        Library::Brotli(_) => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out).map(|_| ()),
        Library::Zstd(_) => {
            out.reserve(1 << 20);
            zstd_safe::decompress(&mut out, bytes)
                .map(|_| ())
                .map_err(|_| std::io::ErrorKind::InvalidData.into())
        }
    };
    read.unwrap();
    out
}

/// What can be read before the end.
fn so_far(library: Library, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match library {
        Library::Gzip(..) => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut out)),
        Library::Brotli(_) => drop(brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out)),
        Library::Zstd(_) => {
            out.reserve(1 << 20);
            let mut input = InBuffer::around(bytes);
            let mut context = zstd_safe::DCtx::create();
            context.decompress_stream(&mut OutBuffer::around(&mut out), &mut input).unwrap();
        }
    }
    out
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20_000),
        proptest::collection::vec(97_u8..101, 0..60_000),
        (any::<u8>(), 0_usize..200_000).prop_map(|(byte, n)| vec![byte; n]),
    ]
}

fn library() -> impl Strategy<Value = Library> {
    let brotli = (0_u32..=11, 10_u32..=24, 16_u32..=24, any::<bool>()).prop_map(
        |(quality, window_bits, block_bits, plain_literals)| {
            Library::Brotli(Brotli { quality, mode: Mode::Text, window_bits, block_bits, plain_literals })
        },
    );
    prop_oneof![
        (proptest::option::of(0_u32..=9), 9_u8..=15).prop_map(|(level, window)| Library::Gzip(level, window)),
        brotli,
        (1_i32..=19, any::<bool>(), 0_u8..=9).prop_map(|(level, checksum, strategy)| Library::Zstd(Zstd {
            level,
            checksum,
            strategy
        })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_pieces_of_any_body_are_the_body_again(
        library in library(),
        body in body(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        told in any::<bool>(),
        ends_alone in any::<bool>(),
    ) {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        places.push(body.len());
        places.sort_unstable();
        let mut encoder = library.encoder(told.then_some(body.len() as u64)).unwrap();
        let (mut out, mut from) = (Vec::new(), 0);
        for (i, to) in places.iter().enumerate() {
            let last = i + 1 == places.len() && !ends_alone;
            out.extend(encoder.part(&body[from..*to], last).unwrap());
            from = *to;
        }
        if ends_alone {
            out.extend(encoder.part(b"", true).unwrap());
        }
        prop_assert_eq!(decoded(library, &out), body);
        prop_assert!(encoder.part(b"more", true).is_none(), "it has ended");
    }
}

#[test]
fn what_went_in_can_be_read_at_once() {
    for library in [GZIP, BROTLI, ZSTD] {
        let mut encoder = library.encoder(None).unwrap();
        let (mut out, mut sent) = (Vec::new(), Vec::new());
        for message in ["event: 1\n\n", "event: 2\n\n", "", "x"] {
            out.extend(encoder.part(message.as_bytes(), false).unwrap());
            sent.extend_from_slice(message.as_bytes());
            assert_eq!(so_far(library, &out), sent, "{library:?}");
        }
    }
}

#[test]
fn encoders_have_a_budget_and_give_it_back() {
    let mut kept = Vec::new();
    while let Some(encoder) = BROTLI.encoder(None) {
        kept.push(encoder);
        assert!(kept.len() < 1000);
    }
    assert!(kept.len() > 16, "{}", kept.len());
    assert!(GZIP.encoder(None).is_some(), "a small one still fits");
    drop(kept);
    assert_eq!(TAKEN.get(), 0);
    assert!(BROTLI.memory(Some(100)) < BROTLI.memory(None) && ZSTD.memory(Some(100)) < 8 << 10);
}
