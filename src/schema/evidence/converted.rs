//! Evidence of cells that were converted to the type of their column: what [`Evidence::observe`] would say of each, without a
//! second look at the text.

use super::{Candidates, DOUBLE_INTEGER_MAX, Evidence};
use crate::schema::text_value::DateForm;

/// What converting cells to the type of their column tells of them, besides the values.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Converted {
    /// The types that every value survives; of those that are not the column's, only the ones that it may still turn to.
    pub(crate) candidates: Candidates,
    pub(crate) value_count: u64,
    pub(crate) null_count: u64,
    pub(crate) null_word_count: u64,
}

impl Converted {
    /// A value survives these types.
    pub(crate) fn survives(&mut self, candidates: Candidates) {
        self.candidates = self.candidates.intersection(candidates);
        self.value_count += 1;
    }
}

/// The types that an integer survives; nothing for one of which only its digits tell.
pub(crate) fn candidates_of_integer(value: i64) -> Option<Candidates> {
    let is_double = value.unsigned_abs() <= DOUBLE_INTEGER_MAX;
    let all = Candidates::NUMBERS;
    is_double.then_some(match i32::try_from(value) {
        Ok(_) => all,
        Err(_) => all.without(Candidates::INT32),
    })
}

impl Evidence {
    /// Takes cells into account that were converted to the type of the column so far, all of them.
    pub(crate) fn take_in(&mut self, converted: &Converted) {
        self.candidates = self.candidates.intersection(converted.candidates);
        self.value_count = self.value_count.saturating_add(converted.value_count);
        self.null_count = self.null_count.saturating_add(converted.null_count);
        self.null_word_count = self
            .null_word_count
            .saturating_add(converted.null_word_count);
    }

    /// Whether the column is text whatever comes, but for objects and arrays: then its values only have to be counted.
    pub(crate) fn is_settled_text(&self) -> bool {
        self.candidates.is_empty() && self.nested.is_none()
    }

    /// The one form in which all dates of a column are written, where no later value can narrow it down.
    pub(crate) fn only_date_form(&self) -> Option<DateForm> {
        let mut forms = self.date_forms()?.iter();
        let only = forms.next()?;
        forms.next().is_none().then_some(only)
    }
}
