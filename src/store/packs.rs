//! Packs: files that small parts share, so that one sync makes many of them durable.
//!
//! **How to call it.** [`Packs::put`] writes a part's bytes behind those of others and gives a [`PackSlot`]. Its pack goes
//! with the part's record to the journal ([`super::journal::Write::packs`]), whose writer syncs every pack of a group of
//! writes once, before it records any of them.
//!
//! **Durability.** A pack's name is durable before the first byte in it; a part's bytes are durable before its record is
//! written. After a sync that failed a pack takes no more bytes and is synced no more: the kernel may have dropped what it
//! held. What other packs hold is not touched by that.
//!
//! **Space.** Bytes of parts that are gone stay until the whole pack goes: when no part in it is wanted any more and no
//! more come. This run of the server counts the wanted parts of the packs that it made; those of earlier runs are found
//! and removed by the sweep, which asks the records.
//!
//! **What a crash leaves.** Packs with bytes that no record refers to; the sweep again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::durable;
use super::fault::Artifact;
use crate::clock::SharedClock;
use crate::domain::part::PackPlace;

/// Largest part that goes into a pack, as sent. Beyond it a file of its own costs less than being read out of a pack.
pub const PACKED_BYTES_MAX: usize = 64 * 1024;
/// Bytes after which a pack takes no more: what one part that stays can keep from being freed.
const PACK_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What pack files' names end with.
const SUFFIX: &str = ".pack";

/// The packs below one data folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Packs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    clock: SharedClock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Current>,
    /// Parts that are wanted, by pack; only packs of this run.
    wanted: HashMap<u64, u64>,
    last_number: u64,
}

/// The pack that takes bytes.
#[derive(Debug)]
struct Current {
    pack: Arc<Pack>,
    end: u64,
}

/// One file of parts.
#[derive(Debug)]
pub struct Pack {
    number: u64,
    file: File,
    has_failed: AtomicBool,
}

impl Pack {
    /// Its number, unique in its folder.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Makes everything written so far durable. Once it has failed it fails for ever. Blocks.
    pub fn sync(&self) -> io::Result<()> {
        if self.has_failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier sync of this pack failed"));
        }
        durable::sync_file(Artifact::Pack, &self.file)
            .inspect_err(|_| self.has_failed.store(true, Ordering::Release))
    }
}

/// Bytes in a pack. Dropped before [`PackSlot::keep`], they count as not wanted.
#[derive(Debug)]
pub struct PackSlot {
    packs: Packs,
    pack: Arc<Pack>,
    offset: u64,
    is_kept: AtomicBool,
}

impl PackSlot {
    /// Where the bytes are.
    pub fn place(&self) -> PackPlace {
        PackPlace {
            pack: self.pack.number,
            offset: self.offset,
        }
    }

    /// What must be synced before the bytes are durable.
    pub fn pack(&self) -> &Arc<Pack> {
        &self.pack
    }

    /// From here on a record may refer to the bytes: they stay until [`Packs::release`].
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Release);
    }
}

impl Drop for PackSlot {
    fn drop(&mut self) {
        if !*self.is_kept.get_mut() {
            self.packs.release(self.pack.number);
        }
    }
}

impl Packs {
    /// The packs in `folder`, which is made when the first one is.
    pub fn new(folder: PathBuf, clock: SharedClock) -> Self {
        Self(Arc::new(Shared {
            folder,
            clock,
            state: Mutex::default(),
        }))
    }

    /// Writes a part's bytes into a pack; durable after [`Pack::sync`]. Blocks.
    pub fn put(&self, bytes: &[u8]) -> io::Result<PackSlot> {
        let slot = self.reserve(bytes.len() as u64)?;
        slot.pack.file.write_all_at(bytes, slot.offset)?;
        Ok(slot)
    }

    /// A part of this pack is wanted no more. The file goes with its last part. Blocks.
    pub fn release(&self, number: u64) {
        let mut state = self.state();
        let is_last = match state.wanted.get_mut(&number) {
            None => return,
            Some(count) => {
                *count = count.saturating_sub(1);
                *count == 0
            }
        };
        if is_last && !state.is_current(number) {
            self.remove_locked(&mut state, number);
        }
    }

    /// Removes a pack of which no part is wanted any more. Blocks.
    pub fn remove(&self, number: u64) {
        self.remove_locked(&mut self.state(), number);
    }

    fn remove_locked(&self, state: &mut State, number: u64) {
        state.wanted.remove(&number);
        durable::remove_quietly(&self.path(number));
    }

    /// Closes the pack that takes bytes; when nothing in it is wanted, its file goes. Blocks.
    pub fn close(&self) {
        let mut state = self.state();
        let current = state.current.take();
        self.take_out_of_use(&mut state, current);
    }

    /// The file of a pack.
    pub fn path(&self, number: u64) -> PathBuf {
        path(&self.0.folder, number)
    }

