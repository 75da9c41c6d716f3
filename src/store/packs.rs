//! Packs: files that small parts share, so that one sync makes many of them durable.
//!
//! **How to call it.** [`Packs::put`] keeps a part's bytes in memory, behind those of others, and gives a [`PackSlot`]; it does not
//! block. The slot's pack goes with the part's record to the journal ([`super::journal::Write::packs`]), whose writer syncs every
//! pack of a group of writes once, before it records any of them. That sync writes all that came since the one before.
//!
//! **Durability.** A pack's name is durable before the first byte in it; a part's bytes are durable before its record is
//! written. After a write or a sync that failed a pack takes no more bytes and is synced no more: the kernel may have dropped
//! what it held. What other packs hold is not touched by that.
//!
//! **Memory.** What is not written yet belongs to parts on their way to the journal, of which there are no more than
//! `parts.in_flight_max`; or to those that were given up, and then it goes with the next sync or the pack.
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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

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
    /// The pack that takes bytes.
    current: Option<Arc<Pack>>,
    /// Parts that are wanted, by pack; only packs of this run.
    wanted: HashMap<u64, u64>,
    last_number: u64,
}

/// One file of parts.
#[derive(Debug)]
pub struct Pack {
    number: u64,
    path: PathBuf,
    unwritten: Mutex<Unwritten>,
    /// Made by the first sync. Held while one runs.
    file: Mutex<Option<File>>,
    has_failed: AtomicBool,
}

/// Bytes that the next sync writes.
#[derive(Debug, Default)]
struct Unwritten {
    bytes: Vec<u8>,
    /// Where they go.
    offset: u64,
}

impl Pack {
    /// Its number, unique in its folder.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Makes all bytes that it was given so far durable. Once it has failed it fails for ever. Blocks.
    pub fn sync(&self) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier sync of this pack failed"));
        }
        let unwritten = self.unwritten().take();
        self.write_durably(&mut file, &unwritten)
            .inspect_err(|_| self.has_failed.store(true, Ordering::Release))
    }

    fn write_durably(&self, file: &mut Option<File>, unwritten: &Unwritten) -> io::Result<()> {
        if unwritten.bytes.is_empty() && file.is_some() {
            // The sync before had all.
            return Ok(());
        }
        let file = match file {
            Some(file) => file,
            None => file.insert(create(&self.path)?),
        };
        file.write_all_at(&unwritten.bytes, unwritten.offset)?;
        durable::sync_file(Artifact::Pack, file)
    }

    /// Whether it takes so many bytes more.
    fn has_room(&self, length: usize) -> bool {
        self.unwritten().end() + length as u64 <= PACK_BYTES_MAX
            && !self.has_failed.load(Ordering::Acquire)
    }

    /// Takes a part's bytes; gives where they will be.
    fn append(&self, bytes: &[u8]) -> u64 {
        let mut unwritten = self.unwritten();
        let offset = unwritten.end();
        unwritten.bytes.extend_from_slice(bytes);
        offset
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unwritten {
    /// Where the next bytes go.
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// All bytes; the next ones go behind them.
    fn take(&mut self) -> Self {
        let offset = self.end();
        let bytes = Vec::new();
        std::mem::replace(self, Self { bytes, offset })
    }
}

/// Makes the file of a pack, durably.
fn create(path: &Path) -> io::Result<File> {
    let folder = path.parent().unwrap_or(path);
    durable::create_folders(folder)?;
    let file = durable::create_new(path)?;
    durable::sync_folder(Artifact::Pack, folder)?;
    Ok(file)
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
        if !*self.is_kept.get_mut() && self.packs.give_up(self.pack.number) {
            let path = self.pack.path.clone();
            let remove = move || durable::remove_quietly(&path);
            // A request that ends early drops this on the thread of its connection.
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(remove)),
                Err(_) => remove(),
            }
        }
    }
}

impl Packs {
    /// The packs in `folder`, which is made when the first one is. Blocks.
    pub fn open(folder: PathBuf, clock: SharedClock) -> Self {
        // Numbers stay unique when the clock went back over a restart.
        let last_number = numbers_in(&folder).into_iter().max().unwrap_or(0);
        Self(Arc::new(Shared {
            folder,
            clock,
            state: Mutex::new(State {
                last_number,
                ..State::default()
            }),
        }))
    }

    /// Takes a part's bytes into a pack: the current one, or a new one when that is full or has failed. They are durable after
    /// [`Pack::sync`]. Must be called within a tokio runtime.
    pub fn put(&self, bytes: &[u8]) -> PackSlot {
        let mut state = self.state();
        let pack = match state.current.take() {
            Some(pack) if pack.has_room(bytes.len()) => pack,
            full => {
                if let Some(unwanted) = take_out_of_use(&mut state, full) {
                    tokio::task::spawn_blocking(move || durable::remove_quietly(&unwanted));
                }
                self.start_pack(&mut state)
            }
        };
        let offset = pack.append(bytes);
        state.current = Some(pack.clone());
        *state.wanted.entry(pack.number).or_default() += 1;
        PackSlot {
            packs: self.clone(),
            pack,
            offset,
            is_kept: AtomicBool::new(false),
        }
    }

