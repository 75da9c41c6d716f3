//! Room on the disk for the journal's next groups of writes.

use std::fs::File;
use std::io::{self, ErrorKind};

use crate::store::durable;

/// What sled may append for a group whatever its values: whole segments of its log, and pages that it rewrites.
const ROOM_PER_GROUP_BYTES: u64 = 2 * 1024 * 1024;
/// What sled may append per byte of a value.
const ROOM_PER_VALUE: u64 = 4;
/// Room that is kept beyond that.
const ROOM_BYTES: u64 = 8 * 1024 * 1024;

/// Room on the disk that is kept for sled's log beyond its end. sled does not survive a failed write, so a group of writes is
/// begun only when the disk has room for it already; what is kept lets deletions be recorded on a disk that is full.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// The log's length when it was last looked at.
    length: u64,
    /// Up to where the disk has room.
    end: u64,
}

impl Room {
    /// Whether there is room for a group with so many bytes of keys and values; keeps more if the disk has more.
    pub(super) fn make(&mut self, log: &File, value_bytes: u64) -> io::Result<bool> {
        let length = log.metadata()?.len();
        if length < self.length {
            // What lies beyond the end is freed when a file is cut.
            self.end = length;
        }
        self.length = length;
        let needed_end = length + ROOM_PER_GROUP_BYTES + ROOM_PER_VALUE * value_bytes;
        let wanted_end = needed_end + ROOM_BYTES;
        if needed_end + ROOM_BYTES / 2 > self.end {
            match durable::keep_room(log, length, wanted_end - length) {
                Ok(()) => self.end = wanted_end,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::StorageFull | ErrorKind::FileTooLarge
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(needed_end <= self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_kept_where_there_is_some_and_missed_where_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let free_bytes = durable::free_bytes(folder.path()).unwrap();
        let log = File::create(folder.path().join("db")).unwrap();
        log.set_len(100).unwrap();
        let mut room = Room::default();
        assert!(room.make(&log, 1000).unwrap());
        let kept = room.end;
        assert!(kept > ROOM_BYTES);
        assert_eq!(log.metadata().unwrap().len(), 100);
        // Four times of this does not fit; a smaller group still does, in the room that is kept.
        assert!(!room.make(&log, free_bytes).unwrap());
        assert!(room.make(&log, 1000).unwrap());
        assert_eq!(room.end, kept);
        // The log was cut: what was kept beyond its end is gone, and is kept anew.
        log.set_len(10).unwrap();
        assert!(room.make(&log, 0).unwrap());
        assert!(room.end < kept);
    }
}
