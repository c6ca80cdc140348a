//! The fields of an access-log line and what kind each is.

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `[2023-10-31T14:52:14.279Z]`.
    Time,
    /// Digits.
    Number,
    /// An IPv4 address with a port.
    Socket,
    /// A UUID.
    Uuid,
    /// `-`: nothing.
    Nothing,
    /// Anything else.
    Text,
}

/// The fields of a line: divided by single spaces, except inside double quotes. Quotes stay.
pub fn fields(line: &str) -> Vec<&str> {
    let mut quoted = false;
    line.split(|c: char| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    })
    .collect()
}

/// The kind of a field, and whether it is quoted.
pub fn kind(field: &str) -> (Kind, bool) {
    let inner = field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let text = inner.unwrap_or(field);
    let kind = if text == "-" {
        Kind::Nothing
    } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Kind::Number
    } else if text.parse::<std::net::SocketAddrV4>().is_ok() {
        Kind::Socket
    } else if is(text, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh") {
        Kind::Uuid
    } else if is(text, "[dddd-dd-ddTdd:dd:dd.dddZ]") {
        Kind::Time
    } else {
        Kind::Text
    };
    (kind, inner.is_some())
}

/// Whether the text has the pattern's characters, where `d` is a digit and `h` a hexadecimal one.
fn is(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            b'h' => byte.is_ascii_hexdigit(),
            other => byte == other,
        })
}

#[cfg(test)]
mod tests {
    use super::{Kind, fields, kind};

    #[test]
    fn kinds_of_fields() {
        let line = r#"[2023-10-31T14:52:14.279Z] "GET / HTTP/2" 200 "-" 127.0.0.1:80 inbound|1|| "6d293d32-af96-9f87-a8e4-6665632f7236""#;
        let kinds: Vec<_> = fields(line).into_iter().map(kind).collect();
        assert_eq!(
            kinds,
            [
                (Kind::Time, false),
                (Kind::Text, true),
                (Kind::Number, false),
                (Kind::Nothing, true),
                (Kind::Socket, false),
                (Kind::Text, false),
                (Kind::Uuid, true),
            ]
        );
    }
}
