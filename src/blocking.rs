//! The way off the arbiters: work that blocks runs on tokio's blocking threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};

/// Runs blocking work; a panic in it becomes an internal error.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)
        .and_then(|done| done)
}

/// Runs work that does not block and takes less than the way to another thread; a panic in it becomes an internal error.
pub fn at_once<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::internal("the work ended with a panic")))
}
