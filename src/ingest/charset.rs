//! Bytes in any character encoding, read as UTF-8.
//!
//! Which encoding: what was said; else a byte order mark; else UTF-16 where every other byte of the start is
//! NUL; else UTF-8. A part that is not UTF-8 after all is Windows-1252 if nothing but ASCII came before the first
//! byte that says so: up to there both are the same, so nothing read before is wrong. Otherwise the bytes are
//! handed on as they are, and the reader of the format names the place.
//!
//! Memory is one small buffer.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::csv::dialect::Charset;
use super::error::FormatError;

/// Bytes read at once from below.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes that every decoder needs room for.
const ROOM_BYTES_MIN: usize = 16;
/// Bytes of the start that are looked at for UTF-16.
const START_BYTES: usize = 512;
/// Bytes that Windows-1252 gives no character.
const NOT_WINDOWS_1252: [u8; 5] = [0x81, 0x8d, 0x8f, 0x90, 0x9d];

/// The encoding that a part's first bytes show, unless they leave it open.
pub fn detect(start: &[u8]) -> Charset {
    if let Some((encoding, _)) = Encoding::for_bom(start) {
        return Charset::Known(encoding);
    }
    let start = &start[..start.len().min(START_BYTES) & !1];
    let nuls = |first: usize| {
        start
            .iter()
            .skip(first)
            .step_by(2)
            .filter(|byte| **byte == 0)
            .count()
    };
    let (even, odd) = (nuls(0), nuls(1));
    // Text in Latin letters has a NUL in almost every pair, always on the same side.
    let most = start.len() / 2 - start.len() / 8;
    if start.len() >= 4 && even == 0 && odd >= most {
        Charset::Known(UTF_16LE)
    } else if start.len() >= 4 && odd == 0 && even >= most {
        Charset::Known(UTF_16BE)
    } else {
        Charset::Undecided
    }
}

/// Reads UTF-8 out of bytes in another encoding.
pub struct CharsetReader<R> {
    read: R,
    state: State,
    /// What did not fit a small buffer.
    left_over: Vec<u8>,
}

enum State {
    /// UTF-8 as it is, with what is known of the bytes so far.
    Plain(PlainState),
    Transcoding(Box<Transcoder>),
}

struct PlainState {
    /// Whether it may still turn out to be Windows-1252.
    is_open: bool,
    /// The first bytes of a character whose last are not read yet; not handed out.
    incomplete: Vec<u8>,
}

struct Transcoder {
    encoding: &'static Encoding,
    decoder: Decoder,
    input: Vec<u8>,
    /// The bytes of `input` not decoded yet.
    start: usize,
    is_at_end: bool,
}

impl<R: Read> CharsetReader<R> {
    /// A reader of bytes in this encoding.
    pub fn new(read: R, charset: Charset) -> Self {
        let state = match charset {
            Charset::Known(encoding) if encoding != UTF_8 => {
                State::Transcoding(Box::new(Transcoder::new(encoding, Vec::new())))
            }
            Charset::Known(_) => State::Plain(PlainState {
                is_open: false,
                incomplete: Vec::new(),
            }),
            Charset::Undecided => State::Plain(PlainState {
                is_open: true,
                incomplete: Vec::new(),
            }),
        };
        Self {
            read,
            state,
            left_over: Vec::new(),
        }
    }

    /// The encoding, as far as it is known.
    pub fn charset(&self) -> Charset {
        match &self.state {
            State::Plain(plain) if plain.is_open => Charset::Undecided,
            State::Plain(_) => Charset::Known(UTF_8),
            State::Transcoding(transcoder) => Charset::Known(transcoder.encoding),
        }
    }
}

impl<R: Read> Read for CharsetReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left_over.is_empty() {
            if buffer.len() >= ROOM_BYTES_MIN {
                return self.read_piece(buffer);
            }
            let mut piece = [0; ROOM_BYTES_MIN];
            let count = self.read_piece(&mut piece)?;
            self.left_over.extend_from_slice(&piece[..count]);
        }
        let count = buffer.len().min(self.left_over.len());
        for (to, from) in buffer.iter_mut().zip(self.left_over.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }
}

impl<R: Read> CharsetReader<R> {
    /// Reads into a buffer of at least [`ROOM_BYTES_MIN`].
    fn read_piece(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Transcoding(transcoder) => transcoder.read(&mut self.read, buffer),
            State::Plain(plain) => {
                let (filled, found) = plain.read(&mut self.read, buffer)?;
                if let Some(rest) = found {
                    let transcoder = Transcoder::new(WINDOWS_1252, rest);
                    self.state = State::Transcoding(Box::new(transcoder));
                    if filled == 0 {
                        return self.read_piece(buffer);
                    }
                }
                Ok(filled)
            }
        }
    }
}

impl PlainState {
    /// Reads bytes as they are. With the first that is not UTF-8 after nothing but ASCII, the bytes from there on
    /// are handed back: they are Windows-1252.
    fn read(
        &mut self,
        source: &mut impl Read,
        buffer: &mut [u8],
    ) -> io::Result<(usize, Option<Vec<u8>>)> {
        loop {
            let held = std::mem::take(&mut self.incomplete);
            let (front, room) = buffer.split_at_mut(held.len());
            front.copy_from_slice(&held);
            let count = match source.read(room) {
                Ok(count) => count,
                Err(error) => {
                    self.incomplete = held;
                    return Err(error);
                }
            };
            let bytes = &buffer[..held.len() + count];
            let ascii_bytes = if self.is_open {
                Encoding::ascii_valid_up_to(bytes)
            } else {
                bytes.len()
            };
            let (ascii, rest) = bytes.split_at(ascii_bytes);
            if rest.is_empty() {
                return Ok((ascii.len(), None));
            }
            match std::str::from_utf8(rest) {
                Err(error) if error.valid_up_to() == 0 => {
                    if error.error_len().is_some() || count == 0 {
                        return Ok((ascii.len(), Some(rest.to_vec())));
                    }
                    // Handed out with the bytes that decide what it is.
                    self.incomplete = rest.to_vec();
                    if !ascii.is_empty() {
                        return Ok((ascii.len(), None));
                    }
                }
                Ok(_) | Err(_) => {
                    self.is_open = false;
                    return Ok((bytes.len(), None));
                }
            }
        }
    }
}

