//! Made-up orders of a shop, from a seed: ids, times, categories, prices, rare nulls, and free text that sometimes needs quotes.
//!
//! A row says how it is written as CSV, as NDJSON, and as a row of Arrow columns; all three mean the same values.

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

/// The first line of a CSV file.
pub const CSV_HEADER: &str = "order_id,placed_at,customer,country,product,quantity,unit_price,discount,is_paid,shipped_on,latitude,note\n";

const COUNTRIES: [&str; 12] = [
    "AT", "BR", "CH", "DE", "FR", "GB", "IN", "JP", "NO", "PL", "US", "ZA",
];
const COLOURS: [&str; 8] = [
    "red", "green", "blue", "black", "white", "grey", "yellow", "brown",
];
const THINGS: [&str; 16] = [
    "lamp", "chair", "table", "shelf", "clock", "mirror", "carpet", "pillow", "kettle", "mug",
    "plate", "knife", "basket", "candle", "vase", "blanket",
];
const WORDS: [&str; 16] = [
    "please",
    "leave",
    "at",
    "the",
    "door",
    "ring",
    "twice",
    "gift",
    "call",
    "before",
    "noon",
    "fragile",
    "neighbour",
    "garden",
    "back",
    "desk",
];

/// One order.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    order_id: i64,
    placed_at: DateTime<Utc>,
    customer: u32,
    country: &'static str,
    colour: &'static str,
    thing: &'static str,
    quantity: i32,
    unit_price: f64,
    discount: Option<f64>,
    is_paid: bool,
    shipped_on: Option<NaiveDate>,
    latitude: f64,
    note: String,
}

/// Orders without end; equal seeds give equal orders.
pub struct Rows {
    random: fastrand::Rng,
    next_order_id: i64,
    placed_at: DateTime<Utc>,
}

impl Rows {
    /// Orders numbered from `first_order_id` on.
    pub fn new(seed: u64, first_order_id: i64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            next_order_id: first_order_id,
            placed_at: DateTime::UNIX_EPOCH + TimeDelta::days(19_700),
        }
    }

    fn note(&mut self) -> String {
        let mut note = String::new();
        for number in 0..self.random.usize(0..8) {
            if number > 0 {
                note.push_str(if self.random.u8(0..10) == 0 {
                    ", "
                } else {
                    " "
                });
            }
            note.push_str(one_of(&mut self.random, &WORDS));
        }
        note
    }
}