    /// A part of this pack is wanted no more. The file goes with its last part. Blocks.
    pub fn release(&self, number: u64) {
        if self.give_up(number) {
            durable::remove_quietly(&self.path(number));
        }
    }

    /// Counts one part less; whether the pack's file is to go. It cannot be taken into use again then.
    fn give_up(&self, number: u64) -> bool {
        let mut state = self.state();
        let Some(count) = state.wanted.get_mut(&number) else {
            return false;
        };
        *count = count.saturating_sub(1);
        let is_last = *count == 0 && !state.is_current(number);
        if is_last {
            state.wanted.remove(&number);
        }
        is_last
    }

    /// Removes a pack of which no part is wanted any more. Blocks.
    pub fn remove(&self, number: u64) {
        self.state().wanted.remove(&number);
        durable::remove_quietly(&self.path(number));
    }

    /// Closes the pack that takes bytes; when nothing in it is wanted, its file goes. Blocks.
    pub fn close(&self) {
        let mut state = self.state();
        let current = state.current.take();
        let unwanted = take_out_of_use(&mut state, current);
        drop(state);
        if let Some(unwanted) = unwanted {
            durable::remove_quietly(&unwanted);
        }
    }

    /// The file of a pack.
    pub fn path(&self, number: u64) -> PathBuf {
        path(&self.0.folder, number)
    }

    /// The packs that take no more bytes.
    pub fn closed(&self) -> Vec<u64> {
        let current = self.state().current.as_ref().map(|pack| pack.number);
        let mut numbers = numbers_in(&self.0.folder);
        numbers.retain(|number| Some(*number) != current);
        numbers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_pack(&self, state: &mut State) -> Arc<Pack> {
        let now = self.0.clock.now().timestamp_micros();
        let number = u64::try_from(now)
            .unwrap_or(0)
            .max(state.last_number.saturating_add(1));
        state.last_number = number;
        Arc::new(Pack {
            number,
            path: self.path(number),
            unwritten: Mutex::default(),
            file: Mutex::default(),
            has_failed: AtomicBool::new(false),
        })
    }
}

impl State {
    fn is_current(&self, number: u64) -> bool {
        self.current
            .as_ref()
            .is_some_and(|pack| pack.number == number)
    }
}

/// Takes a full pack out of use; gives its file when nothing in it is wanted.
fn take_out_of_use(state: &mut State, full: Option<Arc<Pack>>) -> Option<PathBuf> {
    let pack = full?;
    let is_wanted = state
        .wanted
        .get(&pack.number)
        .is_some_and(|count| *count > 0);
    if is_wanted {
        return None;
    }
    state.wanted.remove(&pack.number);
    Some(pack.path.clone())
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
        let packs = Packs::open(folder.path().join("packs"), Arc::new(SystemClock));
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
            .map(|bytes| packs.put(bytes))
            .collect();
        slots[0].pack().sync().unwrap();
        assert!(
            slots
                .iter()
                .all(|slot| slot.place().pack == slots[0].place().pack)
        );
        assert_eq!(content(&packs, &slots[0], 3), b"one");
        assert_eq!(content(&packs, &slots[2], 5), b"three");
        // The next sync goes on behind them; one with nothing new changes nothing.
        let last = packs.put(b"!");
        for _ in 0..2 {
            last.pack().sync().unwrap();
            assert_eq!(content(&packs, &slots[0], 9), b"onethree!");
        }
    }

    #[tokio::test]
    async fn a_full_pack_goes_with_its_last_wanted_part() {
        let (_folder, packs) = packs();
        let half = vec![7; usize::try_from(PACK_BYTES_MAX / 2).unwrap()];
        let (first, second) = (packs.put(&half), packs.put(&half));
        second.keep();
        second.pack().sync().unwrap();
        let number = first.place().pack;
        drop(first);
        let third = packs.put(b"x");
        third.pack().sync().unwrap();
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

    #[tokio::test]
    async fn a_pack_that_failed_is_given_up() {
        let (_folder, packs) = packs();
        let first = packs.put(b"a");
        // Its file cannot be made: the name is taken.
        std::fs::create_dir_all(packs.path(first.place().pack)).unwrap();
        for _ in 0..2 {
            assert!(first.pack().sync().is_err());
        }
        let second = packs.put(b"b");
        assert_ne!(second.place().pack, first.place().pack);
        second.pack().sync().unwrap();
    }
}
