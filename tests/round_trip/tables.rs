//! Random tables of every type that a format can hold, with values at the edges of each.
//!
//! The first row of a table has a value everywhere, and one that can be of no other type than its column's.

use chrono::{DateTime, NaiveDate, NaiveTime, Timelike};
use serde_json::{Value as Json, json};

use crate::spelling::{DATE_FORMS, date_of};
use crate::support::random::Random;

const DAY_MICROS: i64 = 86_400_000_000;
/// 0001-01-02 to 9999-12-30, so that no zone leaves the calendar.
const FIRST_DAY: i64 = -719_161;
const LAST_DAY: i64 = 2_932_895;

/// A column's type; of dates with the form that all values of the column have in text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Boolean,
    Long,
    Double,
    Date(usize),
    Timestamp(usize),
    TimestampTz(usize),
    Text,
    /// Numbers that no number type holds; text.
    Digits,
    Struct(Vec<(String, Kind)>),
    List(Box<Kind>),
    Int,
    Float,
    Decimal(u8, u8),
    Binary,
    Time,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    Long(i64),
    Double(f64),
    Date(i32),
    Timestamp(i64),
    TimestampTz(i64),
    Text(String),
    Digits(String),
    Struct(Vec<(String, Value)>),
    List(Vec<Value>),
    Binary(Vec<u8>),
    Time(i64),
}

#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) columns: Vec<(String, Kind)>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Table {
    /// With words in the place of text that could be taken for another way to write the file.
    pub(crate) fn tamed(mut self) -> Self {
        for value in self.rows.iter_mut().flatten() {
            if let Value::Text(text) = value {
                *text = format!("word {}", text.len());
            }
        }
        self
    }

    /// With the names that columns without a header get.
    pub(crate) fn without_names(mut self) -> Self {
        for (index, (name, _)) in self.columns.iter_mut().enumerate() {
            *name = format!("column_{}", index + 1);
        }
        self
    }
}

impl Kind {
    /// As Iceberg spells it.
    pub(crate) fn iceberg(&self) -> String {
        match self {
            Self::Boolean => "boolean".to_owned(),
            Self::Long => "long".to_owned(),
            Self::Double => "double".to_owned(),
            Self::Date(_) => "date".to_owned(),
            Self::Timestamp(_) => "timestamp".to_owned(),
            Self::TimestampTz(_) => "timestamptz".to_owned(),
            Self::Text | Self::Digits => "string".to_owned(),
            Self::Struct(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, kind)| format!("{name}: {}", kind.iceberg()));
                format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
            }
            Self::List(element) => format!("list<{}>", element.iceberg()),
            Self::Int => "int".to_owned(),
            Self::Float => "float".to_owned(),
            Self::Decimal(precision, scale) => format!("decimal({precision}, {scale})"),
            Self::Binary => "binary".to_owned(),
            Self::Time => "time".to_owned(),
        }
    }

    /// Whether a reader cannot tell null from empty: PyIceberg 0.12 reads a null list of structs as an empty one.
    fn is_never_null(&self) -> bool {
        matches!(self, Self::List(element) if element.has_struct())
    }

    fn has_struct(&self) -> bool {
        match self {
            Self::Struct(_) => true,
            Self::List(element) => element.has_struct(),
            _ => false,
        }
    }
}

impl Value {
    /// As the description of what a reader must find has it.
    pub(crate) fn expected(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Boolean(value) => json!(value),
            Self::Long(value) => json!(value),
            Self::Double(value) => json!(format!("{value:?}")),
            Self::Date(days) => json!(date(*days).to_string()),
            Self::Timestamp(micros) => json!(iso(*micros)),
            Self::TimestampTz(micros) => json!(format!("{}+00:00", iso(*micros))),
            Self::Text(text) | Self::Digits(text) => json!(text),
            Self::Struct(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.expected()));
                Json::Object(fields.collect())
            }
            Self::List(elements) => elements.iter().map(Self::expected).collect(),
            Self::Binary(bytes) => json!(hex::encode(bytes)),
            Self::Time(micros) => json!(time(*micros).format("%H:%M:%S%.6f").to_string()),
        }
    }
}

