//! The forms in which a column may write its dates.
//!
//! One form holds for a whole column, so that every value prints back as it was written. `03/04/2024` is a date in two of
//! them; the column is one only if its other values leave no doubt ([`DateForms::decided`]). The year has four digits in
//! all of them.

use serde::{Deserialize, Serialize};

use super::{days_since_epoch, digit_of, two_digits};

/// What comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Year,
    Day,
    Month,
}

/// How the month is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Month {
    Number,
    /// `Mar`
    Name,
    /// `MAR`
    CapitalName,
}

/// One form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DateForm {
    order: Order,
    separator: u8,
    month: Month,
    /// Whether days and months below ten have a zero before them.
    is_padded: bool,
}

const NAMES: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Forms; a set's bit is the place in here.
const FORMS: [DateForm; 26] = {
    const fn form(order: Order, separator: u8, month: Month, is_padded: bool) -> DateForm {
        DateForm {
            order,
            separator,
            month,
            is_padded,
        }
    }
    use Month::{CapitalName, Name, Number};
    [
        form(Order::Year, b'-', Number, true),
        form(Order::Year, b'-', Number, false),
        form(Order::Year, b'/', Number, true),
        form(Order::Year, b'/', Number, false),
        form(Order::Year, b'.', Number, true),
        form(Order::Year, b'.', Number, false),
        form(Order::Day, b'-', Number, true),
        form(Order::Day, b'-', Number, false),
        form(Order::Day, b'/', Number, true),
        form(Order::Day, b'/', Number, false),
        form(Order::Day, b'.', Number, true),
        form(Order::Day, b'.', Number, false),
        form(Order::Month, b'-', Number, true),
        form(Order::Month, b'-', Number, false),
        form(Order::Month, b'/', Number, true),
        form(Order::Month, b'/', Number, false),
        form(Order::Month, b'.', Number, true),
        form(Order::Month, b'.', Number, false),
        form(Order::Day, b'-', Name, true),
        form(Order::Day, b'-', Name, false),
        form(Order::Day, b' ', Name, true),
        form(Order::Day, b' ', Name, false),
        form(Order::Day, b'-', CapitalName, true),
        form(Order::Day, b'-', CapitalName, false),
        form(Order::Day, b' ', CapitalName, true),
        form(Order::Day, b' ', CapitalName, false),
    ]
};

impl DateForm {
    /// `YYYY-MM-DD`.
    pub const ISO: Self = FORMS[0];

    /// The date at the front, in days since 1970-01-01, and what follows it.
    pub(super) fn split(self, bytes: &[u8]) -> Option<(i32, &[u8])> {
        let (year, month, day, rest);
        match self.order {
            Order::Year => {
                let after_year;
                (year, after_year) = split_year(bytes)?;
                let after_month;
                (month, after_month) = self.split_month(self.separated(after_year)?)?;
                (day, rest) = self.split_number(self.separated(after_month)?)?;
            }
            Order::Day => {
                let after_day;
                (day, after_day) = self.split_number(bytes)?;
                let after_month;
                (month, after_month) = self.split_month(self.separated(after_day)?)?;
                (year, rest) = split_year(self.separated(after_month)?)?;
            }
            Order::Month => {
                let after_month;
                (month, after_month) = self.split_month(bytes)?;
                let after_day;
                (day, after_day) = self.split_number(self.separated(after_month)?)?;
                (year, rest) = split_year(self.separated(after_day)?)?;
            }
        }
        Some((days_since_epoch(year, month as usize, day)?, rest))
    }

    /// The date as the form writes it.
    #[cfg(test)]
    pub(crate) fn print(self, date: chrono::NaiveDate) -> String {
        let day = if self.is_padded { "%d" } else { "%-d" };
        let month = match (self.month, self.is_padded) {
            (Month::Number, true) => "%m",
            (Month::Number, false) => "%-m",
            (Month::Name | Month::CapitalName, _) => "%b",
        };
        let parts = match self.order {
            Order::Year => ["%Y", month, day],
            Order::Day => [day, month, "%Y"],
            Order::Month => [month, day, "%Y"],
        };
        let printed = date
            .format(&parts.join(&char::from(self.separator).to_string()))
            .to_string();
        match self.month {
            Month::CapitalName => printed.to_uppercase(),
            Month::Number | Month::Name => printed,
        }
    }

    fn separated(self, bytes: &[u8]) -> Option<&[u8]> {
        bytes
            .split_first()
            .and_then(|(first, rest)| (*first == self.separator).then_some(rest))
    }

    fn split_month(self, bytes: &[u8]) -> Option<(i32, &[u8])> {
        if self.month == Month::Number {
            return self.split_number(bytes);
        }
        let (name, rest) = bytes.split_at_checked(3)?;
        let is_it = |known: &[u8; 3]| match self.month {
            Month::CapitalName => known.to_ascii_uppercase() == name,
            Month::Name | Month::Number => known == name,
        };
        let index = NAMES.iter().position(|known| is_it(known))?;
        Some((index as i32 + 1, rest))
    }

