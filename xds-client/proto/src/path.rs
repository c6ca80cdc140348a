//! Where in a message a field stands: `static_resources.clusters[0].metadata["envoy.lb"].x`.

use std::fmt;

/// One step from a message towards a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A field, by its name in the proto.
    Field(String),
    /// An item of a list.
    Index(usize),
    /// A value of a map.
    Key(String),
}

/// The steps from the root message to a field; empty for the root itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldPath(pub Vec<Step>);

impl FieldPath {
    /// Reads what [`FieldPath`] displays. Total: what is not written that way is taken for a field's name.
    pub fn of(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (step, after) = if let Some(key) = rest.strip_prefix("[\"") {
                let (key, after) = key.split_once("\"]").unwrap_or((key, ""));
                (Step::Key(key.to_owned()), after)
            } else if let Some((index, after)) =
                rest.strip_prefix('[').and_then(|inner| inner.split_once(']'))
            {
                (index.parse().map_or_else(|_| Step::Key(index.to_owned()), Step::Index), after)
            } else {
                let end = rest.find(['.', '[']).filter(|end| *end > 0).unwrap_or(rest.len());
                let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
                (Step::Field(name.to_owned()), after)
            };
            steps.push(step);
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        Self(steps)
    }

    /// Runs `inside` one step further down.
    pub(crate) fn field(&mut self, name: &str) {
        self.0.push(Step::Field(name.to_owned()));
    }

    pub(crate) fn index(&mut self, index: usize) {
        self.0.push(Step::Index(index));
    }

    pub(crate) fn key(&mut self, key: &str) {
        self.0.push(Step::Key(key.to_owned()));
    }

    pub(crate) fn up(&mut self) {
        self.0.pop();
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if index == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Index(number) => write!(f, "[{number}]")?,
                Step::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_it_is_shown() {
        for text in [
            "",
            "a",
            "static_resources.clusters[0].metadata[\"envoy.lb\"].x",
            "a[1][2].b",
            "typed_per_filter_config[\"a.b[0]\"].c[3]",
        ] {
            assert_eq!(FieldPath::of(text).to_string(), text);
        }
        for odd in ["[", ".", "a..b", "[x", "[\"", "a]b", "..", "[]"] {
            let _ = FieldPath::of(odd).to_string();
        }
    }
}