fn one_of(random: &mut fastrand::Rng, from: &[&'static str]) -> &'static str {
    from[random.usize(0..from.len())]
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let order_id = self.next_order_id;
        self.next_order_id += 1;
        self.placed_at += TimeDelta::milliseconds(self.random.i64(0..20_000));
        let note = self.note();
        let random = &mut self.random;
        let shipped_after = Days::new(random.u64(1..10));
        Some(Row {
            order_id,
            placed_at: self.placed_at,
            customer: random.u32(0..200_000),
            country: one_of(random, &COUNTRIES),
            colour: one_of(random, &COLOURS),
            thing: one_of(random, &THINGS),
            quantity: random.i32(1..20),
            unit_price: f64::from(random.u32(100..100_000)) / 100.0,
            discount: (random.u8(0..4) == 0).then(|| f64::from(random.u8(1..30)) / 100.0),
            is_paid: random.bool(),
            shipped_on: (random.u8(0..5) > 0).then(|| self.placed_at.date_naive() + shipped_after),
            latitude: f64::from(random.i32(-90_000_000..90_000_000)) / 1e6,
            note,
        })
    }
}

impl Row {
    /// Adds the row as a line of CSV; null is an empty field, and an empty note a quoted one.
    pub fn push_csv(&self, text: &mut String) {
        // Writing to a string cannot fail, here and below.
        let _ = write!(
            text,
            "{},{},customer {},{},{} {},{},{},",
            self.order_id,
            self.placed_at.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
            self.customer,
            self.country,
            self.colour,
            self.thing,
            self.quantity,
            self.unit_price,
        );
        if let Some(discount) = self.discount {
            let _ = write!(text, "{discount}");
        }
        let _ = write!(text, ",{},", self.is_paid);
        if let Some(day) = self.shipped_on {
            let _ = write!(text, "{day}");
        }
        let quote = if self.note.is_empty() || self.note.contains(',') {
            "\""
        } else {
            ""
        };
        let _ = writeln!(text, ",{},{quote}{}{quote}", self.latitude, self.note);
    }

    /// Adds the row as a line of NDJSON.
    pub fn push_ndjson(&self, text: &mut String) {
        let _ = write!(
            text,
            "{{\"order_id\":{},\"placed_at\":\"{}\",\"customer\":\"customer {}\",\"country\":\"{}\",\"product\":\"{} {}\",\"quantity\":{},\"unit_price\":{},\"discount\":",
            self.order_id,
            self.placed_at.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
            self.customer,
            self.country,
            self.colour,
            self.thing,
            self.quantity,
            self.unit_price,
        );
        match self.discount {
            Some(discount) => _ = write!(text, "{discount}"),
            None => text.push_str("null"),
        }
        let _ = write!(text, ",\"is_paid\":{},\"shipped_on\":", self.is_paid);
        match self.shipped_on {
            Some(day) => _ = write!(text, "\"{day}\""),
            None => text.push_str("null"),
        }
        let _ = writeln!(
            text,
            ",\"latitude\":{},\"note\":\"{}\"}}",
            self.latitude, self.note
        );
    }
}

/// Rows as Arrow columns, with the names of [`CSV_HEADER`].
pub fn record_batch(rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let mut order_id = Int64Builder::new();
    let mut placed_at = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut customer = StringBuilder::new();
    let mut country = StringBuilder::new();
    let mut product = StringBuilder::new();
    let mut quantity = Int32Builder::new();
    let mut unit_price = Float64Builder::new();
    let mut discount = Float64Builder::new();
    let mut is_paid = BooleanBuilder::new();
    let mut shipped_on = Date32Builder::new();
    let mut latitude = Float64Builder::new();
    let mut note = StringBuilder::new();
    for row in rows {
        order_id.append_value(row.order_id);
        placed_at.append_value(row.placed_at.timestamp_micros());
        customer.append_value(format!("customer {}", row.customer));
        country.append_value(row.country);
        product.append_value(format!("{} {}", row.colour, row.thing));
        quantity.append_value(row.quantity);
        unit_price.append_value(row.unit_price);
        discount.append_option(row.discount);
        is_paid.append_value(row.is_paid);
        shipped_on.append_option(row.shipped_on.map(|day| day.to_epoch_days()));
        latitude.append_value(row.latitude);
        note.append_value(&row.note);
    }
    let columns: [ArrayRef; 12] = [
        Arc::new(order_id.finish()),
        Arc::new(placed_at.finish()),
        Arc::new(customer.finish()),
        Arc::new(country.finish()),
        Arc::new(product.finish()),
        Arc::new(quantity.finish()),
        Arc::new(unit_price.finish()),
        Arc::new(discount.finish()),
        Arc::new(is_paid.finish()),
        Arc::new(shipped_on.finish()),
        Arc::new(latitude.finish()),
        Arc::new(note.finish()),
    ];
    RecordBatch::try_from_iter(CSV_HEADER.trim_end().split(',').zip(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_rows_and_others_do_not() {
        let rows = |seed| Rows::new(seed, 7).take(100).collect::<Vec<_>>();
        assert_eq!(rows(1), rows(1));
        assert_ne!(rows(1), rows(2));
        assert_eq!(rows(1)[99].order_id, 106);
    }

    #[test]
    fn the_three_spellings_have_the_same_values() {
        let rows: Vec<Row> = Rows::new(3, 0).take(200).collect();
        let batch = record_batch(&rows).unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (200, 12));
        let mut has_null = false;
        for row in &rows {
            let (mut csv, mut json) = (String::new(), String::new());
            row.push_csv(&mut csv);
            row.push_ndjson(&mut json);
            let object: serde_json::Value = serde_json::from_str(&json).unwrap();
            // The note comes last, so that a plain split finds the other eleven fields.
            let fields: Vec<&str> = csv.trim_end().splitn(12, ',').collect();
            for (name, field) in CSV_HEADER.trim_end().split(',').zip(&fields) {
                let value = match &object[name] {
                    serde_json::Value::String(text) => text.clone(),
                    serde_json::Value::Null => String::new(),
                    other => other.to_string(),
                };
                has_null |= object[name].is_null();
                let is_number = object[name].is_number();
                let field = field.trim_matches('"');
                let same = if is_number {
                    field.parse::<f64>().unwrap() == value.parse::<f64>().unwrap()
                } else {
                    field == value
                };
                assert!(same, "{name}: `{field}` in CSV, `{value}` in JSON");
            }
        }
        assert!(has_null, "no row has a null");
    }
}
