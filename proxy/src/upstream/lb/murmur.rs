//! MurmurHash2, 64 bits, as Envoy's `MURMUR_HASH_2` computes it (the hash of libstdc++'s `std::hash<std::string>`).

/// The seed that libstdc++ uses.
pub(super) const SEED: u64 = 0xc70f_6907;

const MUL: u64 = 0xc6a4_a793_5bd1_e995;

fn mix(v: u64) -> u64 {
    v ^ (v >> 47)
}

/// Hash of bytes.
pub(super) fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(MUL);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let data = mix(u64::from_le_bytes(*word).wrapping_mul(MUL)).wrapping_mul(MUL);
        hash = (hash ^ data).wrapping_mul(MUL);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MUL);
    }
    mix(mix(hash).wrapping_mul(MUL))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: [(&str, u64); 5] = [
        ("", 6_142_509_188_972_423_790),
        ("foo", 9_631_199_822_919_835_226),
        ("bar", 11_474_628_671_133_349_555),
        ("127.0.0.1:18001_0", 16_343_393_254_300_229_796),
        ("12345678", 10_113_836_418_918_046_885),
    ];

    /// Values computed with g++ 12's `std::hash<std::string>`.
    #[test]
    fn as_the_cpp_library_hashes() {
        for (text, want) in VECTORS {
            assert_eq!(hash(text.as_bytes(), SEED), want, "{text}");
        }
    }
}
