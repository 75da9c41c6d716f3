//! What was read although it is not how CSV is written: counted, and told with the first place.

use crate::domain::part::PartIssue;

/// What was read although it is not how CSV is written.
#[derive(Debug, Default)]
pub(super) struct Oddities {
    pub(super) stray_quotes: Oddity,
    /// Quotes in fields without quotes.
    pub(super) bare_quotes: Oddity,
    pub(super) comments: Oddity,
    pub(super) short_rows: Oddity,
    pub(super) long_rows: Oddity,
}

impl Oddities {
    /// Quotes so far that are not around a field.
    pub(super) fn quotes(&self) -> u64 {
        self.stray_quotes.count + self.bare_quotes.count
    }

    /// What the sender should know of them.
    pub(super) fn issues(&self) -> impl Iterator<Item = PartIssue> {
        let Oddities {
            stray_quotes,
            bare_quotes,
            comments,
            short_rows,
            long_rows,
        } = &self;
        let odd = [
            comments.issue(
                "a line that starts with # and is no row (the parameter `ragged=pad` makes it one) was left out as a comment",
                "line",
            ),
            stray_quotes.issue(
                "a quote inside of a quoted field is not doubled and was read as a quote",
                "row",
            ),
            bare_quotes.issue(
                "a quote inside of a field without quotes around it was read as a character like others",
                "row",
            ),
            short_rows.issue(
                "a row has fewer fields than the header and was filled up with nulls",
                "row",
            ),
            long_rows.issue(
                "a row has more fields than the header, all of them empty, and they were left out",
                "row",
            ),
        ];
        odd.into_iter().flatten()
    }
}

/// Rows with something odd.
#[derive(Debug, Default)]
pub(super) struct Oddity {
    pub(super) count: u64,
    /// The first such row; of comments, the line.
    first: u64,
}

impl Oddity {
    pub(super) fn note(&mut self, at: u64) {
        if self.count == 0 {
            self.first = at;
        }
        self.count += 1;
    }

    fn issue(&self, what: &str, place: &str) -> Option<PartIssue> {
        (self.count > 0).then(|| PartIssue {
            issue: format!(
                "{what}: {} times, first in {place} {}",
                self.count, self.first
            ),
            column: None,
        })
    }
}
