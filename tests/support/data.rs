//! Made-up CSV data whose every row is distinct, and descriptions of what a reader must find.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The columns of `numbered_csv` with their Iceberg types.
pub const NUMBERED_COLUMNS: &[(&str, &str)] = &[
    ("part", "long"),
    ("row", "long"),
    ("word", "string"),
    ("amount", "double"),
    ("day", "date"),
    ("moment", "timestamptz"),
    ("flag", "boolean"),
];

/// CSV with one header line and `rows` rows that differ from each other and from those of every other part.
pub fn numbered_csv(part: u32, rows: u32) -> String {
    let mut csv = String::with_capacity(100 * (rows as usize + 1));
    csv.push_str("part,row,word,amount,day,moment,flag\n");
    for row in 0..rows {
        push_numbered_row(&mut csv, part, row);
    }
    csv
}

/// As `numbered_csv`, with as many rows as fit in `bytes`; gives the number of rows too.
pub fn numbered_csv_of_bytes(part: u32, bytes: usize) -> (String, u32) {
    let mut csv = numbered_csv(part, 0);
    csv.reserve(bytes);
    let mut rows = 0;
    loop {
        let end = csv.len();
        push_numbered_row(&mut csv, part, rows);
        if csv.len() > bytes {
            csv.truncate(end);
            return (csv, rows);
        }
        rows += 1;
    }
}

/// One row of `numbered_csv`, its values spelled as the CSV has them.
pub struct NumberedRow {
    pub word: String,
    pub amount: String,
    pub day: String,
    pub moment: String,
    pub flag: bool,
}

impl NumberedRow {
    /// The row with this number of the part with this number.
    pub fn new(part: u32, row: u32) -> Self {
        // Mixes the bits, so that columns do not compress to nothing.
        let noise = u64::from(part).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ u64::from(row).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
        let noise = noise ^ (noise >> 29);
        // One word in seven needs quoting, for a comma, a doubled quote and a line break.
        let word = match row % 7 {
            3 => format!("{noise:x}, \"quoted\"\nand more"),
            _ => format!("word-{noise:x}"),
        };
        // The fifteenth day and later: month and day cannot be mistaken for each other.
        let day = 15 + noise % 14;
        let month = 1 + noise / 14 % 12;
        let second = noise / 168 % 60;
        let (whole, hundredths) = (noise / 7 % 100_000, 1 + noise / 11 % 99);
        let day = format!("2024-{month:02}-{day:02}");
        Self {
            word,
            amount: format!("{whole}.{hundredths:02}"),
            moment: format!("{day}T10:20:{second:02}Z"),
            day,
            flag: noise & 1 == 1,
        }
    }
}

fn push_numbered_row(csv: &mut String, part: u32, row: u32) {
    let NumberedRow {
        word,
        amount,
        day,
        moment,
        flag,
    } = NumberedRow::new(part, row);
    let word = match word.contains('"') {
        true => format!("\"{}\"", word.replace('"', "\"\"")),
        false => word,
    };
    writeln!(csv, "{part},{row},{word},{amount},{day},{moment},{flag}").expect("write to a string");
}

/// What a reader must find: columns with Iceberg types and where the rows come from (see `python/expected.py`).
pub struct Expectation {
    folder: TempDir,
    /// None: those of the first source, a Parquet file.
    columns: Option<Vec<Value>>,
    sources: Vec<Value>,
}

impl Expectation {
    /// With columns given as (name, Iceberg type).
    pub fn new(columns: &[(&str, &str)]) -> Self {
        let columns = columns
            .iter()
            .map(|(name, kind)| json!({"name": name, "type": kind}))
            .collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            folder,
            columns: Some(columns),
            sources: Vec::new(),
        }
    }

    /// The columns of `numbered_csv`.
    pub fn numbered() -> Self {
        Self::new(NUMBERED_COLUMNS)
    }

    /// The columns and rows of a Parquet file.
    pub fn like_parquet_file(path: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            folder,
            columns: None,
            sources: Vec::new(),
        }
        .parquet_file(path, 1)
    }

    /// These words are null in columns that are not text.
    pub fn null_words(mut self, words: &[&str]) -> Self {
        for column in self.columns.iter_mut().flatten() {
            if column["type"] != "string" {
                column["null_words"] = json!(words);
            }
        }
        self
    }

    /// Adds the rows of a CSV text.
    pub fn csv(mut self, text: &str) -> Self {
        let path = self
            .folder
            .path()
            .join(format!("{}.csv", self.sources.len()));
        fs::write(&path, text).expect("write the expected CSV");
        self.sources.push(json!({"format": "csv", "path": path}));
        self
    }

    /// Adds the rows of a CSV file, as often as said.
    pub fn csv_file(mut self, path: &Path, times: u32) -> Self {
        self.sources
            .push(json!({"format": "csv", "path": path, "times": times}));
        self
    }

    /// Adds the rows of a Parquet file, as often as said.
    pub fn parquet_file(mut self, path: &Path, times: u32) -> Self {
        self.sources
            .push(json!({"format": "parquet", "path": path, "times": times}));
        self
    }

    /// Adds rows written out as lists of JSON values.
    pub fn rows(mut self, rows: &Value) -> Self {
        self.sources.push(json!({"format": "rows", "rows": rows}));
        self
    }

    /// Writes the description for the Python programs and gives its path.
    pub fn write(&self, name: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        let description = json!({"columns": self.columns, "sources": self.sources});
        fs::write(&path, description.to_string()).expect("write the expectation");
        path
    }
}
