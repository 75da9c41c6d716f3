//! Turns at converting, and the pace of receiving.
//!
//! A part that was received waits on disk for its turn. While many wait already, the bodies of others are read slowly: there is a
//! pause before each block, and meanwhile the kernel's buffers fill and TCP holds the client. So as many parts are complete as can
//! be converted soon, however many clients there are, and an incomplete one is never longer than a pause without progress. Nothing
//! is refused for that, because a client has often sent most of a part by then. No place is kept for a body that is still arriving:
//! a client that is slow, or has stalled, would hold it against the others. So bodies that have come equally far, and end in the
//! same moment, still wait for each other.
//!
//! Bounds: parts in flight are bounded by [`crate::admission`]; a pause by `PAUSE_MAX`, after which one block is read whoever
//! waits; the wait for a turn by `TURN_DEADLINE`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, ErrorCode, Result};

/// Longest wait for a turn. Beyond this the client is gone.
const TURN_DEADLINE: Duration = Duration::from_secs(60);
/// Longest pause before a block of a body.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Parts that may wait, for each turn, before others are received slowly.
const WAITING_PER_TURN: usize = 2;

/// Turns at converting. One for each server.
#[derive(Debug)]
pub struct Turns {
    permits: Arc<Semaphore>,
    waiting_max: usize,
    waiting: AtomicUsize,
    fewer_wait: Notify,
}

/// Counts as waiting until it is dropped.
struct Waiting<'a>(&'a Turns);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        self.0.fewer_wait.notify_waiters();
    }
}

impl Turns {
    /// So many turns at once; others may take the permits, too.
    pub fn new(permits: Arc<Semaphore>, turns: usize) -> Self {
        Self {
            permits,
            waiting_max: turns * WAITING_PER_TURN,
            waiting: AtomicUsize::new(0),
            fewer_wait: Notify::new(),
        }
    }

    /// Waits for a turn; it ends when the permit is dropped.
    pub async fn take(&self) -> Result<OwnedSemaphorePermit> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(self);
        turn(&self.permits).await
    }

    /// Waits while many parts wait, but not for long.
    pub async fn pace(&self) {
        // Before the look: a wake-up after that is not missed.
        let fewer_wait = self.fewer_wait.notified();
        if self.waiting.load(Ordering::Acquire) >= self.waiting_max {
            // Either way the next block is read.
            let _ = tokio::time::timeout(PAUSE_MAX, fewer_wait).await;
        }
    }
}

/// A turn at something bounded.
pub(super) async fn turn(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    let overloaded = || {
        Error::new(
            ErrorCode::Overloaded,
            "The server has more parts to convert than it can in time; nothing was stored. Send the part again, with fewer at once.",
        )
    };
    tokio::time::timeout(TURN_DEADLINE, permits.clone().acquire_owned())
        .await
        .map_err(|_| overloaded())?
        .map_err(|_| overloaded())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt, poll};

    use super::*;

    #[tokio::test]
    async fn bodies_are_paused_while_many_parts_wait() {
        let turns = Turns::new(Arc::new(Semaphore::new(1)), 1);
        let running = turns.take().await.unwrap();
        let mut first = pin!(turns.take());
        assert!(poll!(&mut first).is_pending());
        assert!(turns.pace().now_or_never().is_some(), "one may wait");
        let mut second = Box::pin(turns.take());
        assert!(poll!(&mut second).is_pending());
        let mut paused = [pin!(turns.pace()), pin!(turns.pace())];
        for body in &mut paused {
            assert!(poll!(body).is_pending());
        }
        drop(running);
        let first = first.await.unwrap();
        for body in &mut paused {
            assert!(poll!(body).is_ready(), "a part got its turn");
        }
        drop(second);
        drop(first);
        assert_eq!(turns.waiting.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn a_pause_ends_however_many_wait() {
        let turns = Turns::new(Arc::new(Semaphore::new(0)), 0);
        // Returns after the pause, or the test never ends.
        turns.pace().await;
    }
}
