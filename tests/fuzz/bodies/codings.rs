//! Content codings: within their limits, the same in any pieces, never less than what was sent.

use std::io::{Read, Write};

use calve::domain::part::Coding;
use calve::ingest::codec;
use calve::ingest::part_bytes::PartBytes;
use calve::ingest::{FormatError, FormatErrorKind};

use super::allocation::bounded;

const CODINGS: [Coding; 5] = [
    Coding::Identity,
    Coding::Gzip,
    Coding::Deflate,
    Coding::Br,
    Coding::Zstd,
];
/// Bytes that a body may decode to.
const LIMITS: [u64; 2] = [100_000, 1 << 30];
/// Twice the window of zstd, the largest, and as much again for tables.
const DECODER_BYTES_MAX: usize = 48 << 20;
/// As the README has it: where the ratio of sent to decoded bytes begins to count, and what it may be.
const RATIO_FREE_BYTES: u64 = 16 << 20;
const RATIO_MAX: u64 = 20_000;

/// The first byte of the input chooses a coding, a limit, and whether the rest is a body as sent or the content of one.
pub fn check(data: &[u8]) {
    let Some((choice, content)) = data.split_first() else {
        return;
    };
    let choice = usize::from(*choice);
    let coding = CODINGS[choice % CODINGS.len()];
    let limit = LIMITS[choice / CODINGS.len() % LIMITS.len()];
    let is_sent = (choice / (CODINGS.len() * LIMITS.len())).is_multiple_of(2);
    if is_sent {
        check_sent(content, coding, limit);
    } else {
        check_content(content, coding);
    }
}

fn check_sent(sent: &[u8], coding: Coding, limit: u64) {
    let whole = bounded(DECODER_BYTES_MAX, || decoded(sent, coding, limit, 64 << 10));
    for piece_bytes in [1, 7, 4096] {
        // The first is slow; a bomb needs it no more than a small body.
        if whole
            .as_ref()
            .is_ok_and(|(bytes, _)| *bytes > 200_000 && piece_bytes < 4096)
        {
            continue;
        }
        let pieces = decoded(sent, coding, limit, piece_bytes);
        match (&whole, &pieces) {
            // A body that is both too large and cut is refused for what is met first.
            (Err(_), Err(_)) => {}
            _ => assert_eq!(pieces, whole, "{piece_bytes} bytes a read"),
        }
    }
    if let Ok((bytes, _)) = whole {
        let ratio_bytes = (sent.len() as u64 * RATIO_MAX).max(RATIO_FREE_BYTES);
        assert!(bytes <= limit);
        assert!(coding == Coding::Identity || bytes <= ratio_bytes);
    }
}

/// What was encoded comes back; and never from a body that was cut or goes on.
fn check_content(content: &[u8], coding: Coding) {
    let sent = encoded(content, coding);
    let expected = (content.len() as u64, content.to_vec());
    let limit = content.len() as u64;
    assert_eq!(
        decoded(&sent, coding, limit, 4096),
        Ok(expected),
        "{coding:?}"
    );
    if coding == Coding::Identity {
        return;
    }
    if limit > 0 {
        let refused = decoded(&sent, coding, limit - 1, 4096).expect_err("more than is allowed");
        assert_eq!(refused.kind, FormatErrorKind::DecodedTooLarge);
    }
    for end in 1..sent.len().min(64) {
        let end = sent.len() - end;
        let cut = decoded(&sent[..end], coding, limit, 4096).expect_err("it was cut");
        assert_eq!(
            cut.kind,
            FormatErrorKind::Malformed,
            "{coding:?} cut at {end}"
        );
    }
    let longer = [sent.as_slice(), b"\0more"].concat();
    let refused = decoded(&longer, coding, limit + 100, 4096).expect_err("it goes on");
    assert_eq!(refused.kind, FormatErrorKind::Malformed, "{coding:?}");
}

/// What a body decodes to: its length, and its first bytes.
fn decoded(
    sent: &[u8],
    coding: Coding,
    limit: u64,
    piece_bytes: usize,
) -> Result<(u64, Vec<u8>), FormatError> {
    const KEPT_BYTES: usize = 1 << 16;
    let part = PartBytes::Memory(sent.to_vec().into());
    let mut reader = codec::open(&part, coding, limit).map_err(FormatError::from)?;
    let (mut bytes, mut kept) = (0, Vec::new());
    let mut piece = vec![0; piece_bytes];
    loop {
        let count = reader.read(&mut piece).map_err(FormatError::from)?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
        assert!(bytes <= limit, "{bytes} bytes were handed out of {limit}");
        let room = KEPT_BYTES.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&piece[..room]);
    }
    let counted = reader.decoded_bytes();
    assert_eq!(counted.load(std::sync::atomic::Ordering::Relaxed), bytes);
    Ok((bytes, kept))
}

/// A body with this content.
pub fn encoded(content: &[u8], coding: Coding) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let written = "written to memory";
    match coding {
        // An empty body needs no coding.
        _ if content.is_empty() => Vec::new(),
        Coding::Identity => content.to_vec(),
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(content).expect(written);
            encoder.finish().expect(written)
        }
        Coding::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(content).expect(written);
            encoder.finish().expect(written)
        }
        Coding::Br => {
            let mut sent = Vec::new();
            brotli::CompressorWriter::new(&mut sent, 4096, 5, 20)
                .write_all(content)
                .expect(written);
            sent
        }
        Coding::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect(written);
            encoder.write_all(content).expect(written);
            encoder.finish().expect(written)
        }
    }
}
