//! What all values of one text column allow it to become.
//!
//! Owns [`Evidence`], the small record that is kept for each text column of each part: which types
//! every value seen so far would survive, and how many values and nulls there were. The type is
//! decided from it at the end, never from a sample.
//!
//! Invariants:
//! * Candidates are only ever intersected and counts only ever added, so the order of rows and of
//!   parts cannot matter and merging the records of two parts equals observing the values of both.
//! * Which parser may see which kind of cell is written once, in [`CellKind::candidates`]; the
//!   encoder obeys the same table.
//!
//! Rules and their source: the contract's section "Types"; JSON keeps the type it wrote, so a JSON
//! string is never a number or a boolean, and a JSON number never a date.

mod converted;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::nested::{Nested, Tally, TextCause};
use super::text_value::{
    DateForm, DateForms, is_null_word, parse_boolean, parse_date, parse_float64, parse_int64,
    parse_json_float64, parse_timestamp, parse_timestamptz,
};

pub(crate) use converted::{Converted, candidates_of_integer};

/// Integers up to this magnitude are doubles without a further look.
const DOUBLE_INTEGER_MAX: u64 = 1 << 53;
/// Bytes of the longest date, `DD-Mon-YYYY`, and one: no timestamp is shorter.
const TIMESTAMP_BYTES_MIN: usize = 12;

/// How the file wrote one cell.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum CellKind {
    /// No value: an unquoted empty CSV field, a JSON null, or a JSON key that is absent.
    Null,
    /// A CSV field without quotes, not empty.
    Plain,
    /// A CSV field in quotes, possibly empty.
    Quoted,
    /// The token of a JSON number.
    JsonNumber,
    /// `true` or `false` of JSON.
    JsonBool,
    /// The content of a JSON string.
    JsonString,
    /// A JSON object or array, as its JSON text.
    JsonNested,
}

impl CellKind {
    /// The types that a cell of this kind may have at all, whatever its text.
    pub const fn candidates(self) -> Candidates {
        match self {
            Self::Null | Self::Plain | Self::Quoted => Candidates::ALL,
            Self::JsonNumber => Candidates::NUMBERS,
            Self::JsonBool => Candidates::BOOLEAN,
            Self::JsonString => Candidates::TEMPORAL,
            Self::JsonNested => Candidates::NONE,
        }
    }

    /// Whether this cell is a spelled null word. Quotes, and JSON strings, say that the word itself
    /// is meant.
    pub fn is_null_word(self, text: &str) -> bool {
        self == Self::Plain && is_null_word(text)
    }
}

/// A set of types other than text. Intersection is the only way to combine two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub struct Candidates(u8);

impl Candidates {
    /// No type but text.
    pub const NONE: Self = Self(0);
    /// `true` and `false`.
    pub const BOOLEAN: Self = Self(1);
    /// Integers that fit 32 bits; a column that is [`Self::INT64`] may have this too.
    pub const INT32: Self = Self(1 << 1);
    /// Integers that fit 64 bits.
    pub const INT64: Self = Self(1 << 2);
    /// Numbers that a double prints back.
    pub const FLOAT64: Self = Self(1 << 3);
    /// Calendar dates.
    pub const DATE: Self = Self(1 << 4);
    /// Timestamps without a zone.
    pub const TIMESTAMP: Self = Self(1 << 5);
    /// Timestamps with a zone offset.
    pub const TIMESTAMPTZ: Self = Self(1 << 6);
    /// Every number type.
    pub const NUMBERS: Self = Self(Self::INT32.0 | Self::INT64.0 | Self::FLOAT64.0);
    /// Every type of the calendar.
    pub const TEMPORAL: Self = Self(Self::DATE.0 | Self::TIMESTAMP.0 | Self::TIMESTAMPTZ.0);
    /// Everything: the state of a column without values.
    pub const ALL: Self = Self(Self::BOOLEAN.0 | Self::NUMBERS.0 | Self::TEMPORAL.0);

