//! A line of the access log in Istio's format.

/// What the test reads of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Line {
    /// `%RESPONSE_CODE%`.
    pub code: u16,
    /// `%RESPONSE_FLAGS%`.
    pub flags: String,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: String,
    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub failure: String,
    /// `%UPSTREAM_HOST%`.
    pub host: String,
    /// `%UPSTREAM_CLUSTER_RAW%`.
    pub cluster: String,
    /// `%DOWNSTREAM_REMOTE_ADDRESS%`.
    pub remote: String,
    /// `%ROUTE_NAME%`.
    pub route: String,
}

/// Words; what stands in quotation marks or brackets is one.
fn words(line: &str) -> Vec<&str> {
    let mut rest = line.trim();
    let mut words = Vec::new();
    while let Some(first) = rest.chars().next() {
        let close = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        let inside = if close.is_some() { rest.get(1..).unwrap_or_default() } else { rest };
        let (word, after) = inside.split_once(close.unwrap_or(' ')).unwrap_or((inside, ""));
        words.push(word);
        rest = after.trim_start();
    }
    words
}

impl Line {
    /// Reads a line; none when it is of another format.
    pub fn parse(line: &str) -> Option<Self> {
        let words = words(line);
        let word = |at: usize| words.get(at).map(|word| (*word).to_owned());
        (words.len() == 22).then_some(())?;
        Some(Self {
            code: word(2)?.parse().ok()?,
            flags: word(3)?,
            details: word(4)?,
            failure: word(6)?,
            host: word(15)?,
            cluster: word(16)?,
            remote: word(19)?,
            route: word(21)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let text = r#"[2026-11-22T03:00:00.000Z] "GET /a b HTTP/1.1" 503 UF details - "reason with words" 0 91 1 - "-" "-" "id" "host:8080" "10.1.1.11:8080" outbound|8080||x - 10.9.0.11:8080 10.1.1.50:4321 - default"#;
        let line = Line::parse(text).unwrap();
        assert_eq!((line.code, &*line.flags, &*line.details), (503, "UF", "details"));
        assert_eq!((&*line.failure, &*line.host), ("reason with words", "10.1.1.11:8080"));
        assert_eq!(
            (&*line.cluster, &*line.remote, &*line.route),
            ("outbound|8080||x", "10.1.1.50:4321", "default")
        );
        assert!(Line::parse("something else").is_none());
    }
}