pub(crate) fn date(days: i32) -> NaiveDate {
    date_of(days).expect("a date of the calendar")
}

pub(crate) fn clock(micros: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp_micros(micros).expect("a time of the calendar")
}

fn time(micros: i64) -> NaiveTime {
    clock(micros).time()
}

fn iso(micros: i64) -> String {
    clock(micros).format("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

/// A table of one to seven columns and one to sixty rows.
pub(crate) fn random(is_parquet: bool, may_nest: bool, random: &mut Random) -> Table {
    const NAMES: [&str; 7] = [
        "id",
        "Name \u{e9}",
        "c,d;e",
        "say \"x\"",
        "x_4",
        "\u{6f22}\u{5b57}",
        "it's",
    ];
    let columns: Vec<(String, Kind)> = NAMES[..1 + random.index(NAMES.len())]
        .iter()
        .map(|name| ((*name).to_owned(), kind(is_parquet, may_nest, 2, random)))
        .collect();
    let first = columns
        .iter()
        .map(|(_, kind)| settling(kind, random))
        .collect();
    let mut rows = vec![first];
    for _ in 0..random.below(60) {
        rows.push(
            columns
                .iter()
                .map(|(_, kind)| value(kind, is_parquet, random))
                .collect(),
        );
    }
    Table { columns, rows }
}

fn kind(is_parquet: bool, may_nest: bool, levels: u32, random: &mut Random) -> Kind {
    // Inside of nested values dates have one form only.
    let form = if levels < 2 || is_parquet {
        0
    } else {
        random.index(DATE_FORMS.len())
    };
    let kinds = if is_parquet { 14 } else { 9 };
    match random.below(kinds + if may_nest && levels > 0 { 4 } else { 0 }) {
        0 => Kind::Boolean,
        1 => Kind::Long,
        2 | 3 => Kind::Double,
        4 => Kind::Date(form),
        5 => Kind::Timestamp(form),
        6 => Kind::TimestampTz(form),
        7 => Kind::Text,
        8 if !is_parquet => Kind::Digits,
        8 => Kind::Binary,
        9 if is_parquet => Kind::Int,
        10 if is_parquet => Kind::Float,
        11 if is_parquet => {
            let precision = 1 + random.below(38) as u8;
            Kind::Decimal(precision, random.below(u64::from(precision)) as u8)
        }
        12 if is_parquet => Kind::Time,
        13 if is_parquet => Kind::Text,
        _ if random.one_in(2) => Kind::List(Box::new(kind(is_parquet, true, levels - 1, random))),
        _ => {
            let count = 1 + random.below(3);
            let fields = (0..count).map(|index| {
                (
                    format!("f{index}"),
                    kind(is_parquet, true, levels - 1, random),
                )
            });
            Kind::Struct(fields.collect())
        }
    }
}

/// A value that can be of this type only.
fn settling(kind: &Kind, random: &mut Random) -> Value {
    // A day beyond the twelfth: it is no month.
    let day = 19_737 + random.below(10) as i32;
    match kind {
        Kind::Double => Value::Double(1.5),
        Kind::Date(_) => Value::Date(day),
        Kind::Timestamp(_) => Value::Timestamp(i64::from(day) * DAY_MICROS + 1),
        Kind::TimestampTz(_) => Value::TimestampTz(i64::from(day) * DAY_MICROS + DAY_MICROS / 2),
        Kind::Text => Value::Text("word".to_owned()),
        Kind::Digits => Value::Digits("123456789012345678901234567890".to_owned()),
        Kind::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|(name, kind)| (name.clone(), settling(kind, random)));
            Value::Struct(fields.collect())
        }
        Kind::List(element) => Value::List(vec![settling(element, random)]),
        _ => present(kind, false, random),
    }
}

