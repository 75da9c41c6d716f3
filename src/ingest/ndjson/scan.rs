//! Walks over JSON text that need no parser: where an object ends, whether objects keep to lines, and whether a nested
//! value is bounded and sound.
//!
//! No walk checks the grammar; `serde_json` does, before or after. They only know strings and
//! brackets.

/// Levels of objects and arrays inside of one value.
pub(super) const NESTING_DEPTH_MAX: usize = 100;

/// Finds the end of the object that the fed bytes start with, however the bytes are cut.
#[derive(Default)]
pub(super) struct ObjectScan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl ObjectScan {
    /// The number of these bytes that belong to the object, if it ends here.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        for (index, &byte) in bytes.iter().enumerate() {
            match (self.in_string, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.in_string = !self.in_string,
                (false, b'{' | b'[') => self.depth += 1,
                (false, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(index + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Whether the object at the start of a part's first bytes has several lines, or another object behind it on its line. A
/// line that ends where no writer would break one was cut: lines are what it was meant to have.
pub(super) fn breaks_lines(bytes: &[u8]) -> bool {
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r');
    let newline = memchr::memchr(b'\n', bytes);
    let line = &bytes[..newline.unwrap_or(bytes.len())];
    if let Some(end) = ObjectScan::default().feed(line) {
        return line[end..].iter().find(|byte| !blank(byte)) == Some(&b'{');
    }
    let after = &bytes[line.len()..];
    let before = line.iter().rev().find(|byte| !blank(byte));
    let behind = after.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(before, Some(b'{' | b'[' | b',' | b':')) && newline.is_some()
        || matches!(behind, Some(b'}' | b']' | b',' | b':'))
}

/// What is wrong with a nested value whose grammar was checked: too deep, or text that no string
/// can hold (half of a surrogate pair, which a parser that skips a value does not look at).
pub(super) fn nested_fault(json: &str) -> Option<String> {
    let mut rest = json.as_bytes();
    let mut depth = 0usize;
    let mut in_string = false;
    loop {
        match (in_string, rest) {
            (_, []) => return None,
            (true, [b'\\', b'u', ..]) => match escaped_char_bytes(rest) {
                Some(escape_bytes) => {
                    rest = &rest[escape_bytes..];
                    continue;
                }
                None => {
                    return Some(
                        "a \\u escape is half of a surrogate pair, which is not a character"
                            .to_owned(),
                    );
                }
            },
            (true, [b'\\', _, after @ ..]) => {
                rest = after;
                continue;
            }
            (_, [b'"', ..]) => in_string = !in_string,
            (false, [b'{' | b'[', ..]) => {
                depth += 1;
                if depth > NESTING_DEPTH_MAX {
                    return Some(format!(
                        "the value is nested deeper than {NESTING_DEPTH_MAX} levels"
                    ));
                }
            }
            (false, [b'}' | b']', ..]) => depth = depth.saturating_sub(1),
            _ => {}
        }
        rest = &rest[1..];
    }
}

/// The length of the one or two `\u` escapes at the front that make one character.
fn escaped_char_bytes(bytes: &[u8]) -> Option<usize> {
    let first = escaped_unit(bytes)?;
    match first {
        0xD800..=0xDBFF => {
            let second = escaped_unit(&bytes[6..])?;
            (0xDC00..=0xDFFF).contains(&second).then_some(12)
        }
        0xDC00..=0xDFFF => None,
        _ => Some(6),
    }
}

/// The four hexadecimal digits after `\u`.
fn escaped_unit(bytes: &[u8]) -> Option<u32> {
    match bytes {
        [b'\\', b'u', digits @ ..] => digits.get(..4)?.iter().try_fold(0, |unit, &digit| {
            char::from(digit)
                .to_digit(16)
                .map(|digit| unit * 16 + digit)
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_ends_at_its_own_brace_however_it_is_cut() {
        let text = br#"{"a":"}\"]","b":[{"c":"\\"},{}]}, {"#;
        for cut in 0..text.len() {
            let mut scan = ObjectScan::default();
            let found = scan
                .feed(&text[..cut])
                .or_else(|| scan.feed(&text[cut..]).map(|at| at + cut));
            assert_eq!(found, Some(32), "cut at {cut}");
        }
        assert_eq!(ObjectScan::default().feed(br#"{"a":"}"#), None);
    }

    #[test]
    fn the_first_object_tells_whether_lines_are_kept() {
        let lines = [
            "{\"a\":1}",
            "{\"a\":1}\n{\"a\":2}",
            "{\"a\":1} \r\n{",
            "{\"a\":1\n{\"a\":2}",
            "{\"a\":1}x",
            "{\"a\":\"\n\"}",
            "{\"a\"",
            "{",
        ];
        for text in lines {
            assert!(!breaks_lines(text.as_bytes()), "{text:?}");
        }
        let others = [
            "{\n\"a\":1}",
            "{\"a\":1\n}",
            "{\"a\":1,\n\"b\":2}",
            "{\"a\":\r\n1}",
            "{\"a\":[1\n]}",
            "{\"a\":1}{\"a\":2}",
            "{\"a\":1} {\"a\":2}\n",
            "{\"a\":1}\r{\"a\":2}",
            "{ \n\n }",
        ];
        for text in others {
            assert!(breaks_lines(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn nested_values_are_bounded_and_hold_whole_characters() {
        let sound = [
            r#"{"a":[1,"\ud83d\ude00 \\ud83d \u00e9"]}"#,
            "[]",
            r#"["\"","[["]"#,
        ];
        for json in sound {
            assert_eq!(nested_fault(json), None, "{json}");
        }
        let unsound = [
            r#"["\ud83d"]"#,
            r#"["\ude00"]"#,
            r#"{"\ud83dx":1}"#,
            r#"["\ud83d\u0041"]"#,
        ];
        for json in unsound {
            assert!(
                nested_fault(json).is_some_and(|fault| fault.contains("surrogate")),
                "{json}"
            );
        }
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(nested_fault(&deep(NESTING_DEPTH_MAX)), None);
        assert!(
            nested_fault(&deep(NESTING_DEPTH_MAX + 1))
                .is_some_and(|fault| fault.contains("deeper"))
        );
    }
}
