//! Walks over the text of one JSON value whose grammar was checked before.
//!
//! Lends the text of each member or element instead of building a tree, so that one value can be seen as
//! evidence, and later as cells, by the same few lines. Text that is not JSON ends a walk early; it
//! never panics.

use std::borrow::Cow;

use super::evidence::CellKind;

/// The members of an object, each as its key and the text of its value, in the order of the text.
pub fn members(object: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    let mut walk = Walk::into_nested(object);
    std::iter::from_fn(move || {
        let key = walk.value()?;
        Some((string_content(key), walk.value()?))
    })
}

/// The text of each element of an array.
pub fn elements(array: &str) -> impl Iterator<Item = &str> {
    let mut walk = Walk::into_nested(array);
    std::iter::from_fn(move || walk.value())
}

/// A value as the cell that it makes: a string is its content, all else its text.
pub fn cell(value: &str) -> (CellKind, Cow<'_, str>) {
    let kind = match value.as_bytes().first() {
        Some(b'"') => return (CellKind::JsonString, string_content(value)),
        Some(b'{' | b'[') => CellKind::JsonNested,
        Some(b't' | b'f') => CellKind::JsonBool,
        Some(b'n') | None => return (CellKind::Null, Cow::Borrowed("")),
        Some(_) => CellKind::JsonNumber,
    };
    (kind, Cow::Borrowed(value))
}

fn string_content(token: &str) -> Cow<'_, str> {
    let content = token.get(1..token.len().saturating_sub(1));
    match content {
        Some(content) if memchr::memchr(b'\\', content.as_bytes()).is_none() => {
            Cow::Borrowed(content)
        }
        _ => serde_json::from_str(token).map_or(Cow::Borrowed(token), Cow::Owned),
    }
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    /// Behind the bracket that the text starts with.
    fn into_nested(text: &'a str) -> Self {
        Self { text, at: 1 }
    }

    /// The next key or value; nothing at the closing bracket.
    fn value(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        while matches!(
            bytes.get(self.at)?,
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':'
        ) {
            self.at += 1;
        }
        let start = self.at;
        match bytes[start] {
            b'}' | b']' => return None,
            b'"' => self.skip_string(),
            b'{' | b'[' => self.skip_nested(),
            _ => {
                let is_end = |byte: &u8| {
                    matches!(
                        byte,
                        b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b'}' | b']'
                    )
                };
                let rest = &bytes[start..];
                self.at += rest.iter().position(is_end).unwrap_or(rest.len());
            }
        }
        self.text.get(start..self.at)
    }

    /// From a quote to behind the quote that closes it.
    fn skip_string(&mut self) {
        let bytes = self.text.as_bytes();
        self.at += 1;
        while let Some(found) = bytes
            .get(self.at..)
            .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
        {
            self.at += found + 1;
            if bytes[self.at - 1] == b'"' {
                return;
            }
            self.at += 1;
        }
        self.at = bytes.len();
    }

    /// From a bracket to behind the one that closes it.
    fn skip_nested(&mut self) {
        let bytes = self.text.as_bytes();
        let mut depth = 0usize;
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.skip_string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_lent_as_they_stand() {
        let object = r#"{ "a" :1, "b\u00e9\"":[1, {"x":"]}"} ] ,"c":"\\", "d":{}, "":null}"#;
        let found: Vec<(String, &str)> = members(object)
            .map(|(key, value)| (key.into_owned(), value))
            .collect();
        let expected = [
            ("a", "1"),
            ("bé\"", r#"[1, {"x":"]}"} ]"#),
            ("c", r#""\\""#),
            ("d", "{}"),
            ("", "null"),
        ];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value)));
        let array = "[ 1e5,\n\"a,b\",[[]],true ]";
        assert_eq!(
            elements(array).collect::<Vec<_>>(),
            ["1e5", "\"a,b\"", "[[]]", "true"]
        );
        assert_eq!(elements("[]").count() + members("{ }").count(), 0);
    }

    #[test]
    fn a_value_is_the_cell_that_a_column_would_get() {
        let cases = [
            (r#""x\n""#, CellKind::JsonString, "x\n"),
            (r#""""#, CellKind::JsonString, ""),
            ("-1.50", CellKind::JsonNumber, "-1.50"),
            ("true", CellKind::JsonBool, "true"),
            ("null", CellKind::Null, ""),
            ("[1]", CellKind::JsonNested, "[1]"),
        ];
        for (value, kind, text) in cases {
            assert_eq!(cell(value), (kind, Cow::Borrowed(text)), "{value}");
        }
    }

    #[test]
    fn text_that_is_not_json_ends_the_walk() {
        for text in ["", "{", "[\"", "[\"\\", "{\"a\"", "[[", "[é", "{]"] {
            assert!(
                elements(text).count() < 3 && members(text).count() < 3,
                "{text}"
            );
        }
    }
}
