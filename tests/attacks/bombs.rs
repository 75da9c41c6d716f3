//! Content codings: bodies that unfold to far more than they are, that never unfold, or that want memory for it.

use std::io::Write;

use super::attack::Expected::{Refused, Statuses};
use super::attack::{Attack, upload};
use crate::support::codings::{gzip, raw_deflate, zlib};

type Compress = fn(&[u8]) -> Vec<u8>;

/// More than the corpus' limit on decoded bytes.
const UNFOLDED_BYTES: usize = 48 << 20;

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 24);
    encoder.write_all(bytes).expect("compress");
    encoder.into_inner()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).expect("compress")
}

/// The head of a zstd frame that says which window it needs and how much it will give, and no data.
fn zstd_claim(window: u8, content_bytes: u64) -> Vec<u8> {
    // A frame with a window descriptor and eight bytes of content size.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1100_0000, window];
    frame.extend_from_slice(&content_bytes.to_le_bytes());
    frame
}

pub(crate) fn attacks(session: &str) -> Vec<Attack> {
    let line = [b"1".repeat((1 << 20) - 1), b"\n".to_vec()].concat();
    let lines = [b"id\n".to_vec(), line.repeat(UNFOLDED_BYTES >> 20)].concat();
    let tail = vec![0; UNFOLDED_BYTES];
    let named = |coding: &'static str| [("x-file-name", "a.csv"), ("content-encoding", coding)];
    let codings: [(&str, &str, Compress); 5] = [
        ("gzip", "gzip", gzip),
        ("zlib", "deflate", zlib),
        ("raw deflate", "deflate", raw_deflate),
        ("brotli", "br", brotli),
        ("zstd", "zstd", zstd),
    ];
    let mut attacks = Vec::new();
    for (name, coding, compress) in codings {
        let body = compress(&lines);
        assert!(body.len() < UNFOLDED_BYTES / 100, "{name}: {}", body.len());
        attacks.push(upload(
            &format!("a bomb of lines in {name}"),
            session,
            &named(coding),
            &body,
            Refused(413, "decoded_too_large"),
        ));
        let body = compress(&tail);
        attacks.push(upload(
            &format!("a bomb of one field in {name}"),
            session,
            &named(coding),
            &body,
            Refused(422, "format_unreadable"),
        ));
        // A bomb in a bomb, and behind something that is fine.
        let body = compress(&compress(&tail));
        attacks.push(upload(
            &format!("{name} in {name}"),
            session,
            &named(coding),
            &body,
            Refused(422, "format_unreadable"),
        ));
        let small = compress(b"a\n1\n");
        let body = [&small[..], &compress(&tail)].concat();
        attacks.push(upload(
            &format!("a bomb behind a small stream of {name}"),
            session,
            &named(coding),
            &body,
            Refused(422, "format_unreadable"),
        ));
        attacks.push(upload(
            &format!("ten thousand streams of nothing in {name}"),
            session,
            &named(coding),
            &compress(b"").repeat(10_000),
            match name {
                "gzip" | "zstd" => Statuses(&[201]),
                _ => Refused(422, "format_unreadable"),
            },
        ));
    }
    let unreadable = Refused(422, "format_unreadable");
    attacks.extend([
        upload(
            "a zstd window of two terabytes",
            session,
            &named("zstd"),
            &zstd_claim(0xff, 5),
            unreadable.clone(),
        ),
        upload(
            "a zstd window of 128 MiB",
            session,
            &named("zstd"),
            &zstd_claim(17 << 3, 5),
            unreadable.clone(),
        ),
        upload(
            "a zstd frame that says it has an exabyte",
            session,
            &named("zstd"),
            &zstd_claim(0, 1 << 60),
            unreadable.clone(),
        ),
        upload(
            "a zstd frame to be skipped, of 4 GiB",
            session,
            &named("zstd"),
            b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
            unreadable.clone(),
        ),
        upload(
            "a large brotli window",
            session,
            &named("br"),
            &[0x11, 0x1e, 0x3f, 0, 0, 0],
            unreadable.clone(),
        ),
        upload(
            "a gzip head with a name that does not end",
            session,
            &named("gzip"),
            &[
                &b"\x1f\x8b\x08\x08\0\0\0\0\0\x03"[..],
                &b"a".repeat(1 << 20),
            ]
            .concat(),
            unreadable.clone(),
        ),
        upload(
            "a deflate block that is stored and cut",
            session,
            &named("deflate"),
            &[0x01, 0xff, 0xff, 0, 0],
            unreadable,
        ),
    ]);
    attacks
}
