//! Content codings: which one a body has, and reading through it within limits.
//!
//! The coding comes from `Content-Encoding`, else the file name's suffix, else the first bytes (gzip and
//! zstd have a magic). Decoding is incremental. Three caps hold: decoded bytes; decoded to sent bytes
//! (`RATIO_MAX`, from `RATIO_FREE_BYTES` on); and the zstd window (`ZSTD_WINDOW_LOG_MAX`, RFC 9659:
//! 8 MiB). One coding only: a chain is refused where the header is read.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{FormatError, FormatErrorKind};
use super::part_bytes::{PartBytes, PartRead};
use crate::domain::part::Coding;
use crate::error::{Error, ErrorCode, Result};

/// Decoded bytes for every byte sent, beyond which a body is taken for a bomb. Real tables of constants
/// were seen to reach a few thousand.
const RATIO_MAX: u64 = 20_000;
/// Below this size the ratio does not matter.
const RATIO_FREE_BYTES: u64 = 16 * 1024 * 1024;
/// Largest zstd window, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Buffer of the brotli decoder.
const BUFFER_BYTES: usize = 128 * 1024;

/// Smallest buffer that readers are told to have; they look ahead a few bytes.
const BUFFER_BYTES_MIN: usize = 1024;

/// What may be in `Accept-Encoding`.
pub const ACCEPTED: &str = "gzip, deflate, br, zstd, identity";

/// The coding in a `Content-Encoding` header; `None` when there is no header or it says identity.
pub fn from_header(value: Option<&str>) -> Result<Option<Coding>> {
    let Some(value) = value.map(str::trim).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match value.to_ascii_lowercase().as_str() {
        "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Coding::Gzip)),
        "deflate" => Ok(Some(Coding::Deflate)),
        "br" => Ok(Some(Coding::Br)),
        "zstd" => Ok(Some(Coding::Zstd)),
        other => {
            let why = if other.contains(',') {
                "is a chain of codings; send one"
            } else {
                "is not supported"
            };
            Err(Error::new(
                ErrorCode::UnsupportedEncoding,
                format!("The Content-Encoding `{value}` {why}. Supported: {ACCEPTED}."),
            )
            .with("supported", ACCEPTED))
        }
    }
}

/// The coding that a file name's suffix says, and the name without it.
pub fn from_file_name(name: &str) -> (Option<Coding>, &str) {
    const SUFFIXES: [(&str, Coding); 8] = [
        (".gz", Coding::Gzip),
        (".gzip", Coding::Gzip),
        (".z", Coding::Deflate),
        (".zz", Coding::Deflate),
        (".deflate", Coding::Deflate),
        (".br", Coding::Br),
        (".zst", Coding::Zstd),
        (".zstd", Coding::Zstd),
    ];
    let lower = name.to_ascii_lowercase();
    for (suffix, coding) in SUFFIXES {
        if lower.ends_with(suffix) {
            return (Some(coding), &name[..name.len() - suffix.len()]);
        }
    }
    (None, name)
}

/// The coding that the first bytes of a body say.
pub fn from_magic(first_bytes: &[u8]) -> Coding {
    if first_bytes.starts_with(&[0x1f, 0x8b]) {
        Coding::Gzip
    } else if first_bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Coding::Zstd
    } else {
        Coding::Identity
    }
}

/// Opens a part and decodes it while it is read.
pub fn open(
    bytes: &PartBytes,
    coding: Coding,
    decoded_bytes_max: u64,
) -> io::Result<DecodedReader> {
    let mut source = bytes.open()?;
    let wire_bytes = source.length()?;
    // A body without a byte decodes to nothing in every coding; the decoders would call it cut.
    let inner: Box<dyn Decode> = if source.fill_buf()?.is_empty() {
        Box::new(source)
    } else {
        match coding {
            Coding::Identity => Box::new(source),
            Coding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
            Coding::Deflate if is_zlib(source.fill_buf()?) => {
                Box::new(flate2::bufread::ZlibDecoder::new(source))
            }
            Coding::Deflate => Box::new(flate2::bufread::DeflateDecoder::new(source)),
            Coding::Br => {
                let source = LastByteApart {
                    source,
                    remaining_bytes: wire_bytes,
                };
                Box::new(brotli::Decompressor::new(source, BUFFER_BYTES))
            }
            Coding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        }
    };
    Ok(DecodedReader {
        inner,
        coding,
        wire_bytes,
        decoded_bytes: Arc::default(),
        decoded_bytes_max,
        ratio_bytes_max: wire_bytes.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES),
    })
}

/// Whether deflate data has a zlib header (RFC 1950 section 2.2); some clients send it raw.
fn is_zlib(first_bytes: &[u8]) -> bool {
    match first_bytes {
        [method, flags, ..] => {
            method & 0x0f == 8
                && method >> 4 <= 7
                && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0
        }
        _ => false,
    }
}

