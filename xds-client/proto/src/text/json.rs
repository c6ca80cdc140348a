//! JSON (RFC 8259), with one leniency: a comma may follow the last item of a list or map, as templates leave it.

use super::{Content, Key, MAX_DEPTH, MAX_NODES, Node, SyntaxError, refuse_duplicates};

/// Parses the one value of `text`.
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut scanner = Scanner { text, at: 0, nodes: 0 };
    scanner.skip_space();
    let root = scanner.value(0)?;
    scanner.skip_space();
    if scanner.at < text.len() {
        return Err(scanner.error("something follows the value; a JSON text holds one"));
    }
    Ok(root)
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    nodes: usize,
}

impl<'t> Scanner<'t> {
    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.at, message)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.at = self.at.saturating_add(1);
        }
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at = self.at.saturating_add(1);
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let at = self.at;
        self.nodes = self.nodes.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(SyntaxError::too_deep(at));
        }
        if self.nodes > MAX_NODES {
            return Err(SyntaxError::too_many(at));
        }
        let content = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Content::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(_) => self.word()?,
            None => return Err(self.error("the text ends where a value is needed")),
        };
        Ok(Node { at, content })
    }

    fn word(&mut self) -> Result<Content, SyntaxError> {
        let rest = self.text.get(self.at..).unwrap_or("");
        let words = [("true", Content::Bool(true)), ("false", Content::Bool(false)), ("null", Content::Null)];
        for (word, content) in words {
            if rest.starts_with(word) {
                self.at = self.at.saturating_add(word.len());
                return Ok(content);
            }
        }
        Err(self.error("a value is needed here: a map, a list, a quoted text, a number, true, false or null"))
    }

    fn list(&mut self, depth: usize) -> Result<Content, SyntaxError> {
        let start = self.at;
        self.take(b'[');
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if self.take(b']') {
                return Ok(Content::List(items));
            }
            items.push(self.value(depth.saturating_add(1))?);
            self.skip_space();
            if !self.take(b',') && self.peek() != Some(b']') {
                return Err(self.unfinished(start, "list", ']'));
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Content, SyntaxError> {
        let start = self.at;
        self.take(b'{');
        let mut entries = Vec::new();
        loop {
            self.skip_space();
            if self.take(b'}') {
                refuse_duplicates(&entries)?;
                return Ok(Content::Map(entries));
            }
            let at = self.at;
            if self.peek() != Some(b'"') {
                return Err(if at >= self.text.len() {
                    self.unfinished(start, "map", '}')
                } else {
                    self.error("a quoted key is needed here")
                });
            }
            let name = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.error("a `:` is needed after the key"));
            }
            self.skip_space();
            let value = self.value(depth.saturating_add(1))?;
            entries.push((Key { at, name }, value));
            self.skip_space();
            if !self.take(b',') && self.peek() != Some(b'}') {
                return Err(self.unfinished(start, "map", '}'));
            }
        }
    }

    fn unfinished(&self, start: usize, what: &str, close: char) -> SyntaxError {
        if self.at >= self.text.len() {
            SyntaxError::new(start, format!("this {what} is never closed"))
        } else {
            self.error(format!("a `,` or `{close}` is needed here"))
        }
    }

    fn number(&mut self) -> Result<Content, SyntaxError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at = self.at.saturating_add(1);
        }
        let digits = self.text.get(start..self.at).unwrap_or("");
        // The grammar is serde_json's to judge; positions are ours.
        let bad = || SyntaxError::new(start, format!("{digits:?} is no JSON number"));
        let number: serde_json::Number = serde_json::from_str(digits).map_err(|_| bad())?;
        match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), ..) => Ok(Content::Int(value)),
            (None, Some(value), _) => Ok(Content::UInt(value)),
            (None, None, Some(value)) => Ok(Content::Float(value)),
            (None, None, None) => Err(bad()),
        }
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        self.at = self.at.saturating_add(1);
        loop {
            match self.peek() {
                None => return Err(SyntaxError::new(start, "this text is never closed")),
                Some(b'"') => break,
                Some(b'\\') => self.at = self.at.saturating_add(2),
                Some(_) => self.at = self.at.saturating_add(1),
            }
        }
        self.at = self.at.saturating_add(1);
        let quoted = self.text.get(start..self.at).unwrap_or("");
        serde_json::from_str(quoted).map_err(|error| {
            let inside = error.column().saturating_sub(1);
            let message = error.to_string();
            let message = message.split(" at line").next().unwrap_or("not valid");
            SyntaxError::new(start.saturating_add(inside), format!("in this text: {message}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_positions() {
        let root = parse(" {\"a\": [1, -2.5, 18446744073709551615, \"x\\u00e9\\n\", null, true,], }")
            .expect("valid");
        assert_eq!(root.at, 1);
        let Content::Map(entries) = root.content else { panic!("a map") };
        let Some((key, Node { at, content: Content::List(items) })) = entries.first() else {
            panic!("a list")
        };
        assert_eq!((key.at, key.name.as_str(), *at), (2, "a", 7));
        let contents: Vec<_> = items.iter().map(|item| item.content.clone()).collect();
        let expected = [
            Content::Int(1),
            Content::Float(-2.5),
            Content::UInt(u64::MAX),
            Content::Text("x\u{e9}\n".to_owned()),
            Content::Null,
            Content::Bool(true),
        ];
        assert_eq!(contents, expected);
    }

    #[test]
    fn refusals_say_where() {
        let deep = "[".repeat(MAX_DEPTH + 2);
        let table = [
            ("", 0, "ends where a value"),
            ("{\"a\":1", 0, "never closed"),
            ("{\"a\":1 2}", 7, "is needed here"),
            ("{a:1}", 1, "quoted key"),
            ("[1,,2]", 3, "a value is needed"),
            ("{\"a\":1,\"a\":2}", 7, "stands twice"),
            ("\"\\q\"", 2, "escape"),
            ("\"abc", 0, "never closed"),
            ("\"abc\\", 0, "never closed"),
            ("01", 0, "no JSON number"),
            ("1 2", 2, "follows the value"),
            (deep.as_str(), MAX_DEPTH + 1, "MAX_DEPTH"),
        ];
        for (source, at, message) in table {
            let error = parse(source).expect_err(message);
            assert!(error.message.contains(message), "{source}: {}", error.message);
            assert_eq!(error.at, at, "{source}: {}", error.message);
        }
    }
}