    /// The types in both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the two sets share a type.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether only text is left.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The types of this set that are not in the other.
    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Both sets, for one value only: it is not a way to combine values.
    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Default for Candidates {
    fn default() -> Self {
        Self::ALL
    }
}

impl From<u8> for Candidates {
    /// Bits without a meaning are dropped.
    fn from(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl From<Candidates> for u8 {
    fn from(candidates: Candidates) -> Self {
        candidates.0
    }
}

/// The type that a column of a text format gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextType {
    /// `true` or `false`.
    Boolean,
    /// Integer of 64 bits.
    Int64,
    /// Float of 64 bits.
    Float64,
    /// Days.
    Date,
    /// Microseconds without a zone.
    Timestamp,
    /// Microseconds in UTC.
    TimestampTz,
    /// UTF-8 text.
    Text,
}

impl TextType {
    /// The types other than text, the one preferred when several are allowed first.
    const BY_PREFERENCE: [(Self, Candidates); 6] = [
        (Self::Boolean, Candidates::BOOLEAN),
        (Self::Int64, Candidates::INT64),
        (Self::Float64, Candidates::FLOAT64),
        (Self::Date, Candidates::DATE),
        (Self::Timestamp, Candidates::TIMESTAMP),
        (Self::TimestampTz, Candidates::TIMESTAMPTZ),
    ];

    /// The candidate that must be left for this type; nothing for text, which is always possible.
    const fn candidate(self) -> Option<Candidates> {
        match self {
            Self::Boolean => Some(Candidates::BOOLEAN),
            Self::Int64 => Some(Candidates::INT64),
            Self::Float64 => Some(Candidates::FLOAT64),
            Self::Date => Some(Candidates::DATE),
            Self::Timestamp => Some(Candidates::TIMESTAMP),
            Self::TimestampTz => Some(Candidates::TIMESTAMPTZ),
            Self::Text => None,
        }
    }
}

/// What the values of one column, seen so far, say about its type.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// The types that every value would survive.
    pub candidates: Candidates,
    /// While a type of the calendar is left: the forms in which every value writes its date.
    #[serde(default, skip_serializing_if = "DateForms::is_iso")]
    forms: DateForms,
    /// Cells with a value; spelled null words are not among them.
    pub value_count: u64,
    /// Cells without a value.
    pub null_count: u64,
    /// Cells with a spelled null word outside of quotes.
    pub null_word_count: u64,
    /// What the JSON objects and arrays have in common. While it is a struct or a list, every value seen
    /// is an object or an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nested: Option<Box<Nested>>,
}

impl Evidence {
    /// A column that was null in this many rows.
    pub fn of_nulls(null_count: u64) -> Self {
        Self {
            null_count,
            ..Self::default()
        }
    }

    /// What the JSON objects and arrays have in common; nothing where there are none.
    pub fn nested(&self) -> Option<&Nested> {
        self.nested.as_deref()
    }

    /// Keeps objects and arrays as JSON text from now on.
    pub fn keep_as_json_text(&mut self, cause: TextCause) {
        self.nested = Some(Box::new(Nested::text(cause)));
    }

    /// Takes one cell into account. The text of a null is not looked at.
    pub fn observe(&mut self, kind: CellKind, text: &str) {
        if self.observe_scalar(kind, text, DateForms::ALL)
            && let Some(nested) = self.nested_for(kind, text)
        {
            nested.observe(text);
        }
    }

    /// The same for a value inside of a nested one, where dates have one form only.
    pub(super) fn observe_at(
        &mut self,
        kind: CellKind,
        text: &str,
        level: usize,
        tally: &mut Tally,
    ) {
        if self.observe_scalar(kind, text, DateForms::ISO)
            && let Some(nested) = self.nested_for(kind, text)
        {
            nested.observe_at(text, level, tally);
        }
    }

