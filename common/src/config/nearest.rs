//! The allowed word that a misspelt one was probably meant to be.

/// The candidate with the fewest edits from `word`, if they are few enough for a slip of the pen.
pub(super) fn nearest(word: &str, candidates: &[&'static str]) -> Option<&'static str> {
    let few = word.len().div_ceil(3).clamp(1, 4);
    let distance = |candidate: &'static str| {
        let distance = edits(word, candidate);
        let is_part = word.len() > 2 && (candidate.contains(word) || word.contains(candidate));
        (distance <= few || is_part).then_some((distance, candidate))
    };
    let near = candidates
        .iter()
        .filter_map(|candidate| distance(candidate));
    near.min().map(|(_, candidate)| candidate)
}

/// Levenshtein distance, in bytes: keys are ASCII.
fn edits(one: &str, two: &str) -> usize {
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut left = i.saturating_add(1);
        let mut diagonal = i;
        for (b, cell) in two.bytes().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(a != b));
            diagonal = *cell;
            left = replaced
                .min(left.saturating_add(1))
                .min(cell.saturating_add(1));
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i.saturating_add(1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_a_stranger_is_not() {
        let keys = ["bind_address", "certificate", "key", "trust_anchors"];

        assert_eq!(nearest("certifcate", &keys), Some("certificate"));
        assert_eq!(nearest("trust_anchor", &keys), Some("trust_anchors"));
        assert_eq!(nearest("bind", &keys), Some("bind_address"));
        assert_eq!(nearest("colour", &keys), None);
        assert_eq!(nearest("certificate", &[]), None);
    }

    #[test]
    fn edits_are_counted() {
        for (one, two, count) in [
            ("", "", 0),
            ("a", "", 1),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edits(one, two), count, "{one} {two}");
            assert_eq!(edits(two, one), count, "{two} {one}");
        }
    }
}
