//! The reviewed list of differences.
//!
//! A line `reason: TEXT` begins a group; each further line is a place, `SCENARIO / NODE / STEP / KIND / RESOURCE /
//! FIELD`, in which `*` stands for any text. A place that no longer differs is stale and fails the test.

/// The list, and how often each place was met.
pub struct Allowed {
    places: Vec<(String, usize)>,
}

impl Allowed {
    pub fn parse(text: &str) -> Self {
        let mut reason = false;
        let mut places = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(text) = line.strip_prefix("reason:") {
                assert!(text.trim().len() > 20, "a reason says why: {line}");
                reason = true;
            } else {
                assert!(reason, "a place without a reason: {line}");
                assert_eq!(
                    line.matches(" / ").count(),
                    5,
                    "not SCENARIO / NODE / STEP / KIND / RESOURCE / FIELD: {line}"
                );
                places.push((line.to_owned(), 0));
            }
        }
        Self { places }
    }

    /// Whether a place is in the list.
    pub fn takes(&mut self, place: &str) -> bool {
        let mut taken = false;
        for (pattern, count) in &mut self.places {
            if glob(pattern, place) {
                *count += 1;
                taken = true;
            }
        }
        taken
    }

    /// The places that nothing was met at.
    pub fn unused(&self) -> Vec<&str> {
        self.places.iter().filter(|(_, count)| *count == 0).map(|(place, _)| place.as_str()).collect()
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

#[test]
fn stars_stand_for_any_text() {
    assert!(glob("a*c", "abc") && glob("a*", "a") && glob("*b*", "abc") && glob("abc", "abc"));
    assert!(!glob("a*c", "ab") && !glob("abc", "abcd") && !glob("a*b*c", "ac"));
}
