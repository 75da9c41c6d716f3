//! Requests and bytes of one user in a second.
//!
//! A bucket for each user who asked for something lately; at most `USERS_MAX` idle ones are kept. The headers are those of
//! the IETF's "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers, version 10).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use crate::config::QuotasConfig;
use crate::domain::Principal;
use crate::error::{Error, ErrorCode, Result};

/// Users whose buckets are kept although they are full.
const USERS_MAX: usize = 4096;

/// The rates of every user. One per server.
#[derive(Debug)]
pub struct Rates {
    requests: Limit,
    bytes: Limit,
}

#[derive(Debug)]
struct Limit {
    /// 0 for none.
    per_second: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Limit {
    fn new(per_second: f64) -> Self {
        Self {
            per_second,
            buckets: Mutex::default(),
        }
    }

    /// Does something with a user's bucket; nothing where there is no limit or no user.
    fn with<T>(
        &self,
        principal: &Principal,
        now: Instant,
        act: impl FnOnce(&mut Bucket) -> T,
    ) -> Option<T> {
        let user = principal.user().filter(|_| self.per_second > 0.0)?;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(user) {
            if buckets.len() >= USERS_MAX {
                buckets.retain(|_, bucket| !bucket.is_full(now));
            }
            let bucket = Bucket::new(self.per_second, now);
            buckets.insert(user.to_owned(), bucket);
        }
        buckets.get_mut(user).map(act)
    }
}

impl Rates {
    /// Nobody has asked for anything yet.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate need not be exact to the byte"
    )]
    pub fn new(config: &QuotasConfig) -> Self {
        Self {
            requests: Limit::new(f64::from(config.requests_per_second_max)),
            bytes: Limit::new(config.bytes_per_second_max.as_u64() as f64),
        }
    }

    /// One more request. Gives what the headers `RateLimit-Policy` and `RateLimit` say, where there is a limit.
    pub fn take_request(
        &self,
        principal: &Principal,
        now: Instant,
    ) -> Result<Option<(String, String)>> {
        let taken = self.requests.with(principal, now, |bucket| {
            bucket.take(1.0, now).map(|()| bucket.balance())
        });
        let limit = self.requests.per_second;
        match taken {
            None => Ok(None),
            Some(Ok(left)) => Ok(Some(headers("requests", limit, left, 1))),
            Some(Err(wait)) => Err(refusal(
                "requests",
                "quotas.requests_per_second_max",
                limit,
                wait,
            )),
        }
    }

    /// A part of so many bytes is about to come.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate need not be exact to the byte"
    )]
    pub fn take_bytes(&self, principal: &Principal, bytes: u64, now: Instant) -> Result<()> {
        let taken = self
            .bytes
            .with(principal, now, |bucket| bucket.take(bytes as f64, now));
        match taken {
            None | Some(Ok(())) => Ok(()),
            Some(Err(wait)) => Err(refusal(
                "bytes",
                "quotas.bytes_per_second_max",
                self.bytes.per_second,
                wait,
            )),
        }
    }

    /// A part that did not say how long it is had so many bytes.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate need not be exact to the byte"
    )]
    pub fn charge_bytes(&self, principal: &Principal, bytes: u64, now: Instant) {
        let charge = |bucket: &mut Bucket| bucket.charge(bytes as f64, now);
        self.bytes.with(principal, now, charge);
    }
}

fn refusal(what: &str, key: &str, limit: f64, wait: Duration) -> Error {
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    let (policy, state) = headers(what, limit, 0.0, seconds as u64);
    Error::new(
        ErrorCode::RateLimited,
        format!(
            "You may send {limit:.0} {what} a second; nothing was read. Send the request again after {seconds:.0} s."
        ),
    )
    .with("limit", key)
    .with("retry_after_seconds", seconds as u64)
    .with("ratelimit_policy", policy)
    .with("ratelimit", state)
}

fn headers(what: &str, limit: f64, left: f64, seconds: u64) -> (String, String) {
    let unit = if what == "bytes" {
        ";qu=\"content-bytes\""
    } else {
        ""
    };
    (
        format!("\"{what}\";q={limit:.0}{unit};w=1"),
        format!("\"{what}\";r={left:.0};t={seconds}", left = left.floor()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::User;

    fn user(name: &str) -> Principal {
        Principal::User(User {
            name: name.to_owned(),
            grants: Vec::new(),
            is_admin: false,
        })
    }

    #[test]
    fn users_have_rates_of_their_own_and_idle_ones_are_forgotten() {
        let rates = Rates::new(&QuotasConfig {
            requests_per_second_max: 2,
            ..QuotasConfig::default()
        });
        let now = Instant::now();
        let (policy, state) = rates.take_request(&user("a"), now).unwrap().unwrap();
        assert_eq!(policy, "\"requests\";q=2;w=1");
        assert_eq!(state, "\"requests\";r=1;t=1");
        assert!(rates.take_request(&user("a"), now).is_ok());
        let refused = rates.take_request(&user("a"), now).unwrap_err();
        assert_eq!(refused.code, ErrorCode::RateLimited);
        assert_eq!(refused.fields["retry_after_seconds"], 1);
        assert!(rates.take_request(&user("b"), now).is_ok());
        assert_eq!(rates.take_request(&Principal::Anyone, now), Ok(None));
        // Each of them is idle when the last ones come.
        let mut time = now;
        for number in 0..2 * USERS_MAX {
            time += Duration::from_millis(1);
            let one = user(&number.to_string());
            rates.take_request(&one, time).unwrap();
        }
        assert!(rates.requests.buckets.lock().unwrap().len() <= USERS_MAX);
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let rates = Rates::new(&QuotasConfig::default());
        let now = Instant::now();
        for _ in 0..1000 {
            assert_eq!(rates.take_request(&user("a"), now), Ok(None));
            assert_eq!(rates.take_bytes(&user("a"), u64::MAX, now), Ok(()));
        }
        assert!(rates.requests.buckets.lock().unwrap().is_empty());
    }
}
