//! CSV in random dialects and encodings, and the parameters that say which.

use encoding_rs::WINDOWS_1252;

use crate::support::random::Random;
use crate::tables::{Kind, Table, Value, spelled};

struct Dialect {
    delimiter: &'static str,
    quote: &'static str,
    /// Before a quote that stands inside of quotes.
    escape: &'static str,
    newline: &'static str,
}

/// The parameters and the bytes.
pub(crate) fn written(
    table: &Table,
    has_header: bool,
    is_told: bool,
    random: &mut Random,
) -> (String, Vec<u8>) {
    let quote = if is_told {
        *random.pick(&["\"", "\"", "'"])
    } else {
        "\""
    };
    let dialect = Dialect {
        delimiter: if is_told {
            random.pick::<&str>(&[",", ",", ";", "\t", "|", ", ", "~"])
        } else if table.columns.len() == 1 {
            // Nothing tells that a comma is not one.
            ","
        } else {
            random.pick::<&str>(&[",", ";", "\t", "|"])
        },
        quote,
        escape: if random.one_in(4) { "\\" } else { quote },
        newline: random.pick::<&str>(&["\n", "\r\n", "\r"]),
    };
    let mut text = String::new();
    if has_header {
        let names: Vec<String> = table
            .columns
            .iter()
            .map(|(name, _)| field(Some(name), true, &dialect, random))
            .collect();
        push_row(&mut text, &names, &dialect);
    }
    for row in &table.rows {
        let fields: Vec<String> = row
            .iter()
            .zip(&table.columns)
            .map(|(value, (_, kind))| {
                let spelled = spelled(value, kind, false, random);
                let is_text = matches!((value, kind), (Value::Text(_), Kind::Text));
                field(spelled.as_deref(), is_text, &dialect, random)
            })
            .collect();
        push_row(&mut text, &fields, &dialect);
    }
    // The last newline may be missing, unless it is the row.
    if random.one_in(3) && !table.rows.iter().all(|row| row.len() == 1) {
        text.truncate(text.len() - dialect.newline.len());
    }
    let (encoding, bytes) = encoded(&text, random);
    if !is_told && encoding.is_none() {
        return (String::new(), bytes);
    }
    let percent =
        |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let escape = if dialect.escape == "\\" {
        "backslash"
    } else {
        "doubled"
    };
    let mut query = format!(
        "&delimiter={}&quote={}&escape={escape}&header={has_header}&skip=0",
        percent(dialect.delimiter),
        percent(quote)
    );
    if let Some(encoding) = encoding {
        query += &format!("&encoding={encoding}");
    }
    (query, bytes)
}

fn push_row(text: &mut String, fields: &[String], dialect: &Dialect) {
    text.push_str(&fields.join(dialect.delimiter));
    text.push_str(dialect.newline);
}

/// Null is nothing at all; an empty text is empty quotes.
fn field(spelled: Option<&str>, is_text: bool, dialect: &Dialect, random: &mut Random) -> String {
    let Some(text) = spelled else {
        return String::new();
    };
    let is_special = |letter: char| {
        dialect.delimiter.contains(letter)
            || dialect.quote.contains(letter)
            || "\\\r\n\u{feff}".contains(letter)
    };
    let needs_quotes = text.is_empty() || text.contains(is_special) || text.trim() != text;
    if !needs_quotes && !random.one_in(if is_text { 2 } else { 10 }) {
        return text.to_owned();
    }
    let (quote, escape) = (dialect.quote, dialect.escape);
    let text = if escape == "\\" {
        text.replace('\\', "\\\\")
    } else {
        text.to_owned()
    };
    format!(
        "{quote}{}{quote}",
        text.replace(quote, &format!("{escape}{quote}"))
    )
}

/// The bytes, and the parameter that says how they are encoded, where they do not tell.
fn encoded(text: &str, random: &mut Random) -> (Option<&'static str>, Vec<u8>) {
    let units = |mark: &str| -> Vec<u16> { format!("{mark}{text}").encode_utf16().collect() };
    let mark = "\u{feff}";
    match random.below(7) {
        0 => (None, format!("{mark}{text}").into_bytes()),
        1 => (
            None,
            units(mark)
                .iter()
                .flat_map(|unit| unit.to_le_bytes())
                .collect(),
        ),
        2 => (
            None,
            units(mark)
                .iter()
                .flat_map(|unit| unit.to_be_bytes())
                .collect(),
        ),
        3 => (
            Some("utf-16le"),
            units("")
                .iter()
                .flat_map(|unit| unit.to_le_bytes())
                .collect(),
        ),
        4 => match WINDOWS_1252.encode(text) {
            (bytes, _, false) => (Some("windows-1252"), bytes.into_owned()),
            _ => (Some("utf-8"), text.as_bytes().to_vec()),
        },
        _ => (None, text.as_bytes().to_vec()),
    }
}