    /// Takes into account what a cell of any kind says; whether there is more to say about nested values.
    fn observe_scalar(&mut self, kind: CellKind, text: &str, forms: DateForms) -> bool {
        if kind == CellKind::Null {
            self.null_count = self.null_count.saturating_add(1);
            false
        } else if kind.is_null_word(text) {
            self.null_word_count = self.null_word_count.saturating_add(1);
            false
        } else {
            if !self.candidates.is_empty() {
                let mut forms = if self.value_count == 0 {
                    forms
                } else {
                    self.forms
                };
                let left = self.candidates.intersection(kind.candidates());
                self.candidates = classify(kind, text, left, &mut forms);
                self.set_forms(forms);
            }
            self.value_count = self.value_count.saturating_add(1);
            kind == CellKind::JsonNested || self.nested.is_some()
        }
    }

    /// Keeps the forms that are left, where they matter.
    fn set_forms(&mut self, forms: DateForms) {
        if forms.is_empty() {
            self.candidates = self.candidates.without(Candidates::TEMPORAL);
        }
        self.forms = if self.candidates.intersects(Candidates::TEMPORAL) {
            forms
        } else {
            DateForms::default()
        };
    }

    /// Where to observe a value that is counted already; nothing, and the column text, if it has nothing in common with the
    /// values before.
    fn nested_for(&mut self, kind: CellKind, text: &str) -> Option<&mut Nested> {
        let has_scalars = self.nested.is_none() && self.value_count > 1;
        if kind != CellKind::JsonNested || has_scalars {
            self.mix();
            return None;
        }
        Some(
            self.nested
                .get_or_insert_with(|| Box::new(Nested::for_value(text))),
        )
    }

    /// Scalars and nested values have met.
    fn mix(&mut self) {
        let is_text = self.nested().is_some_and(Nested::is_text);
        if !is_text {
            self.keep_as_json_text(TextCause::Mixed);
        }
    }

    /// Takes everything into account that the other record saw.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            candidates,
            forms,
            value_count,
            null_count,
            null_word_count,
            nested,
        } = other;
        match (&mut self.nested, nested) {
            (Some(left), Some(right)) => left.merge(right),
            (None, Some(right)) if self.value_count == 0 => self.nested = Some(right.clone()),
            (Some(_), None) if *value_count == 0 => {}
            (None, None) => {}
            (Some(left), None) if left.is_text() => {}
            (None, Some(right)) if right.is_text() => self.nested = Some(right.clone()),
            (Some(_), None) | (None, Some(_)) => self.mix(),
        }
        let forms = match (self.value_count, *value_count) {
            (0, _) => *forms,
            (_, 0) => self.forms,
            (_, _) => self.forms.intersection(*forms),
        };
        self.candidates = self.candidates.intersection(*candidates);
        self.set_forms(forms);
        self.value_count = self.value_count.saturating_add(*value_count);
        self.null_count = self.null_count.saturating_add(*null_count);
        self.null_word_count = self.null_word_count.saturating_add(*null_word_count);
    }

    /// The type of the column; nothing while it is open, which is as long as it holds only nulls.
    pub fn text_type(&self) -> Option<TextType> {
        match (self.value_count, self.null_word_count) {
            (0, 0) => None,
            // Nothing says that the words mean null.
            (0, _) => Some(TextType::Text),
            _ => TextType::BY_PREFERENCE
                .iter()
                .find(|(_, candidate)| self.has(*candidate))
                .map_or(Some(TextType::Text), |(text_type, _)| Some(*text_type)),
        }
    }

    /// Whether every value seen survives this type.
    pub fn allows(&self, text_type: TextType) -> bool {
        text_type
            .candidate()
            .is_none_or(|candidate| self.has(candidate))
    }

    /// Whether this type is left, and no doubt about the form of its dates.
    fn has(&self, candidate: Candidates) -> bool {
        self.candidates.intersects(candidate)
            && (!candidate.intersects(Candidates::TEMPORAL) || self.forms.decided().is_some())
    }

    /// The forms in which all values write their dates; nothing where they are no dates.
    pub fn date_forms(&self) -> Option<DateForms> {
        let has_dates = self.value_count > 0 && self.candidates.intersects(Candidates::TEMPORAL);
        has_dates.then_some(self.forms)
    }

    /// The same with only those of its forms of dates that others have, too.
    pub fn with_date_forms(&self, others: DateForms) -> Cow<'_, Self> {
        match self.date_forms() {
            Some(forms) if forms.intersection(others) != forms => {
                let mut narrowed = self.clone();
                narrowed.set_forms(forms.intersection(others));
                Cow::Owned(narrowed)
            }
            Some(_) | None => Cow::Borrowed(self),
        }
    }

    /// Whether the values are dates, but nothing says which number is the day and which the month.
    pub fn is_ambiguous(&self) -> bool {
        let forms = self.date_forms();
        forms.is_some_and(|forms| forms.decided().is_none())
    }

    /// Whether every value seen is an integer of 32 bits.
    pub fn fits_int32(&self) -> bool {
        self.candidates.intersects(Candidates::INT32)
    }

    /// Whether the column has nulls when it is read as this type: spelled null words are nulls
    /// except in text.
    pub fn has_nulls(&self, text_type: TextType) -> bool {
        self.null_count > 0 || (text_type != TextType::Text && self.null_word_count > 0)
    }
}

