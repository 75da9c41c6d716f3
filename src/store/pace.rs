//! How slowly a body may arrive: the longest silence in it, after as long the least average rate, and the longest time for all of it.
//!
//! Only the time that was spent waiting for the client counts: what the disk or a full queue take is not held against it.

use std::time::{Duration, Instant};

use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::error::{Error, ErrorCode, Result};

/// What a client has to keep to while it sends a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Longest silence; also how long a body may take before its rate counts.
    pub idle_timeout: Duration,
    /// Least bytes a second, on average from the body's start on; 0 for no such bound.
    pub bytes_per_second_min: u64,
    /// Longest time for a whole body, whatever its rate.
    pub deadline: Duration,
}

/// Why a body is not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    Silent,
    Slow,
    Endless,
}

impl Pace {
    /// How long the next bytes of a body may take that was waited for for `waited` and brought `bytes`, and what it is
    /// called if they take longer.
    fn next_wait(&self, waited: Duration, bytes: u64) -> (Duration, Late) {
        let rest = self.deadline.saturating_sub(waited);
        let next = self.next_wait_of_endless(waited, bytes);
        if rest < next.0 {
            (rest, Late::Endless)
        } else {
            next
        }
    }

    fn next_wait_of_endless(&self, waited: Duration, bytes: u64) -> (Duration, Late) {
        let silence = (self.idle_timeout, Late::Silent);
        if waited < self.idle_timeout {
            return silence;
        }
        let earned_ms = bytes.saturating_mul(1000);
        let Some(earned_ms) = earned_ms.checked_div(self.bytes_per_second_min) else {
            return silence;
        };
        let left = Duration::from_millis(earned_ms).saturating_sub(waited);
        if left < self.idle_timeout {
            (left, Late::Slow)
        } else {
            silence
        }
    }

    fn refusal(&self, late: Late, bytes: u64) -> Error {
        let detail = match late {
            Late::Silent => format!(
                "No byte of the body arrived for {} s; nothing was stored. Send the request again.",
                self.idle_timeout.as_secs()
            ),
            Late::Endless => format!(
                "The body took longer than {} s ({bytes} bytes so far); nothing was stored. Send smaller parts, or send it over a faster connection.",
                self.deadline.as_secs()
            ),
            Late::Slow => format!(
                "The body arrived at fewer than {} bytes a second ({bytes} bytes so far); nothing was stored. Send the request again over a faster connection.",
                self.bytes_per_second_min
            ),
        };
        Error::new(ErrorCode::BodyTimeout, detail)
    }
}

/// A body that has to keep pace.
#[derive(Debug)]
pub struct PacedBody<S> {
    body: S,
    pace: Pace,
    waited: Duration,
    bytes: u64,
}

impl<S> PacedBody<S>
where
    S: Stream<Item = std::result::Result<Bytes, PayloadError>> + Unpin,
{
    /// A body of which nothing was read yet.
    pub fn new(body: S, pace: Pace) -> Self {
        Self {
            body,
            pace,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// The next bytes, unless the body is too slow or ends too early.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        let (patience, late) = self.pace.next_wait(self.waited, self.bytes);
        let began = Instant::now();
        let next = tokio::time::timeout(patience, self.body.next()).await;
        self.waited += began.elapsed();
        let next = next.map_err(|_| self.pace.refusal(late, self.bytes))?;
        let chunk = next.transpose().map_err(|error| {
            Error::new(
                ErrorCode::BodyIncomplete,
                "The connection ended before the body was complete; nothing was stored. Send the request again.",
            )
            .caused_by(error)
        })?;
        self.bytes += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[test]
    fn a_body_may_be_silent_for_so_long_and_slow_on_average_for_as_long() {
        let seconds = Duration::from_secs;
        let pace = Pace {
            idle_timeout: seconds(30),
            bytes_per_second_min: 100,
            deadline: seconds(20_000),
        };
        let silent = |left| (seconds(left), Late::Silent);
        let slow = |left| (seconds(left), Late::Slow);
        for (waited, bytes, expected) in [
            // In the beginning only silence counts; then whatever ends first.
            (0, 0, silent(30)),
            (29, 1, silent(30)),
            (30, 1, slow(0)),
            (30, 3_000, slow(0)),
            (30, 4_000, slow(10)),
            (30, 5_999, (Duration::from_millis(29_990), Late::Slow)),
            (30, 6_000, silent(30)),
            (31, 100, slow(0)),
            // Haste is credited.
            (31, 1_000_000, silent(30)),
            (9_990, 1_000_000, slow(10)),
            (10_001, 1_000_000, slow(0)),
            (30, u64::MAX, silent(30)),
        ] {
            let found = pace.next_wait(seconds(waited), bytes);
            assert_eq!(found, expected, "{waited} s, {bytes} bytes");
        }
        let unbounded = Pace {
            bytes_per_second_min: 0,
            ..pace
        };
        assert_eq!(unbounded.next_wait(seconds(19_970), 1), silent(30));
        let endless = |left| (seconds(left), Late::Endless);
        assert_eq!(pace.next_wait(seconds(19_980), u64::MAX), endless(20));
        assert_eq!(unbounded.next_wait(seconds(20_001), 1), endless(0));
    }

    #[tokio::test]
    async fn what_is_there_is_taken_and_a_slow_body_is_told_from_a_silent_one() {
        let pace = Pace {
            idle_timeout: Duration::from_millis(20),
            bytes_per_second_min: 10,
            deadline: Duration::from_secs(7200),
        };
        let chunks = stream::iter([Ok(Bytes::from_static(b"abc"))]);
        let mut body = PacedBody {
            waited: Duration::from_secs(3600),
            ..PacedBody::new(chunks.chain(stream::pending()), pace)
        };
        assert_eq!(body.next_chunk().await.unwrap().unwrap(), "abc");
        let slow = body.next_chunk().await.unwrap_err();
        let mut body = PacedBody::new(stream::pending(), pace);
        let silent = body.next_chunk().await.unwrap_err();
        for (refused, expected) in [
            (
                slow,
                "The body arrived at fewer than 10 bytes a second (3 bytes so far)",
            ),
            (silent, "No byte of the body arrived for 0 s"),
        ] {
            assert_eq!(refused.code, ErrorCode::BodyTimeout);
            assert!(refused.detail.starts_with(expected), "{}", refused.detail);
        }
    }
}