fn value(kind: &Kind, is_parquet: bool, random: &mut Random) -> Value {
    if random.one_in(5) && !kind.is_never_null() {
        return Value::Null;
    }
    present(kind, is_parquet, random)
}

fn present(kind: &Kind, is_parquet: bool, random: &mut Random) -> Value {
    match kind {
        Kind::Boolean => Value::Boolean(random.one_in(2)),
        Kind::Long => Value::Long(integer(random)),
        Kind::Int => Value::Long(i64::from(integer(random) as i32)),
        Kind::Double => Value::Double(double(is_parquet, random)),
        Kind::Float => Value::Double(f64::from(double(false, random) as f32)),
        Kind::Date(_) => Value::Date(day(random) as i32),
        Kind::Timestamp(_) => Value::Timestamp(day(random) * DAY_MICROS + micros(random)),
        Kind::TimestampTz(_) => Value::TimestampTz(day(random) * DAY_MICROS + micros(random)),
        Kind::Text => Value::Text(text(random)),
        Kind::Digits => {
            const DIGITS: [&str; 6] = [
                "9223372036854775808",
                "-9223372036854775809",
                "0.12345678901234567890",
                "100000000000000000000",
                "7",
                "-0.10",
            ];
            Value::Digits((*random.pick(&DIGITS)).to_owned())
        }
        Kind::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|(name, kind)| (name.clone(), value(kind, is_parquet, random)));
            Value::Struct(fields.collect())
        }
        Kind::List(element) => Value::List(
            (0..random.below(4))
                .map(|_| value(element, is_parquet, random))
                .collect(),
        ),
        Kind::Decimal(precision, scale) => {
            let digits: String = (0..*precision)
                .map(|_| char::from(b'0' + random.below(10) as u8))
                .collect();
            let (whole, fraction) = digits.split_at(usize::from(precision - scale));
            let sign = random.pick(&["", "-"]);
            Value::Text(format!("{sign}{whole}.{fraction}"))
        }
        Kind::Binary => Value::Binary(
            (0..random.below(9))
                .map(|_| random.below(256) as u8)
                .collect(),
        ),
        Kind::Time => Value::Time(micros(random)),
    }
}

fn bits(random: &mut Random) -> u64 {
    random.below(1 << 32) << 32 | random.below(1 << 32)
}

fn integer(random: &mut Random) -> i64 {
    const EDGES: [i64; 8] = [
        0,
        -1,
        i64::MAX,
        i64::MIN,
        (1 << 53) + 1,
        i32::MAX as i64,
        i32::MIN as i64,
        10,
    ];
    match random.below(3) {
        0 => *random.pick(&EDGES),
        1 => random.below(2000) as i64 - 1000,
        _ => bits(random).cast_signed(),
    }
}

fn double(is_parquet: bool, random: &mut Random) -> f64 {
    const EDGES: [f64; 8] = [
        0.0,
        -0.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        0.1,
        1e22,
    ];
    let any = f64::from_bits(bits(random));
    match random.below(4) {
        0 => *random.pick(&EDGES),
        1 => random.below(100_000) as f64 / 100.0,
        2 if is_parquet => *random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        _ if any.is_finite() => any,
        _ => -2.25,
    }
}

fn day(random: &mut Random) -> i64 {
    match random.below(3) {
        0 => *random.pick(&[FIRST_DAY, LAST_DAY, -1, 0, 11_016]),
        1 => random.below(30_000) as i64,
        _ => FIRST_DAY + random.below((LAST_DAY - FIRST_DAY) as u64) as i64,
    }
}

fn micros(random: &mut Random) -> i64 {
    match random.below(4) {
        0 => random.below(1440) as i64 * 60_000_000,
        1 => random.below(86_400) as i64 * 1_000_000,
        2 => *random.pick(&[0, 1, DAY_MICROS - 1, 500_000]),
        _ => random.below(DAY_MICROS as u64) as i64,
    }
}