/// A decoder over a part's bytes.
trait Decode: Read + Send {
    /// The bytes, if the decoder stops at the end of one stream whatever follows it.
    fn single_stream_source(&mut self) -> Option<&mut PartRead> {
        None
    }
}

impl Decode for PartRead {}

impl Decode for flate2::bufread::MultiGzDecoder<PartRead> {}

impl Decode for zstd::stream::read::Decoder<'_, PartRead> {}

impl Decode for flate2::bufread::ZlibDecoder<PartRead> {
    fn single_stream_source(&mut self) -> Option<&mut PartRead> {
        Some(self.get_mut())
    }
}

impl Decode for flate2::bufread::DeflateDecoder<PartRead> {
    fn single_stream_source(&mut self) -> Option<&mut PartRead> {
        Some(self.get_mut())
    }
}

impl Decode for brotli::Decompressor<LastByteApart> {
    fn single_stream_source(&mut self) -> Option<&mut PartRead> {
        Some(&mut self.get_mut().source)
    }
}

/// Gives the last byte of a file in a read of its own. The brotli decoder takes in more than it decodes, and
/// does not tell; but the end of a stream needs the stream's last byte, so one that ends before the file's last
/// byte leaves that byte here.
struct LastByteApart {
    source: PartRead,
    remaining_bytes: u64,
}

impl Read for LastByteApart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let before_last = self.remaining_bytes.saturating_sub(1).max(1);
        let wanted = usize::try_from(before_last).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        let count = self.source.read(&mut buffer[..wanted])?;
        self.remaining_bytes = self.remaining_bytes.saturating_sub(count as u64);
        Ok(count)
    }
}

/// A reader that decodes, counts, and stops at the limits.
pub struct DecodedReader {
    inner: Box<dyn Decode>,
    coding: Coding,
    wire_bytes: u64,
    decoded_bytes: Arc<AtomicU64>,
    decoded_bytes_max: u64,
    ratio_bytes_max: u64,
}

impl DecodedReader {
    /// A count of the bytes decoded so far, to look at after the reader was given away.
    pub fn decoded_bytes(&self) -> Arc<AtomicU64> {
        self.decoded_bytes.clone()
    }

    /// A buffer size to read with, not above `most`: all of the bytes at once where they are few.
    pub fn buffer_bytes(&self, most: usize) -> usize {
        let enough = match self.coding {
            Coding::Identity => usize::try_from(self.wire_bytes).unwrap_or(usize::MAX),
            Coding::Gzip | Coding::Deflate | Coding::Br | Coding::Zstd => usize::MAX,
        };
        enough.saturating_add(1).max(BUFFER_BYTES_MIN).min(most)
    }
}

impl Read for DecodedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).map_err(|error| {
            if error.raw_os_error().is_some() {
                return error;
            }
            io::Error::other(FormatError::malformed(format!(
                "the body cannot be decoded as {}: {error}. Check that it was compressed whole and not cut",
                name(self.coding)
            )))
        })?;
        if count == 0
            && !buffer.is_empty()
            && let Some(source) = self.inner.single_stream_source()
            && !source.fill_buf()?.is_empty()
        {
            return Err(io::Error::other(FormatError::malformed(format!(
                "the body goes on after the end of its {} data; send one stream and nothing after it",
                name(self.coding)
            ))));
        }
        let before = self
            .decoded_bytes
            .fetch_add(count as u64, Ordering::Relaxed);
        let decoded_bytes = before + count as u64;
        let exceeded = if decoded_bytes > self.decoded_bytes_max {
            Some(self.decoded_bytes_max)
        } else if self.coding != Coding::Identity && decoded_bytes > self.ratio_bytes_max {
            Some(self.ratio_bytes_max)
        } else {
            None
        };
        match exceeded {
            Some(limit) => Err(io::Error::other(FormatError::new(
                FormatErrorKind::DecodedTooLarge,
                format!(
                    "the body decodes to more than {limit} bytes; split the file into smaller parts"
                ),
            ))),
            None => Ok(count),
        }
    }
}