    /// A day or a month.
    fn split_number(self, bytes: &[u8]) -> Option<(i32, &[u8])> {
        let has_two = bytes.get(1).is_some_and(u8::is_ascii_digit);
        match bytes {
            [_, _, rest @ ..] if has_two && (self.is_padded || bytes[0] != b'0') => {
                Some((two_digits(bytes)? as i32, rest))
            }
            [ones, rest @ ..] if !has_two && !self.is_padded => {
                Some((digit_of(*ones)? as i32, rest))
            }
            _ => None,
        }
    }
}

fn split_year(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (year, rest) = bytes.split_at_checked(4)?;
    let year = two_digits(year)? * 100 + two_digits(&year[2..])?;
    Some((year as i32, rest))
}

/// A set of forms. Intersection is the only way to combine the sets of two values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub struct DateForms(u32);

impl DateForms {
    /// `YYYY-MM-DD` alone.
    pub const ISO: Self = Self(1);
    /// Every form.
    pub const ALL: Self = Self((1 << FORMS.len()) - 1);

    /// The forms in both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether no form is left.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this is [`Self::ISO`].
    pub fn is_iso(&self) -> bool {
        *self == Self::ISO
    }

    /// The forms of the set.
    pub fn iter(self) -> impl Iterator<Item = DateForm> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            let form = FORMS.get(bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(*form)
        })
    }

    /// Those of its forms for which this holds.
    #[must_use]
    pub fn filter(self, holds: impl Fn(DateForm) -> bool) -> Self {
        let mut kept = self;
        let mut bits = self.0;
        while let Some(form) = FORMS.get(bits.trailing_zeros() as usize) {
            let lowest = bits & bits.wrapping_neg();
            bits ^= lowest;
            if !holds(*form) {
                kept.0 ^= lowest;
            }
        }
        kept
    }

    /// A form that reads values which allow all these forms; nothing while day and month could be each other.
    pub fn decided(self) -> Option<DateForm> {
        let first = self.iter().next()?;
        self.iter()
            .all(|form| form.order == first.order)
            .then_some(first)
    }
}

impl From<u32> for DateForms {
    /// Bits without a meaning are dropped.
    fn from(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl From<DateForms> for u32 {
    fn from(forms: DateForms) -> Self {
        forms.0
    }
}

impl Default for DateForms {
    fn default() -> Self {
        Self::ISO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms_of(text: &str) -> DateForms {
        DateForms::ALL.filter(|form| matches!(form.split(text.as_bytes()), Some((_, []))))
    }

    #[test]
    fn a_date_is_read_in_its_forms_only() {
        let march_4 = days_since_epoch(2024, 3, 4);
        let texts = [
            "2024-03-04",
            "2024-3-4",
            "2024/03/04",
            "2024/3/4",
            "2024.03.04",
            "2024.3.4",
            "04-Mar-2024",
            "4-Mar-2024",
            "04 Mar 2024",
            "4 Mar 2024",
            "04-MAR-2024",
            "4-MAR-2024",
            "04 MAR 2024",
            "4 MAR 2024",
        ];
        for text in texts {
            let form = forms_of(text).decided().expect(text);
            assert_eq!(
                form.split(text.as_bytes()),
                march_4.map(|days| (days, &[][..])),
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for text in ["04/03/2024", "4.3.2024", "03-04-2024"] {
            assert_eq!(
                (forms_of(text).iter().count(), forms_of(text).decided()),
                (2, None),
                "{text}"
            );
        }
        let decided = [
            "13/04/2024",
            "04/13/2024",
            "13.04.2024",
            "4.13.2024",
            "13-04-2024",
        ];
        assert!(
            decided
                .iter()
                .all(|text| forms_of(text).decided().is_some())
        );
        let none = [
            "",
            "2024",
            "2024-03",
            "2024-03-04x",
            "24-03-04",
            "04/03/24",
            "30/02/2024",
            "2024-13-01",
            "0/1/2024",
            "00/01/2024",
            "04/3/2024",
            "2024-03/04",
            "04-mar-2024",
            "04-Mrz-2024",
            "04/Mar/2024",
            "Mar 4 2024",
            "20240304",
            "2024--1-1",
            "004/03/2024",
            "12024-03-04",
            "+4/3/2024",
            "4/3/02024",
            "4//2024",
        ];
        for text in none {
            assert!(forms_of(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn other_values_of_a_column_decide() {
        let column = |texts: &[&str]| {
            let sets = texts.iter().map(|text| forms_of(text));
            sets.reduce(DateForms::intersection).unwrap()
        };
        assert!(column(&["03/04/2024", "10/12/2024"]).decided().is_none());
        let day_first = column(&["03/04/2024", "13/04/2024"]).decided().unwrap();
        assert_eq!(
            day_first.split(b"03/04/2024"),
            forms_of("2024-04-03")
                .decided()
                .unwrap()
                .split(b"2024-04-03")
        );
        assert!(column(&["13/04/2024", "04/13/2024"]).is_empty());
        assert!(column(&["3/4/2024", "03/14/2024"]).is_empty());
        assert!(column(&["2024-03-04", "2024/03/04"]).is_empty());
        assert_eq!(column(&["2024-10-12", "2024-03-04"]), DateForms::ISO);
    }
}
