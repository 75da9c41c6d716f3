//! The start of a part, which its dialect is found in. Pure.

use super::sniff::DELIMITERS;

/// Bytes of the start of a part that are looked at.
pub const SAMPLE_BYTES: usize = 128 << 10;
/// Bytes of a sample that tell as much as all of it, if they leave no doubt.
const START_BYTES: usize = 12 << 10;

/// The start of a part, in UTF-8.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// At most [`SAMPLE_BYTES`].
    pub bytes: &'a [u8],
    /// Whether that is all of the part.
    pub is_whole: bool,
}

impl Sample<'_> {
    /// The first rows, if the others have no character that matters for a dialect and is not in those.
    pub(super) fn start(&self) -> Option<Self> {
        let (start, rest) = self.bytes.split_at_checked(START_BYTES)?;
        let is_new = |byte: u8| {
            memchr::memchr(byte, rest).is_some() && memchr::memchr(byte, start).is_none()
        };
        let mut marks = DELIMITERS.into_iter().chain(*b"\"'\\#\r");
        let is_much_longer = rest.len() > START_BYTES;
        (is_much_longer && !marks.any(is_new)).then_some(Self {
            bytes: start,
            is_whole: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_of(text: &str) -> Option<usize> {
        let sample = Sample {
            bytes: text.as_bytes(),
            is_whole: true,
        };
        sample.start().map(|start| start.bytes.len())
    }

    #[test]
    fn a_start_tells_as_much_unless_something_new_comes_later() {
        let rows = "1,some text,\"2\"\n".repeat(2 * START_BYTES / 16 + 1);
        assert_eq!(start_of(&rows), Some(START_BYTES));
        assert_eq!(start_of(&rows[..2 * START_BYTES]), None, "not much more");
        for mark in [";", "\t", "|", "'", "\\", "#", "\r"] {
            assert_eq!(start_of(&format!("{rows}{mark}")), None, "{mark:?}");
            assert_eq!(start_of(&format!("{mark}{rows}{mark}")), Some(START_BYTES));
        }
        assert_eq!(start_of(&format!("{rows}é")), Some(START_BYTES));
    }
}