fn name(coding: Coding) -> &'static str {
    match coding {
        Coding::Identity => "identity",
        Coding::Gzip => "gzip",
        Coding::Deflate => "deflate",
        Coding::Br => "br",
        Coding::Zstd => "zstd",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn decode(
        bytes: &[u8],
        coding: Coding,
        limit: u64,
    ) -> std::result::Result<Vec<u8>, FormatError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("body");
        std::fs::write(&path, bytes).unwrap();
        let packed = PartBytes::Packed {
            path: path.clone(),
            offset: 0,
            length: bytes.len() as u64,
        };
        let memory = PartBytes::Memory(bytes.to_vec().into());
        let [file, packed, memory] = [PartBytes::File(path), packed, memory].map(|bytes| {
            let mut decoded = Vec::new();
            open(&bytes, coding, limit)
                .and_then(|mut reader| reader.read_to_end(&mut decoded))
                .map_err(FormatError::from)?;
            Ok(decoded)
        });
        assert_eq!(file, packed);
        assert_eq!(file, memory);
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_coding_gives_back_the_bytes() {
        let text = b"a,b\n1,2\n".repeat(1000);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&text).unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        raw.write_all(&text).unwrap();
        let mut br = Vec::new();
        brotli::CompressorWriter::new(&mut br, 4096, 5, 20)
            .write_all(&text)
            .unwrap();
        let two_members = [gzip(&text[..100]), gzip(&text[100..])].concat();
        let cases = [
            (text.clone(), Coding::Identity),
            (gzip(&text), Coding::Gzip),
            (two_members, Coding::Gzip),
            (zlib.finish().unwrap(), Coding::Deflate),
            (raw.finish().unwrap(), Coding::Deflate),
            (br, Coding::Br),
            (zstd::encode_all(&text[..], 1).unwrap(), Coding::Zstd),
        ];
        for (body, coding) in cases {
            assert_eq!(decode(&body, coding, 1 << 20).unwrap(), text, "{coding:?}");
        }
        assert_eq!(decode(b"", Coding::Gzip, 10).unwrap(), b"");
    }

    #[test]
    fn buffers_are_no_larger_than_asked_for_or_needed() {
        let buffer_bytes = |bytes: &[u8], coding, most| {
            let bytes = PartBytes::Memory(bytes.to_vec().into());
            open(&bytes, coding, 1 << 20).unwrap().buffer_bytes(most)
        };
        let text = vec![b'a'; 5000];
        assert_eq!(buffer_bytes(&text, Coding::Identity, 1 << 18), 5001);
        assert_eq!(buffer_bytes(&text, Coding::Identity, 4), 4);
        assert_eq!(
            buffer_bytes(b"a", Coding::Identity, 1 << 18),
            BUFFER_BYTES_MIN
        );
        assert_eq!(buffer_bytes(&gzip(&text), Coding::Gzip, 1 << 18), 1 << 18);
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_a_cut_body_is_told() {
        let zeros = vec![0; 1 << 20];
        let refused = decode(&gzip(&zeros), Coding::Gzip, 1000).unwrap_err();
        assert_eq!(refused.kind, FormatErrorKind::DecodedTooLarge);
        let whole = zstd::encode_all(&zeros[..], 1).unwrap();
        for (body, coding) in [
            (&gzip(&zeros)[..500], Coding::Gzip),
            (&whole[..whole.len() - 3], Coding::Zstd),
            (b"no such thing".as_slice(), Coding::Br),
        ] {
            let refused = decode(body, coding, 1 << 30).unwrap_err();
            assert_eq!(refused.kind, FormatErrorKind::Malformed, "{coding:?}");
        }
    }

    #[test]
    fn what_follows_the_end_of_a_stream_is_not_dropped() {
        let text = b"a\n1\n";
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(text).unwrap();
        let zlib = zlib.finish().unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        raw.write_all(text).unwrap();
        let raw = raw.finish().unwrap();
        let mut br = Vec::new();
        brotli::CompressorWriter::new(&mut br, 4096, 5, 20)
            .write_all(text)
            .unwrap();
        let cases = [
            (&zlib, Coding::Deflate),
            (&raw, Coding::Deflate),
            (&br, Coding::Br),
            (&gzip(text), Coding::Gzip),
        ];
        for (body, coding) in cases {
            assert_eq!(decode(body, coding, 100).unwrap(), text, "{coding:?}");
            let longer = [body.as_slice(), b"and more"].concat();
            let refused = decode(&longer, coding, 100).unwrap_err();
            assert_eq!(refused.kind, FormatErrorKind::Malformed, "{coding:?}");
        }
    }

    #[test]
    fn a_window_beyond_8_mib_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&vec![7; 1 << 20]).unwrap();
        let body = encoder.finish().unwrap();
        let refused = decode(&body, Coding::Zstd, 1 << 30).unwrap_err();
        assert_eq!(refused.kind, FormatErrorKind::Malformed);
    }

    #[test]
    fn headers_and_names_say_the_coding() {
        assert_eq!(from_header(None), Ok(None));
        assert_eq!(from_header(Some(" GZIP ")), Ok(Some(Coding::Gzip)));
        assert_eq!(
            from_header(Some("gzip, br")).unwrap_err().code,
            ErrorCode::UnsupportedEncoding
        );
        assert_eq!(from_file_name("a.csv.ZST"), (Some(Coding::Zstd), "a.csv"));
        assert_eq!(from_file_name("a.csv"), (None, "a.csv"));
        assert_eq!(from_magic(&[0x1f, 0x8b, 8]), Coding::Gzip);
    }
}
