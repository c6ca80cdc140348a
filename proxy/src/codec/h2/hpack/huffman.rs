//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B). The code is canonical: the lengths say all of it,
//! and the tables are made of them at compile time.

use super::HpackError;

/// Longest code in bits.
const LONGEST: usize = 30;

/// Bits that one look at the first table resolves.
const SHORT: u32 = 8;

/// The symbol that must not occur (end of string).
const EOS: usize = 256;

/// Bits of each symbol's code (RFC 7541 appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15,
    6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22,
    20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23,
    23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22,
    22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26,
    27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27,
    26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

struct Code {
    /// Symbol and bits of a code that begins so; no bits: a longer one.
    short: [(u8, u8); 1 << SHORT],
    /// Symbols by length, then by value.
    sorted: [u16; 257],
    /// For each length: the first code above it, at the left of [`LONGEST`] bits.
    limit: [u32; LONGEST + 1],
    /// For each length: its first code, and that one's place among `sorted`.
    first: [(u32, u16); LONGEST + 1],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut code = Code {
        short: [(0, 0); 1 << SHORT],
        sorted: [0; 257],
        limit: [0; LONGEST + 1],
        first: [(0, 0); LONGEST + 1],
    };
    let (mut next, mut place, mut length) = (0u32, 0usize, 1usize);
    while length <= LONGEST {
        next <<= 1;
        code.first[length] = (next, place as u16);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.sorted[place] = symbol as u16;
                place += 1;
                if length <= SHORT as usize {
                    let room = SHORT - length as u32;
                    let mut at = next << room;
                    while at < (next + 1) << room {
                        code.short[at as usize] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                next += 1;
            }
            symbol += 1;
        }
        code.limit[length] = next << (LONGEST - length);
        length += 1;
    }
    code
}

/// Symbol and bits of the code that a window of [`LONGEST`] bits begins with.
fn look(window: u32) -> Option<(usize, u32)> {
    let short = CODE.short.get((window >> (LONGEST as u32 - SHORT)) as usize);
    if let Some((symbol, bits @ 1..)) = short {
        return Some((usize::from(*symbol), u32::from(*bits)));
    }
    let longer = (SHORT as usize).saturating_add(1)..=LONGEST;
    let (length, _) = longer.zip(CODE.limit.iter().skip(SHORT as usize + 1)).find(|(_, l)| window < **l)?;
    let (first, place) = CODE.first.get(length)?;
    let code = window >> LONGEST.saturating_sub(length);
    let at = usize::from(*place).saturating_add(code.checked_sub(*first)? as usize);
    Some((usize::from(*CODE.sorted.get(at)?), u32::try_from(length).ok()?))
}

/// Decodes a whole string onto `out`.
pub(super) fn decode(string: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    const WINDOW: u32 = LONGEST as u32;
    const MASK: u64 = (1 << LONGEST) - 1;
    let mut bytes = string.iter();
    let (mut held, mut bits) = (0u64, 0u32);
    loop {
        while bits < WINDOW {
            let Some(byte) = bytes.next() else { break };
            held = held << 8 | u64::from(*byte);
            bits = bits.saturating_add(8);
        }
        let window = if bits >= WINDOW {
            (held >> bits.saturating_sub(WINDOW)) & MASK
        } else {
            // The end: padding is the most significant bits of EOS, all ones.
            let missing = WINDOW.saturating_sub(bits);
            ((held << missing) | ((1u64 << missing) - 1)) & MASK
        };
        if bits < 8 && window == MASK {
            return Ok(());
        }
        match look(window as u32) {
            Some((symbol, used)) if used <= bits && symbol != EOS => {
                out.push(symbol as u8);
                bits = bits.saturating_sub(used);
            }
            _ => return Err(HpackError::Huffman),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &[u8]) -> Vec<u8> {
        let (mut out, mut held, mut bits) = (Vec::new(), 0u64, 0u32);
        for byte in text {
            let at = CODE.sorted.iter().position(|s| *s == u16::from(*byte)).unwrap();
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let (first, place) = CODE.first[length];
            held = held << length | u64::from(first + (at as u32 - u32::from(place)));
            bits += length as u32;
            while bits >= 8 {
                bits -= 8;
                out.push((held >> bits) as u8);
            }
        }
        if bits > 0 {
            out.push(((held << (8 - bits)) | ((1 << (8 - bits)) - 1)) as u8);
        }
        out
    }

    #[test]
    fn examples_of_the_rfc() {
        let mut out = Vec::new();
        let example = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        decode(&example, &mut out).unwrap();
        assert_eq!(out, b"www.example.com");
        assert_eq!(encode(b"www.example.com"), example);
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for text in [&all[..], b"", b"a", b"no-cache"] {
            let mut out = Vec::new();
            decode(&encode(text), &mut out).unwrap();
            assert_eq!(out, text);
        }
    }

    #[test]
    fn bad_ends_are_refused() {
        let mut out = Vec::new();
        for bad in [&[0xff, 0xff, 0xff, 0xff][..], &[0xff], &[0b0001_1000], &[0b0001_1111, 0xff]] {
            assert!(decode(bad, &mut out).is_err(), "{bad:?}");
        }
    }
}
