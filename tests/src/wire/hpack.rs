//! As much HPACK (RFC 7541) as a test client needs: header blocks in literals, and the status of a response.

/// A field as a literal without indexing, new name, no Huffman code: any bytes can be sent.
pub fn literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    string(out, name);
    string(out, value);
}

/// The same, but entered into the peer's dynamic table.
pub fn literal_indexed(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0x40);
    string(out, name);
    string(out, value);
}

/// A block of literals.
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        literal(&mut out, name, value);
    }
    out
}

/// An integer with a prefix of `bits` bits under the pattern `first` (RFC 7541 5.1).
pub fn integer(out: &mut Vec<u8>, first: u8, bits: u8, value: usize) {
    let limit = (1usize << bits) - 1;
    if value < limit {
        out.push(first | value as u8);
        return;
    }
    out.push(first | limit as u8);
    let mut rest = value - limit;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// The `:status` at the beginning of a response's block, from a peer that was told to use no dynamic table.
pub fn status(block: &[u8]) -> Option<u16> {
    let mut rest = block;
    // Size updates come first (RFC 7541 4.2).
    while let Some((first, after)) = rest.split_first() {
        if first & 0xe0 != 0x20 {
            break;
        }
        rest = after;
        if first & 0x1f == 0x1f {
            while let Some((byte, after)) = rest.split_first() {
                rest = after;
                if byte & 128 == 0 {
                    break;
                }
            }
        }
    }
    match *rest.first()? {
        indexed @ 0x88..=0x8e => {
            [200, 204, 206, 304, 400, 404, 500].get(usize::from(indexed - 0x88)).copied()
        }
        // A literal whose name is entry 8 to 14 of the static table: incremental, without indexing, never indexed.
        first if (0x48..=0x4e).contains(&first) || matches!(first & 0x0f, 8..=14) && first < 0x20 => {
            digits(rest.get(1..)?)
        }
        _ => None,
    }
}

/// Three digits as a string literal, Huffman coded or not.
fn digits(string: &[u8]) -> Option<u16> {
    let (first, text) = string.split_first()?;
    let text = text.get(..usize::from(first & 0x7f))?;
    if first & 0x80 == 0 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    // '0' to '2' have 5 bits (00000 to 00010), '3' to '9' have 6 (011001 to 011111).
    let mut bits = text.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1));
    let mut code = 0u16;
    for _ in 0..3 {
        let mut take =
            |count| (0..count).try_fold(0u16, |sum, _| bits.next().map(|bit| sum * 2 + u16::from(bit)));
        let five = take(5)?;
        code = code * 10 + if five < 3 { five } else { (five * 2 + take(1)?).checked_sub(0b011_001)? + 3 };
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x20, 0x8d]), Some(404));
        assert_eq!(status(&[0x48, 3, b'5', b'0', b'3']), Some(503));
        // "302" in Huffman code, from RFC 7541 C.6.1.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[0x08, 3, b'4', b'3', b'1']), Some(431));
    }

    #[test]
    fn integers() {
        let mut out = Vec::new();
        integer(&mut out, 0, 5, 1337);
        assert_eq!(out, [31, 154, 10]);
    }
}
