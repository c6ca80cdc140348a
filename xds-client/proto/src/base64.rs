//! Base64 (RFC 4648) as protobuf's JSON mapping uses it: written in the standard alphabet with padding; read in the
//! standard or the URL alphabet, padding optional.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `bytes` as padded base64.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let mut group = [0_u8; 3];
        for (to, from) in group.iter_mut().zip(chunk) {
            *to = *from;
        }
        let [a, b, c] = group;
        let sextets = [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63];
        for (index, sextet) in sextets.into_iter().enumerate() {
            let letter = if index > chunk.len() { b'=' } else { letter(sextet) };
            out.push(char::from(letter));
        }
    }
    out
}

fn letter(sextet: u8) -> u8 {
    ALPHABET.get(usize::from(sextet)).copied().unwrap_or(b'=')
}

/// The bytes of a base64 text.
///
/// # Errors
/// The offset of what is not base64.
pub fn decode(text: &str) -> Result<Vec<u8>, usize> {
    let digits = text.trim_end_matches('=');
    if text.len().saturating_sub(digits.len()) > 2 || digits.len() % 4 == 1 {
        return Err(digits.len());
    }
    let mut out = Vec::with_capacity(digits.len().saturating_mul(3) / 4);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for (offset, byte) in digits.bytes().enumerate() {
        let sextet = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return Err(offset),
        };
        bits = (bits << 6 | u32::from(sextet)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(((bits >> count) & 0xff) as u8);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_rfc_4648() {
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in table {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded), Ok(plain.as_bytes().to_vec()));
            assert_eq!(decode(coded.trim_end_matches('=')), Ok(plain.as_bytes().to_vec()));
        }
        assert_eq!(decode("-_+/"), Ok(vec![0xfb, 0xff, 0xbf]));
        assert_eq!(decode("Zm 9vY"), Err(2));
        assert_eq!(decode("Zm9vY"), Err(5));
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Ok(all));
    }
}
