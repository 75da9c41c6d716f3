//! Makes the names of a header usable: not empty, unique, and not longer than a limit.
//!
//! Owns the rules: an empty name becomes `column_N` (1-based), the second and later column of one
//! name get `_2`, `_3`, …, and a longer name is cut. A made name never takes the name of another
//! column. Every change is reported. Columns that need no change keep their name, wherever they
//! stand.

use std::collections::{HashMap, HashSet};

use crate::domain::part::PartIssue;
use crate::ingest::raw::COLUMN_NAME_BYTES_MAX;

/// The names of a header, from left to right, each already cut.
#[derive(Default)]
pub(super) struct HeaderNames {
    names: Vec<CutName>,
}

struct CutName {
    name: String,
    /// Bytes that the header has, if those are more than the name may have.
    bytes_before_cut: Option<usize>,
}

impl HeaderNames {
    pub(super) fn push(&mut self, text: &str) {
        let name = cut_to(text, COLUMN_NAME_BYTES_MAX);
        let bytes_before_cut = (name.len() < text.len()).then_some(text.len());
        self.names.push(CutName {
            name: name.to_owned(),
            bytes_before_cut,
        });
    }

    /// The final names and what was changed.
    pub(super) fn into_unique(self) -> (Vec<String>, Vec<PartIssue>) {
        // Names of the header come first: a made name must avoid those that stand further right
        // too.
        let mut taken: HashSet<String> = self
            .names
            .iter()
            .filter(|cut| !cut.name.is_empty())
            .map(|cut| cut.name.clone())
            .collect();
        let mut seen: HashSet<&str> = HashSet::new();
        let mut next_suffix: HashMap<String, u64> = HashMap::new();
        let mut columns = Vec::with_capacity(self.names.len());
        let mut issues = Vec::new();
        for (
            index,
            CutName {
                name,
                bytes_before_cut,
            },
        ) in self.names.iter().enumerate()
        {
            let position = index + 1;
            let mut notes = Vec::new();
            if let Some(bytes) = bytes_before_cut {
                notes.push(format!(
                    "the name of column {position} has {bytes} bytes and was cut to {}",
                    name.len()
                ));
            }
            let unique = if name.is_empty() {
                let wanted = format!("column_{position}");
                let made = if taken.contains(&wanted) {
                    suffixed(&wanted, &taken, &mut next_suffix)
                } else {
                    wanted
                };
                notes.push(format!(
                    "column {position} has no name in the header and was named `{made}`"
                ));
                made
            } else if seen.insert(name) {
                name.clone()
            } else {
                let made = suffixed(name, &taken, &mut next_suffix);
                notes.push(format!(
                    "the name `{name}` stands in the header more than once; column {position} was \
                     named `{made}`"
                ));
                made
            };
            if !notes.is_empty() {
                taken.insert(unique.clone());
                issues.push(PartIssue {
                    column: Some(unique.clone()),
                    issue: notes.join("; "),
                });
            }
            columns.push(unique);
        }
        (columns, issues)
    }
}

/// The name with the first free number after it, shortened to make room for that.
fn suffixed(name: &str, taken: &HashSet<String>, next_suffix: &mut HashMap<String, u64>) -> String {
    let next = next_suffix.entry(name.to_owned()).or_insert(2);
    loop {
        let suffix = format!("_{next}");
        *next += 1;
        let made = format!(
            "{}{suffix}",
            cut_to(name, COLUMN_NAME_BYTES_MAX - suffix.len())
        );
        if !taken.contains(&made) {
            return made;
        }
    }
}

/// The longest start of the text that has at most that many bytes.
fn cut_to(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unique(names: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut header = HeaderNames::default();
        names.iter().for_each(|name| header.push(name));
        let (columns, issues) = header.into_unique();
        (
            columns,
            issues
                .into_iter()
                .filter_map(|issue| issue.column)
                .collect(),
        )
    }

    #[test]
    fn made_names_avoid_every_name_of_the_header() {
        let table: &[(&[&str], &[&str], &[&str])] = &[
            (&["a", "b"], &["a", "b"], &[]),
            (&["a", "a", "a"], &["a", "a_2", "a_3"], &["a_2", "a_3"]),
            (&["a", "a", "a_2"], &["a", "a_3", "a_2"], &["a_3"]),
            (
                &["", ""],
                &["column_1", "column_2"],
                &["column_1", "column_2"],
            ),
            (
                &["column_2", ""],
                &["column_2", "column_2_2"],
                &["column_2_2"],
            ),
            (
                &["", "column_1", "column_1"],
                &["column_1_2", "column_1", "column_1_3"],
                &["column_1_2", "column_1_3"],
            ),
        ];
        for (names, columns, changed) in table {
            let (found_columns, found_changed) = unique(names);
            assert_eq!(
                (found_columns, found_changed),
                (strings(columns), strings(changed)),
                "{names:?}"
            );
        }
    }

    #[test]
    fn long_names_are_cut_between_characters_and_stay_unique() {
        let long = "é".repeat(200);
        let (columns, changed) = unique(&[&long, &long, "b"]);
        assert_eq!(
            columns,
            [&*"é".repeat(127), &*format!("{}_2", "é".repeat(126)), "b"]
        );
        assert_eq!(changed, columns[..2]);
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }
}
