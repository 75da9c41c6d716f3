//! Tables with the values that people write, in every common dialect.

use std::fmt::Write as _;

use serde_json::json;

use super::support::random::Random;

const ROWS: u64 = 60;
const COLUMNS: [&str; 7] = ["id", "price", "day", "at", "flag", "word", "note"];
const WORDS: [&str; 6] = ["Bern", "Zürich", "O'Hara", "two words", "x", "12b"];
const NOTES: [&str; 5] = [
    "plain",
    "with, comma; and | more\ttoo",
    "say \"hi\"",
    "two\nlines",
    "ends with blank ",
];

/// How a file is written.
struct Style {
    delimiter: &'static str,
    newline: &'static str,
    /// Whether every field has quotes around it.
    quotes_all: bool,
}

/// Names and texts.
pub(crate) fn csv_files() -> Vec<(String, String)> {
    let delimiters = [
        ("comma", ","),
        ("semicolon", ";"),
        ("tab", "\t"),
        ("pipe", "|"),
    ];
    let mut files = Vec::new();
    for (delimiter_name, delimiter) in delimiters {
        for (newline_name, newline) in [("lf", "\n"), ("crlf", "\r\n")] {
            for (quotes_name, quotes_all) in [("bare", false), ("quoted", true)] {
                let name = format!("{delimiter_name}_{newline_name}_{quotes_name}");
                let style = Style {
                    delimiter,
                    newline,
                    quotes_all,
                };
                let seed = files.len() as u64;
                files.push((name, csv(&style, &mut Random::new(seed, 0))));
            }
        }
    }
    files
}

fn csv(style: &Style, random: &mut Random) -> String {
    let mut text = String::new();
    let header = COLUMNS.map(str::to_owned);
    let rows = (0..ROWS).map(|row| cells(row, random));
    for row in std::iter::once(header).chain(rows) {
        let fields: Vec<String> = row.iter().map(|cell| field(cell, style)).collect();
        text += &fields.join(style.delimiter);
        text += style.newline;
    }
    text
}

fn field(cell: &str, style: &Style) -> String {
    let special = ["\"", "\n", "\r", style.delimiter];
    let needs_quotes = special.iter().any(|special| cell.contains(special));
    // An empty field stays without quotes: it is null.
    if !cell.is_empty() && (style.quotes_all || needs_quotes) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

fn cells(row: u64, random: &mut Random) -> [String; COLUMNS.len()] {
    let day = format!(
        "2024-{:02}-{:02}",
        random.below(12) + 1,
        random.below(28) + 1
    );
    let clock = format!(
        "{:02}:{:02}:{:02}",
        random.below(24),
        random.below(60),
        random.below(60)
    );
    let or_null = |random: &mut Random, text: String| {
        if random.one_in(9) {
            String::new()
        } else {
            text
        }
    };
    let price = format!("{}.{:02}", random.below(1000), random.below(100));
    [
        row.to_string(),
        or_null(random, price),
        or_null(random, day.clone()),
        or_null(random, format!("{day} {clock}")),
        or_null(random, random.clone().one_in(2).to_string()),
        (*random.pick(&WORDS)).to_owned(),
        (*random.pick(&NOTES)).to_owned(),
    ]
}

/// Names and texts.
pub(crate) fn json_files() -> Vec<(String, String)> {
    let mut random = Random::new(0, 1);
    let mut lines = String::new();
    let mut nested = String::new();
    let mut rows = Vec::new();
    for row in 0..ROWS {
        let [_, price, day, at, flag, word, note] = cells(row, &mut random);
        let flat = json!({
            "id": row, "price": price.parse::<f64>().ok(), "day": Some(day).filter(|day| !day.is_empty()),
            "at": Some(at).filter(|at| !at.is_empty()), "flag": flag.parse::<bool>().ok(), "word": word, "note": note,
        });
        let tags: Vec<u64> = (0..random.below(4)).collect();
        let deep = json!({"id": row, "place": {"x": row * 2, "name": flat["word"]}, "tags": tags});
        writeln!(lines, "{flat}").expect("a string takes all");
        writeln!(nested, "{deep}").expect("a string takes all");
        rows.push(flat);
    }
    let array = json!(rows);
    vec![
        ("lines".to_owned(), lines.clone()),
        ("lines_crlf".to_owned(), lines.replace('\n', "\r\n")),
        (
            "lines_with_blank_ones".to_owned(),
            lines.replace('\n', "\n\n"),
        ),
        ("lines_with_mark".to_owned(), format!("\u{feff}{lines}")),
        ("nested".to_owned(), nested),
        ("array".to_owned(), array.to_string()),
        ("array_on_many_lines".to_owned(), format!("{array:#}")),
    ]
}
