//! What a NACK says.

use std::fmt::Write;
use std::sync::Arc;
use weir_proto::google::rpc::Status;

/// Longest text of a NACK in bytes; what does not fit is counted.
pub const MAX_NACK: usize = 16 * 1024;

/// Code of a NACK: Envoy's `INTERNAL`.
const CODE: i32 = 13;

/// A resource that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub name: Arc<str>,
    /// Field path and reason.
    pub why: String,
}

/// The error of a NACK: every refused resource, as far as the text may go.
pub(crate) fn status(refused: &[Refusal], of: usize) -> Status {
    let mut message = format!("{} of {of} resources refused, the others are in force", refused.len());
    for (index, Refusal { name, why }) in refused.iter().enumerate() {
        if message.len().saturating_add(name.len()).saturating_add(why.len()) > MAX_NACK {
            // Writing into a string does not fail.
            let _ = write!(message, "; and {} more", refused.len().saturating_sub(index));
            break;
        }
        let _ = write!(message, "; {name}: {why}");
    }
    Status { code: CODE, message, details: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_every_resource_until_it_is_full() {
        let refusal = |name: &str| Refusal { name: name.into(), why: "connect_timeout: negative".into() };
        let few = status(&[refusal("a"), refusal("b")], 5).message;
        assert_eq!(
            few,
            "2 of 5 resources refused, the others are in force; a: connect_timeout: negative; b: connect_timeout: negative"
        );
        let many: Vec<Refusal> = (0..5000).map(|i| refusal(&format!("cluster-{i}"))).collect();
        let text = status(&many, 5000).message;
        assert!(text.len() < MAX_NACK + 100 && text.ends_with(" more"), "{}", text.len());
    }
}
