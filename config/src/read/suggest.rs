//! "Did you mean".

/// Longest name that is compared; the distance costs the product of the lengths.
const MAX_NAME: usize = 64;

/// The candidate that was probably meant: equal but for case, `_` and `-`, or few edits away.
#[must_use]
pub fn nearest<'c>(name: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let plain = |text: &str| -> Vec<char> {
        text.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).take(MAX_NAME).collect()
    };
    let wanted = plain(name);
    let allowed = wanted.len().div_ceil(3).min(3);
    candidates
        .iter()
        .map(|candidate| (distance(&wanted, &plain(candidate)), *candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            let cost = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = *above;
            left = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(nearest("perTryTimeOut", &["attempts", "perTryTimeout"]), Some("perTryTimeout"));
        assert_eq!(nearest("per_try_timeout", &["attempts", "perTryTimeout"]), Some("perTryTimeout"));
        assert_eq!(nearest("wieght", &["destination", "weight"]), Some("weight"));
        assert_eq!(nearest("colour", &["destination", "weight"]), None);
    }
}