impl Transcoder {
    fn new(encoding: &'static Encoding, input: Vec<u8>) -> Self {
        Self {
            encoding,
            decoder: encoding.new_decoder_with_bom_removal(),
            input,
            start: 0,
            is_at_end: false,
        }
    }

    fn read(&mut self, source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.start == self.input.len() && !self.is_at_end {
                self.input.resize(PIECE_BYTES, 0);
                self.start = PIECE_BYTES;
                let count = source.read(&mut self.input)?;
                self.input.truncate(count);
                (self.start, self.is_at_end) = (0, count == 0);
            }
            let input = &self.input[self.start..];
            if self.encoding == WINDOWS_1252
                && let Some(byte) = input.iter().find(|byte| NOT_WINDOWS_1252.contains(byte))
            {
                return Err(self.refusal(&format!("the byte 0x{byte:02X}")));
            }
            let (result, read, written) =
                self.decoder
                    .decode_to_utf8_without_replacement(input, buffer, self.is_at_end);
            self.start += read;
            match result {
                DecoderResult::Malformed(..) => return Err(self.refusal("a byte sequence")),
                _ if written > 0 => return Ok(written),
                DecoderResult::InputEmpty if self.is_at_end => return Ok(0),
                // There is always room for a character.
                DecoderResult::InputEmpty | DecoderResult::OutputFull => {}
            }
        }
    }

    fn refusal(&self, what: &str) -> io::Error {
        let reason = format!(
            "{what} is no character in {}, which the text seems to be encoded in; save the file as UTF-8, or name its \
             encoding in the parameter `encoding`",
            self.encoding.name()
        );
        io::Error::other(FormatError::malformed(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::csv::tests::DripReader;

    fn read(bytes: &[u8], charset: Charset) -> io::Result<(String, Charset)> {
        let mut whole = Vec::new();
        let mut reader = CharsetReader::new(bytes, charset);
        let result = reader.read_to_end(&mut whole);
        for turn in 0..5 {
            let mut dripped = Vec::new();
            let again =
                CharsetReader::new(DripReader::new(bytes, turn), charset).read_to_end(&mut dripped);
            assert_eq!(again.is_ok(), result.is_ok());
            assert!(result.is_err() || dripped == whole, "turn {turn}");
        }
        result?;
        Ok((
            String::from_utf8(whole).map_err(io::Error::other)?,
            reader.charset(),
        ))
    }

    #[test]
    fn the_first_byte_that_is_not_utf_8_decides_when_only_ascii_came_before() {
        let windows = Charset::Known(WINDOWS_1252);
        let cases: [(&[u8], &str, Charset); 7] = [
            (b"abc", "abc", Charset::Undecided),
            (b"caf\xe9,1", "café,1", windows),
            (b"caf\xe9", "café", windows),
            (b"\x80 5,\xc3x", "€ 5,Ãx", windows),
            ("é,ü".as_bytes(), "é,ü", Charset::Known(UTF_8)),
            ("a😀".as_bytes(), "a😀", Charset::Known(UTF_8)),
            (b"", "", Charset::Undecided),
        ];
        for (bytes, text, charset) in cases {
            assert_eq!(
                read(bytes, Charset::Undecided).unwrap(),
                (text.to_owned(), charset)
            );
            let again = read(bytes, charset).unwrap();
            assert_eq!(again.0, text, "read once more with what was found");
        }
    }

    #[test]
    fn what_is_no_text_in_the_encoding_is_refused() {
        for (bytes, charset) in [
            (&b"ab\xe9\x81"[..], Charset::Undecided),
            (b"\x00\xd8a\x00", Charset::Known(UTF_16LE)),
        ] {
            let refused = read(bytes, charset).unwrap_err().to_string();
            assert!(refused.contains("parameter `encoding`"), "{refused}");
        }
        let mixed = ["é".as_bytes(), b",\xe9,"].concat();
        let mut kept = Vec::new();
        let mut reader = CharsetReader::new(&mixed[..], Charset::Undecided);
        reader.read_to_end(&mut kept).unwrap();
        assert_eq!(kept, mixed, "the reader of the format names the place");
    }

    #[test]
    fn utf_16_is_known_by_its_mark_or_its_nuls() {
        let text = "name,Zürich\n1,ß\n";
        let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (bytes, encoding) in [(&le, UTF_16LE), (&be, UTF_16BE)] {
            let charset = detect(bytes);
            assert_eq!(charset, Charset::Known(encoding));
            assert_eq!(read(bytes, charset).unwrap().0, text);
        }
        let marked = [&b"\xff\xfe"[..], &le].concat();
        assert_eq!(detect(&marked), Charset::Known(UTF_16LE));
        assert_eq!(read(&marked, detect(&marked)).unwrap().0, text);
        assert_eq!(detect(b"\xef\xbb\xbfa,b"), Charset::Known(UTF_8));
        for plain in [&b"a,b\n1,2\n"[..], b"", b"\0\0\0\0", b"a\0b,c"] {
            assert_eq!(detect(plain), Charset::Undecided, "{plain:?}");
        }
    }
}