/// Text that formats like to change.
fn text(random: &mut Random) -> String {
    const WORDS: [&str; 22] = [
        "",
        " ",
        "NULL",
        "null",
        "\\N",
        "NA",
        "007",
        "1",
        "1.50",
        "true",
        "2024-01-01",
        "a\"b",
        "\"",
        "'",
        "a,b;c|d\te",
        "line\nbreak",
        "carriage\rreturn",
        "\r\n",
        "back\\slash\\",
        "\u{1f980} \u{6f22}",
        "\u{feff}mark",
        "#no comment",
    ];
    const LETTERS: [char; 20] = [
        'a', 'B', ' ', '\u{e9}', '\u{df}', '"', '\'', ',', ';', '|', '\t', '\n', '\\', '0', '9',
        '-', '{', '}', '\u{20ac}', '/',
    ];
    match random.below(3) {
        0 => (*random.pick(&WORDS)).to_owned(),
        1 => (0..random.below(12))
            .map(|_| *random.pick(&LETTERS))
            .collect(),
        _ => format!("word {}", random.below(1000)),
    }
}

/// How a time of day may be written; the date before it has the form of the column.
pub(crate) fn spelled_clock(micros: i64, random: &mut Random) -> String {
    let time = time(micros);
    let (is_minute, is_second) = (micros % 60_000_000 == 0, micros % 1_000_000 == 0);
    match random.below(3) {
        0 if is_minute => time.format("%H:%M").to_string(),
        0 | 1 if is_second => time.format("%H:%M:%S").to_string(),
        _ => format!(
            "{}{}{:06}",
            time.format("%H:%M:%S"),
            random.pick(&[".", ","]),
            time.nanosecond() / 1000
        ),
    }
}

/// The value of a column without quotes of any format; nothing for null and for nested values.
pub(crate) fn spelled(
    value: &Value,
    kind: &Kind,
    is_json: bool,
    random: &mut Random,
) -> Option<String> {
    let form = |index: &usize| DATE_FORMS[*index];
    match (value, kind) {
        (Value::Boolean(value), _) if is_json => Some(value.to_string()),
        (Value::Boolean(value), _) => {
            let words = if *value {
                ["true", "TRUE", "True"]
            } else {
                ["false", "FALSE", "False"]
            };
            Some((*random.pick(&words)).to_owned())
        }
        (Value::Long(value), _) => Some(value.to_string()),
        (Value::Double(value), _) => {
            let plain = format!("{value:?}");
            Some(match plain.split_once('e') {
                // A bare exponent could be a name.
                Some((mantissa, exponent)) if !mantissa.contains('.') => {
                    format!("{mantissa}.0e{exponent}")
                }
                Some(_) => plain,
                None if random.one_in(3) => format!("{plain}00"),
                None => plain,
            })
        }
        (Value::Date(days), Kind::Date(index)) => {
            Some(crate::spelling::print_date(form(index), date(*days)))
        }
        (Value::Timestamp(micros), Kind::Timestamp(index)) => {
            Some(spelled_timestamp(*micros, form(index), random))
        }
        (Value::TimestampTz(micros), Kind::TimestampTz(index)) => {
            let (minutes, zone) = *random.pick(&[
                (0, "Z"),
                (0, " UTC"),
                (0, "+00:00"),
                (330, "+05:30"),
                (-480, " -0800"),
                (120, "+02"),
            ]);
            let local = micros + minutes * 60_000_000;
            Some(spelled_timestamp(local, form(index), random) + zone)
        }
        (Value::Text(text) | Value::Digits(text), _) => Some(text.clone()),
        _ => None,
    }
}

fn spelled_timestamp(micros: i64, form: (&str, bool), random: &mut Random) -> String {
    let day = micros.div_euclid(DAY_MICROS) as i32;
    let separator = random.pick(&["T", " "]);
    let clock = spelled_clock(micros.rem_euclid(DAY_MICROS), random);
    format!(
        "{}{separator}{clock}",
        crate::spelling::print_date(form, date(day))
    )
}
