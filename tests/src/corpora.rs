//! Where the shared test data is: `WEIR_CORPORA`, else `../shared/corpora` beside the repository.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The folder of one corpus. The error is a reason for a skip: it contains the word `corpora`.
pub fn folder(name: &str) -> anyhow::Result<PathBuf> {
    let root = match std::env::var_os("WEIR_CORPORA").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
    };
    let folder = root.join(name);
    anyhow::ensure!(
        folder.is_dir(),
        "the shared corpora are not here: {} is not a folder; set WEIR_CORPORA",
        folder.display()
    );
    Ok(folder)
}

/// A JSON file of a corpus.
pub fn json(path: &Path) -> anyhow::Result<serde_json::Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Decodes standard base64 with padding.
pub fn base64(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => anyhow::bail!("byte {byte:#04x} is not base64"),
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xff) as u8);
        }
    }
    Ok(out)
}

/// Decodes hexadecimal digits.
pub fn hex(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    anyhow::ensure!(
        digits.len() == text.trim().len() && digits.len().is_multiple_of(2),
        "'{text}' is not hexadecimal"
    );
    Ok(digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn decoders() {
        assert_eq!(super::base64("R0VUIC8=").unwrap(), b"GET /");
        assert_eq!(super::hex("00FFa1").unwrap(), [0, 255, 0xa1]);
        assert!(super::hex("0g").is_err() && super::base64("*").is_err());
    }
}