/// Which of the types in `left` this value survives, and in which of the forms, if it is a date. Only the parsers that can
/// still matter are run.
fn classify(kind: CellKind, text: &str, left: Candidates, forms: &mut DateForms) -> Candidates {
    let Some(&first) = text.as_bytes().first() else {
        return Candidates::NONE;
    };
    let found = match first {
        b't' | b'T' | b'f' | b'F' if left.intersects(Candidates::BOOLEAN) => {
            parse_boolean(text).map_or(Candidates::NONE, |_| Candidates::BOOLEAN)
        }
        b'-' | b'.' | b'0'..=b'9' => {
            let number = classify_number(kind, text, left);
            if number.is_empty() {
                classify_temporal(text, left, forms)
            } else {
                number
            }
        }
        _ => Candidates::NONE,
    };
    found.intersection(left)
}

fn classify_number(kind: CellKind, text: &str, left: Candidates) -> Candidates {
    let integer = if left.intersects(Candidates::INT64) {
        parse_int64(text)
    } else {
        None
    };
    let is_float = |left: Candidates| {
        left.intersects(Candidates::FLOAT64)
            && match kind {
                CellKind::JsonNumber => parse_json_float64(text).is_some(),
                _ => parse_float64(text).is_some(),
            }
    };
    let Some(integer) = integer else {
        return if is_float(left) {
            Candidates::FLOAT64
        } else {
            Candidates::NONE
        };
    };
    let mut found = Candidates::INT64;
    if i32::try_from(integer).is_ok() {
        found = found.or(Candidates::INT32);
    }
    if integer.unsigned_abs() <= DOUBLE_INTEGER_MAX || is_float(left) {
        found = found.or(Candidates::FLOAT64);
    }
    found
}

fn classify_temporal(text: &str, left: Candidates, forms: &mut DateForms) -> Candidates {
    let is_of = |candidate: Candidates, form: DateForm| match candidate {
        Candidates::DATE => parse_date(text, form).is_some(),
        Candidates::TIMESTAMP => parse_timestamp(text, form).is_some(),
        _ => parse_timestamptz(text, form).is_some(),
    };
    let is_short = text.len() < TIMESTAMP_BYTES_MIN;
    let candidates = if is_short {
        &[Candidates::DATE][..]
    } else {
        &[Candidates::TIMESTAMP, Candidates::TIMESTAMPTZ]
    };
    for candidate in candidates.iter().filter(|one| left.intersects(**one)) {
        let found = forms.filter(|form| is_of(*candidate, form));
        if !found.is_empty() {
            *forms = found;
            return *candidate;
        }
    }
    Candidates::NONE
}

#[cfg(test)]
pub(crate) mod tests;
