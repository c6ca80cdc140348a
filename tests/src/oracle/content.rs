//! Bodies with a content coding, decoded: two proxies need not compress alike, but to the same content.

use std::io::Read;

use zstd_safe::{DCtx, InBuffer, OutBuffer};

use super::wire::printable;

/// Most bytes that are decoded.
const MOST: usize = 16 << 20;

/// The content of a body, if its coding is one of those that are compared by content: as text, where what is missing
/// of a body that ends too soon is said. A body that is not coded as its head says is left as it is.
pub fn decoded(headers: &[(String, String)], body: &[u8]) -> Option<Vec<u8>> {
    let coding = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-encoding"))?;
    let mut out = Vec::new();
    let whole = match coding.1.as_str() {
        "gzip" => read(flate2::read::GzDecoder::new(body), &mut out),
        "br" => read(brotli::Decompressor::new(body, 4096), &mut out),
        "zstd" => zstd(body, &mut out),
        _ => return None,
    };
    if !whole {
        if out.is_empty() && !body.is_empty() && !begins_as(&coding.1, body) {
            return None;
        }
        out.extend_from_slice(format!("<the rest of the {} body is missing>", coding.1).as_bytes());
    }
    Some(out)
}

/// The text of a body that is compared by content.
pub fn text(headers: &[(String, String)], body: &[u8]) -> String {
    decoded(headers, body).map_or_else(|| printable(body), |content| printable(&content))
}

/// Brotli has no mark at its beginning.
fn begins_as(coding: &str, body: &[u8]) -> bool {
    match coding {
        "gzip" => body.starts_with(&[0x1f, 0x8b]),
        "zstd" => body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
        _ => false,
    }
}

/// Everything that can be read; whether that is all.
fn read(from: impl Read, out: &mut Vec<u8>) -> bool {
    from.take(MOST as u64).read_to_end(out).is_ok()
}

fn zstd(body: &[u8], out: &mut Vec<u8>) -> bool {
    let mut context = DCtx::create();
    let mut input = InBuffer::around(body);
    loop {
        out.reserve(1 << 16);
        let at = out.len();
        match context.decompress_stream(&mut OutBuffer::around_pos(out, at), &mut input) {
            Ok(0) => return true,
            Ok(_) if out.len() < MOST && (input.pos() < body.len() || out.len() == out.capacity()) => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(coding: &str, body: &[u8]) -> Option<String> {
        let headers = [("Content-Encoding".to_owned(), coding.to_owned())];
        decoded(&headers, body).map(|content| String::from_utf8_lossy(&content).into_owned())
    }

    #[test]
    fn a_body_is_its_content_as_far_as_it_came() {
        let mut gzip = Vec::new();
        flate2::read::GzEncoder::new(&b"hello"[..], flate2::Compression::fast())
            .read_to_end(&mut gzip)
            .unwrap();
        assert_eq!(seen("gzip", &gzip).as_deref(), Some("hello"));
        let cut = gzip.get(..gzip.len() - 4).unwrap();
        assert_eq!(seen("gzip", cut).as_deref(), Some("hello<the rest of the gzip body is missing>"));
        let mut zstd = Vec::with_capacity(100);
        zstd_safe::compress(&mut zstd, b"hello", 3).unwrap();
        assert_eq!(seen("zstd", &zstd).as_deref(), Some("hello"));
        let mut brotli = Vec::new();
        brotli::CompressorReader::new(&b"hello"[..], 100, 3, 18).read_to_end(&mut brotli).unwrap();
        assert_eq!(seen("br", &brotli).as_deref(), Some("hello"));
        assert_eq!(seen("gzip", b"hello"), None);
        assert_eq!(seen("identity", b"hello"), None);
    }
}
