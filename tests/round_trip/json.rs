//! JSON as writers lay it out: a line an object, or an array; keys of nulls there or not; text escaped or not.

use crate::support::random::Random;
use crate::tables::{Kind, Table, Value, spelled};

/// NDJSON.
pub(crate) fn lines(table: &Table, random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    for object in objects(table, random) {
        text.push_str(&object);
        let newline: &&str = random.pick(&["\n", "\n", "\r\n", "\n\n"]);
        text.push_str(newline);
    }
    text.into_bytes()
}

/// One array.
pub(crate) fn array(table: &Table, random: &mut Random) -> Vec<u8> {
    let separator = random.pick(&[",", ",\n", " ,\n  "]);
    format!("[{}]\n", objects(table, random).join(separator)).into_bytes()
}

fn objects(table: &Table, random: &mut Random) -> Vec<String> {
    table
        .rows
        .iter()
        .map(|row| {
            let fields: Vec<(&str, &Value, &Kind)> = table
                .columns
                .iter()
                .zip(row)
                .map(|((name, kind), value)| (name.as_str(), value, kind))
                .collect();
            object(&fields, true, random)
        })
        .collect()
}

fn object(fields: &[(&str, &Value, &Kind)], is_row: bool, random: &mut Random) -> String {
    let mut members = Vec::new();
    for (index, (name, value, kind)) in fields.iter().enumerate() {
        // An object without any key has no shape, and a row without any no column.
        let may_go = !(members.is_empty() && index + 1 == fields.len());
        if **value == Value::Null && may_go && random.one_in(2) {
            continue;
        }
        let blank = random.pick(&["", "", " "]);
        members.push(format!(
            "{}:{blank}{}",
            string(name, random),
            written(value, kind, random)
        ));
    }
    let separator = if is_row {
        *random.pick(&[",", ", "])
    } else {
        ","
    };
    format!("{{{}}}", members.join(separator))
}

fn written(value: &Value, kind: &Kind, random: &mut Random) -> String {
    match (value, kind) {
        (Value::Null, _) => "null".to_owned(),
        (Value::Struct(values), Kind::Struct(fields)) => {
            let fields: Vec<(&str, &Value, &Kind)> = values
                .iter()
                .zip(fields)
                .map(|((name, value), (_, kind))| (name.as_str(), value, kind))
                .collect();
            object(&fields, false, random)
        }
        (Value::List(elements), Kind::List(kind)) => {
            let elements: Vec<String> = elements
                .iter()
                .map(|one| written(one, kind, random))
                .collect();
            format!("[{}]", elements.join(","))
        }
        _ => {
            let text = spelled(value, kind, true, random).expect("a value of JSON");
            match value {
                Value::Boolean(_) | Value::Long(_) | Value::Double(_) | Value::Digits(_) => text,
                _ => string(&text, random),
            }
        }
    }
}

/// In quotes; at times every letter as an escape.
fn string(text: &str, random: &mut Random) -> String {
    if random.one_in(5) {
        let units: String = text
            .encode_utf16()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect();
        return format!("\"{units}\"");
    }
    serde_json::to_string(text).expect("JSON")
}
