//! Did-you-mean.

/// The candidate nearest to `word`, if it is near: at most two edits, and at most a third of the word.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let limit = 2.min(word.chars().count() / 3);
    candidates
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements that lead from one word to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(index.saturating_add(1));
        for ((other, diagonal), above) in to.iter().zip(&row).zip(row.iter().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(letter != *other));
            let left = next.last().copied().unwrap_or(0);
            next.push(replaced.min(above.saturating_add(1)).min(left.saturating_add(1)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let names = ["lb_policy", "load_assignment", "name"];
        let table = [
            ("lb_polcy", Some("lb_policy")),
            ("load_assignments", Some("load_assignment")),
            ("nam", Some("name")),
            ("x", None),
            ("connect_timeout", None),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, names.into_iter()), expected, "{word}");
        }
    }
}
