//! Checksums that a client sends with a part, and the SHA-256 that every answer echoes.
//!
//! Understood: `Content-Digest` and `Repr-Digest` with `sha-256` (RFC 9530; other algorithms are passed
//! over, as that RFC asks), `Content-MD5` (RFC 1864), `x-amz-checksum-sha256`, `x-amz-checksum-crc32c`. All
//! of them cover the bytes as sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorCode, Result};

/// A checksum that the bytes must have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    header: &'static str,
    algorithm: Algorithm,
    value: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Md5,
    Crc32c,
}

impl Algorithm {
    const fn value_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Md5 => 16,
            Self::Crc32c => 4,
        }
    }
}

/// The checksums a request announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedDigests(Vec<Expected>);

impl ExpectedDigests {
    /// Reads them from the request's headers, which `header` looks up by lower-case name.
    pub fn from_headers<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let mut expected = Vec::new();
        for name in ["content-digest", "repr-digest"] {
            if let Some(value) = header(name)
                .map(|text| sha256_item(name, text))
                .transpose()?
                && let Some(value) = value
            {
                expected.push(decoded(name, Algorithm::Sha256, &value)?);
            }
        }
        for (name, algorithm) in [
            ("content-md5", Algorithm::Md5),
            ("x-amz-checksum-sha256", Algorithm::Sha256),
            ("x-amz-checksum-crc32c", Algorithm::Crc32c),
        ] {
            if let Some(value) = header(name) {
                expected.push(decoded(name, algorithm, value)?);
            }
        }
        Ok(Self(expected))
    }
}

/// The base64 text of the `sha-256` member of a structured-field dictionary, if it has one.
fn sha256_item(header: &'static str, text: &str) -> Result<Option<String>> {
    for member in text.split(',') {
        let Some((key, value)) = member.split_once('=') else {
            return Err(unreadable(header, text));
        };
        if key.trim().eq_ignore_ascii_case("sha-256") {
            return value
                .trim()
                .strip_prefix(':')
                .and_then(|value| value.strip_suffix(':'))
                .map(|value| Some(value.to_owned()))
                .ok_or_else(|| unreadable(header, text));
        }
    }
    Ok(None)
}

fn decoded(header: &'static str, algorithm: Algorithm, text: &str) -> Result<Expected> {
    let value = STANDARD
        .decode(text.trim())
        .ok()
        .filter(|value| value.len() == algorithm.value_bytes())
        .ok_or_else(|| unreadable(header, text))?;
    Ok(Expected {
        header,
        algorithm,
        value,
    })
}

fn unreadable(header: &'static str, text: &str) -> Error {
    Error::new(
        ErrorCode::InvalidDigest,
        format!(
            "The header {header} cannot be read; it must hold the base64 form of the checksum."
        ),
    )
    .with("header", header)
    .with("value", text)
}

/// Hashes a body while it arrives.
#[derive(Debug)]
pub struct Hasher {
    sha256: Sha256,
    md5: Option<Md5>,
    crc32c: Option<u32>,
    expected: ExpectedDigests,
}

impl Hasher {
    /// A hasher for a body with these announced checksums.
    pub fn new(expected: ExpectedDigests) -> Self {
        let wants = |algorithm| expected.0.iter().any(|one| one.algorithm == algorithm);
        Self {
            sha256: Sha256::new(),
            md5: wants(Algorithm::Md5).then(Md5::new),
            crc32c: wants(Algorithm::Crc32c).then_some(0),
            expected,
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(crc32c) = &mut self.crc32c {
            *crc32c = crc32c::crc32c_append(*crc32c, bytes);
        }
    }

    /// The SHA-256 in hex, if every announced checksum is right.
    pub fn finish(self) -> Result<String> {
        let sha256 = self.sha256.finalize().to_vec();
        let md5 = self.md5.map(|md5| md5.finalize().to_vec());
        let crc32c = self.crc32c.map(|crc32c| crc32c.to_be_bytes().to_vec());
        for expected in &self.expected.0 {
            let found = match expected.algorithm {
                Algorithm::Sha256 => Some(&sha256),
                Algorithm::Md5 => md5.as_ref(),
                Algorithm::Crc32c => crc32c.as_ref(),
            };
            if found != Some(&expected.value) {
                return Err(Error::new(
                    ErrorCode::ChecksumMismatch,
                    format!(
                        "The bytes received do not have the checksum in {}; nothing was stored. Send the part again.",
                        expected.header
                    ),
                )
                .with("header", expected.header)
                .with("expected", STANDARD.encode(&expected.value))
                .with("received", found.map(|found| STANDARD.encode(found)))
                .with("sha256", hex::encode(&sha256)));
            }
        }
        Ok(hex::encode(sha256))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)], body: &[u8]) -> Result<String> {
        let expected = ExpectedDigests::from_headers(|name| {
            headers
                .iter()
                .find(|(header, _)| *header == name)
                .map(|(_, value)| *value)
        })?;
        let mut hasher = Hasher::new(expected);
        hasher.update(body);
        hasher.finish()
    }

    /// Values computed with coreutils and RFC 3720 B.4 (CRC-32C of "123456789" is e3069283).
    #[test]
    fn right_checksums_pass_and_wrong_ones_do_not() {
        let body = b"123456789";
        let sha256 = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
        let sha256_base64 = "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=";
        let right = [
            (
                "content-digest",
                format!("sha-512=:AAAA:, sha-256=:{sha256_base64}:"),
            ),
            ("repr-digest", format!("sha-256=:{sha256_base64}:")),
            ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==".to_owned()),
            ("x-amz-checksum-sha256", sha256_base64.to_owned()),
            ("x-amz-checksum-crc32c", "4waSgw==".to_owned()),
            ("content-digest", "sha-512=:AAAA:".to_owned()),
        ];
        for (header, value) in &right {
            assert_eq!(
                check(&[(header, value)], body),
                Ok(sha256.to_owned()),
                "{header}"
            );
        }
        for (header, value) in &right[..5] {
            let refused = check(&[(header, value)], b"12345678").unwrap_err();
            assert_eq!(refused.code, ErrorCode::ChecksumMismatch, "{header}");
        }
        for (header, value) in [("content-md5", "x"), ("content-digest", "sha-256=abc")] {
            let refused = check(&[(header, value)], body).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidDigest, "{header}");
        }
    }
}