    /// The packs that take no more bytes.
    pub fn closed(&self) -> Vec<u64> {
        let current = self.state().current.as_ref().map(|one| one.pack.number);
        let mut numbers = numbers_in(&self.0.folder);
        numbers.retain(|number| Some(*number) != current);
        numbers
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room in the current pack, or in a new one when that is full or has failed.
    fn reserve(&self, length: u64) -> io::Result<PackSlot> {
        let mut state = self.state();
        let fits = |current: &Current| {
            current.end + length <= PACK_BYTES_MAX
                && !current.pack.has_failed.load(Ordering::Acquire)
        };
        let mut current = match state.current.take() {
            Some(current) if fits(&current) => current,
            full => {
                self.take_out_of_use(&mut state, full);
                self.create(&mut state)?
            }
        };
        let (pack, offset) = (current.pack.clone(), current.end);
        current.end += length;
        state.current = Some(current);
        *state.wanted.entry(pack.number).or_default() += 1;
        drop(state);
        Ok(PackSlot {
            packs: self.clone(),
            pack,
            offset,
            is_kept: AtomicBool::new(false),
        })
    }

    /// Takes a full pack out of use; when nothing in it is wanted, its file goes.
    fn take_out_of_use(&self, state: &mut State, full: Option<Current>) {
        let Some(full) = full else { return };
        let number = full.pack.number;
        if state.wanted.get(&number).copied().unwrap_or(0) == 0 {
            self.remove_locked(state, number);
        }
    }

    fn create(&self, state: &mut State) -> io::Result<Current> {
        if state.last_number == 0 {
            // Numbers stay unique when the clock went back over a restart.
            state.last_number = numbers_in(&self.0.folder).into_iter().max().unwrap_or(0);
        }
        let now = self.0.clock.now().timestamp_micros();
        let number = u64::try_from(now)
            .unwrap_or(0)
            .max(state.last_number.saturating_add(1));
        state.last_number = number;
        durable::create_folders(&self.0.folder)?;
        let file = durable::create_new(&self.path(number))?;
        durable::sync_folder(Artifact::Pack, &self.0.folder)?;
        let pack = Arc::new(Pack {
            number,
            file,
            has_failed: AtomicBool::new(false),
        });
        Ok(Current { pack, end: 0 })
    }
}

impl State {
    fn is_current(&self, number: u64) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| current.pack.number == number)
    }
}

/// The file of a pack in this folder.
pub fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number}{SUFFIX}"))
}

/// The number in a pack file's name.
pub fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// The packs in a folder; none when it cannot be read.
fn numbers_in(folder: &Path) -> Vec<u64> {
    let listing = std::fs::read_dir(folder).into_iter().flatten();
    listing
        .filter_map(|entry| number_of(&entry.ok()?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn packs() -> (tempfile::TempDir, Packs) {
        let folder = tempfile::tempdir().unwrap();
        let packs = Packs::new(folder.path().join("packs"), Arc::new(SystemClock));
        (folder, packs)
    }

    fn content(packs: &Packs, slot: &PackSlot, length: usize) -> Vec<u8> {
        let file = File::open(packs.path(slot.place().pack)).unwrap();
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, slot.place().offset).unwrap();
        bytes
    }

    #[test]
    fn parts_share_a_file_and_keep_their_bytes() {
        let (_folder, packs) = packs();
        let slots: Vec<PackSlot> = [&b"one"[..], b"", b"three"]
            .iter()
            .map(|bytes| packs.put(bytes).unwrap())
            .collect();
        slots[0].pack().sync().unwrap();
        assert!(
            slots
                .iter()
                .all(|slot| slot.place().pack == slots[0].place().pack)
        );
        assert_eq!(content(&packs, &slots[0], 3), b"one");
        assert_eq!(content(&packs, &slots[2], 5), b"three");
    }

    #[test]
    fn a_full_pack_goes_with_its_last_wanted_part() {
        let (_folder, packs) = packs();
        let half = vec![7; usize::try_from(PACK_BYTES_MAX / 2).unwrap()];
        let (first, second) = (packs.put(&half).unwrap(), packs.put(&half).unwrap());
        second.keep();
        let number = first.place().pack;
        drop(first);
        let third = packs.put(b"x").unwrap();
        assert_ne!(third.place().pack, number);
        assert_eq!(packs.closed(), [number]);
        // Kept bytes stay when their guard goes, and go when their part does.
        drop(second);
        assert!(packs.path(number).exists());
        packs.release(number);
        assert!(!packs.path(number).exists());
        // The current pack stays, wanted or not; a number of an earlier run is not counted.
        let current = third.place().pack;
        drop(third);
        packs.release(1);
        assert!(packs.path(current).exists());
        assert_eq!(packs.closed(), [0u64; 0]);
        packs.close();
        assert!(!packs.path(current).exists());
    }

    #[test]
    fn a_pack_that_failed_is_given_up() {
        let (_folder, packs) = packs();
        let first = packs.put(b"a").unwrap();
        first.pack().has_failed.store(true, Ordering::Release);
        assert!(first.pack().sync().is_err());
        let second = packs.put(b"b").unwrap();
        assert_ne!(second.place().pack, first.place().pack);
        second.pack().sync().unwrap();
    }
}
