//! The journal's keys. One tree, a letter and a slash per kind of record, so that one batch can change
//! any of them atomically and a session's records are one prefix scan.
//!
//! | key | value |
//! |---|---|
//! | `m` | the marker: which store this is |
//! | `n/<state>` | how many sessions are in a state (u64, big-endian) |
//! | `s/<session id>` | the session's record |
//! | `p/<session id>/<part, u16 big-endian>/<chunk, u16 big-endian>` | a part's record, in chunks |
//! | `t/<workspace>.<collection>.<dataset>` | the table's current metadata location |
//! | `h/<workspace>.<collection>.<dataset>` | the table's version hint, for this metadata location, is not known to be durable |
//! | `x/<time, u64 big-endian ms>/<workspace>.<collection>.<dataset>` | what a publication made superfluous has yet to be removed |
//! | `a/<token id>` | an access token |
//! | `k` | the keys of this server: of tokens' hashes, and for signing |
//! | `i/<attempt, 32 hex digits>` | a commit attempt that is running, or that was cut off |

use uuid::Uuid;

use crate::domain::{PartNumber, SessionId, Target};

/// The marker's key.
pub const MARKER: &[u8] = b"m";
/// Every hint that has yet to be written.
pub const PENDING_HINTS: &[u8] = b"h/";
/// Everything that has yet to be removed, the oldest first.
pub const EXPIRED: &[u8] = b"x/";
/// Every commit attempt that has not ended.
pub const INTENTS: &[u8] = b"i/";
/// Number of open sessions.
pub const OPEN_SESSIONS: &[u8] = b"n/open";
/// Number of sessions that the sweep has ended.
pub const EXPIRED_SESSIONS: &[u8] = b"n/expired";
/// Every access token.
pub const ACCESS_TOKENS: &[u8] = b"a/";
/// The keys of this server.
pub const SERVER_KEYS: &[u8] = b"k";
/// Every session's own record.
pub const SESSIONS: &[u8] = b"s/";
/// Every part's record.
const PARTS: &[u8] = b"p/";
/// Every table's pointer.
const TABLES: &[u8] = b"t/";
/// Number of committed sessions.
pub const COMMITTED_SESSIONS: &[u8] = b"n/committed";

/// A session's record.
pub fn session(id: &SessionId) -> Vec<u8> {
    format!("s/{id}").into_bytes()
}

/// An access token's record.
pub fn access_token(id: &str) -> Vec<u8> {
    [ACCESS_TOKENS, id.as_bytes()].concat()
}

/// The id in the key of a session's own record.
pub fn session_id(key: &[u8]) -> Option<SessionId> {
    SessionId::parse(std::str::from_utf8(key.strip_prefix(SESSIONS)?).ok()?)
}

/// The prefix of all part records of a session.
pub fn session_parts(id: &SessionId) -> Vec<u8> {
    format!("p/{id}/").into_bytes()
}

/// The prefix of one part's chunks.
pub fn part(id: &SessionId, part: PartNumber) -> Vec<u8> {
    let mut key = session_parts(id);
    key.extend_from_slice(&part.0.to_be_bytes());
    key.push(b'/');
    key
}

/// The part number in a part chunk's key, given the length of the session's prefix.
pub fn part_number(key: &[u8], prefix_length: usize) -> Option<PartNumber> {
    let bytes = key.get(prefix_length..prefix_length + 2)?;
    Some(PartNumber(u16::from_be_bytes([bytes[0], bytes[1]])))
}

/// The session, part number and chunk in a part chunk's key.
pub fn part_chunk(key: &[u8]) -> Option<(SessionId, PartNumber, u16)> {
    // Positions, because the numbers' bytes may be slashes.
    let (id, numbers) = key
        .strip_prefix(PARTS)?
        .split_at_checked(SessionId::LENGTH)?;
    let &[b'/', part_high, part_low, b'/', chunk_high, chunk_low] = numbers else {
        return None;
    };
    Some((
        SessionId::parse(std::str::from_utf8(id).ok()?)?,
        PartNumber(u16::from_be_bytes([part_high, part_low])),
        u16::from_be_bytes([chunk_high, chunk_low]),
    ))
}

/// A table's pointer.
pub fn table(target: &Target) -> Vec<u8> {
    format!("t/{target}").into_bytes()
}

/// The note that a table's version hint has yet to be written.
pub fn pending_hint(target: &Target) -> Vec<u8> {
    format!("h/{target}").into_bytes()
}

/// The target in the key of a pending hint.
pub fn pending_hint_target(key: &[u8]) -> Option<Target> {
    target_after(PENDING_HINTS, key)
}

/// What a table's publication at this time made superfluous. Times of a table grow strictly.
pub fn expired(target: &Target, time_ms: i64) -> Vec<u8> {
    let time_ms = u64::try_from(time_ms).unwrap_or(0).to_be_bytes();
    [EXPIRED, &time_ms, b"/", target.to_string().as_bytes()].concat()
}

/// The target in the key of what a publication made superfluous.
pub fn expired_target(key: &[u8]) -> Option<Target> {
    let (_, target) = key.strip_prefix(EXPIRED)?.split_first_chunk::<8>()?;
    target_after(b"/", target)
}

/// The target in the key of a table's pointer.
pub fn table_target(key: &[u8]) -> Option<Target> {
    target_after(TABLES, key)
}

fn target_after(prefix: &[u8], key: &[u8]) -> Option<Target> {
    let text = std::str::from_utf8(key.strip_prefix(prefix)?).ok()?;
    let mut names = text.split('.');
    let target = Target::new(names.next()?, names.next()?, names.next()?).ok()?;
    names.next().is_none().then_some(target)
}

/// The record of a commit attempt.
pub fn intent(attempt: Uuid) -> Vec<u8> {
    format!("i/{}", attempt.simple()).into_bytes()
}

/// The attempt in the key of its record.
pub fn intent_attempt(key: &[u8]) -> Option<Uuid> {
    Uuid::try_parse_ascii(key.strip_prefix(INTENTS)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_give_back_what_went_in() {
        let id = SessionId::parse("20260921141320-00000000000000000000000000000abc").unwrap();
        let key = part(&id, PartNumber(300));
        assert_eq!(
            part_number(&key, session_parts(&id).len()),
            Some(PartNumber(300))
        );
        let slashes = PartNumber(u16::from_be_bytes(*b"//"));
        let key = [part(&id, slashes).as_slice(), b"//"].concat();
        assert_eq!(part_chunk(&key), Some((id, slashes, slashes.0)));
        assert_eq!(part_chunk(&key[..key.len() - 1]), None);
        let target = Target::new("a", "b", "c").unwrap();
        assert_eq!(table_target(&table(&target)), Some(target.clone()));
        assert_eq!(pending_hint_target(&pending_hint(&target)), Some(target));
        let target = Target::new("a", "b", "c").unwrap();
        assert_eq!(expired_target(&expired(&target, 300)), Some(target.clone()));
        assert!(expired(&target, 255) < expired(&target, 256));
        assert_eq!(expired_target(b"x/1234567/a.b.c"), None);
        let attempt = Uuid::from_u128(9);
        assert_eq!(intent_attempt(&intent(attempt)), Some(attempt));
        assert_eq!(pending_hint_target(b"h/a.b"), None);
        assert_eq!(pending_hint_target(b"h/a.b.c.d"), None);
    }
}
