//! The way off the arbiters: work that blocks runs on tokio's blocking threads.

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
