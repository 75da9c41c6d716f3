//! What a disk may hold after a power cut, by what POSIX promises and no more.
//!
//! A file's bytes are certain as of the last sync of the file that had begun after they were written and has ended;
//! of later changes anything may be there. A folder's names are certain as of the last sync of the folder; a
//! new folder is reached only if its name is certain in its parent. Bytes belong to the inode, whatever
//! its names. No sync of one thing says anything of another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::recorder::{Inode, Operation, Recording};
use crate::support::random::Random;

/// A file or folder of the model; other than inode numbers these are never used twice.
type Id = usize;

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

/// What of the uncertain is there after the cut.
#[derive(Clone, Debug)]
pub enum Survival {
    Nothing,
    Everything,
    /// Some of it, file by file and folder by folder.
    Mixture(Random),
}

/// A change of a file: bytes (by their place in the recording) at an offset, or a new size.
#[derive(Clone, Debug)]
enum Change {
    Write(usize, std::ops::Range<usize>),
    Resize(usize),
}

/// Names of a folder that change at once: to what they mean then, or to nothing.
type Renaming = Vec<(String, Option<Id>)>;

/// The certain state, and what came after it in order.
#[derive(Debug)]
struct Uncertain<State, Step> {
    certain: State,
    later: Vec<Step>,
    /// Steps that became certain, since the beginning.
    settled: usize,
}

impl<State: Default, Step> Default for Uncertain<State, Step> {
    fn default() -> Self {
        Self {
            certain: State::default(),
            later: Vec::new(),
            settled: 0,
        }
    }
}

impl<State, Step> Uncertain<State, Step> {
    /// How many steps there were up to now.
    fn count(&self) -> usize {
        self.settled + self.later.len()
    }

    /// The first `count` steps since the beginning have become certain.
    fn settle(&mut self, count: usize, apply: impl Fn(&mut State, &Step)) {
        let fresh = count.saturating_sub(self.settled);
        for step in self.later.drain(..fresh) {
            apply(&mut self.certain, &step);
        }
        self.settled += fresh;
    }
}

#[derive(Debug)]
enum Node {
    File(Uncertain<Vec<u8>, Change>),
    Folder(Uncertain<BTreeMap<String, Id>, Renaming>),
}

/// A disk, as far as its operations were recorded.
pub struct Disk<'a> {
    recording: &'a Recording,
    /// Operations done.
    done: usize,
    nodes: Vec<Node>,
    ids: HashMap<Inode, Id>,
    /// Syncs under way: of what, and how many of its steps they cover.
    syncs: HashMap<u64, (Id, usize)>,
}

impl<'a> Disk<'a> {
    /// A disk on which nothing is but the recorded folder.
    pub fn new(recording: &'a Recording, root: Inode) -> Self {
        Self {
            recording,
            done: 0,
            nodes: vec![Node::Folder(Uncertain::default())],
            ids: HashMap::from([(root, 0)]),
            syncs: HashMap::new(),
        }
    }

    /// Does what was recorded before a position; positions must not go back.
    pub fn advance(&mut self, position: usize) {
        while let Some((end, operation)) = self.recording.operations.get(self.done)
            && *end <= position
        {
            self.done += 1;
            self.apply(operation);
        }
    }

    /// The last operations, for messages.
    pub fn last_operations(&self, count: usize) -> String {
        let done = &self.recording.operations[..self.done];
        let last = &done[done.len().saturating_sub(count)..];
        let lines: Vec<String> = last
            .iter()
            .map(|(end, operation)| format!("{end}: {operation:?}"))
            .collect();
        lines.join("\n")
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create(folder, inode, name) => {
                self.add(*folder, *inode, name, Node::File(Uncertain::default()));
            }
            Operation::MakeFolder(folder, inode, name) => {
                self.add(*folder, *inode, name, Node::Folder(Uncertain::default()));
            }
            Operation::Link(folder, inode, name) => {
                let id = self.ids[inode];
                self.rename(*folder, vec![(name.clone(), Some(id))]);
            }
            Operation::Unlink(folder, name) => self.rename(*folder, vec![(name.clone(), None)]),
            Operation::Rename(from, to, before, after) => {
                let id = self.current_names(self.ids[from])[before];
                let (gone, come) = ((before.clone(), None), (after.clone(), Some(id)));
                if from == to {
                    self.rename(*from, vec![gone, come]);
                } else {
                    self.rename(*to, vec![come]);
                    self.rename(*from, vec![gone]);
                }
            }
            Operation::Write(inode, offset, bytes) => {
                self.change(*inode, Change::Write(*offset, bytes.clone()));
            }
            Operation::Resize(inode, bytes) => self.change(*inode, Change::Resize(*bytes)),
            Operation::SyncBegins(token, inode) => {
                let id = self.ids[inode];
                let count = match &self.nodes[id] {
                    Node::File(file) => file.count(),
                    Node::Folder(folder) => folder.count(),
                };
                self.syncs.insert(*token, (id, count));
            }
            Operation::SyncEnded(token) => {
                let (id, count) = self.syncs.remove(token).expect("a sync that began");
                let bytes = &self.recording.bytes;
                match &mut self.nodes[id] {
                    Node::File(file) => file.settle(count, |content, change| {
                        change.apply(content, bytes, |_| true);
                    }),
                    Node::Folder(folder) => folder.settle(count, apply_renaming),
                }
            }
        }
    }

    fn add(&mut self, folder: Inode, inode: Inode, name: &str, node: Node) {
        let id = self.nodes.len();
        self.nodes.push(node);
        self.ids.insert(inode, id);
        self.rename(folder, vec![(name.to_owned(), Some(id))]);
    }

    fn rename(&mut self, folder: Inode, renaming: Renaming) {
        match &mut self.nodes[self.ids[&folder]] {
            Node::Folder(folder) => folder.later.push(renaming),
            Node::File(_) => panic!("a file has no names in it"),
        }
    }

    /// Files that were there before the recording began, as the server's log, are no part of the model.
    fn change(&mut self, inode: Inode, change: Change) {
        let Some(id) = self.ids.get(&inode) else {
            return;
        };
        match &mut self.nodes[*id] {
            Node::File(file) => file.later.push(change),
            Node::Folder(_) => panic!("nothing is written to a folder"),
        }
    }

    fn current_names(&self, id: Id) -> BTreeMap<String, Id> {
        match &self.nodes[id] {
            Node::Folder(folder) => folder.names(&mut Survival::Everything),
            Node::File(_) => panic!("a file has no names in it"),
        }
    }

    /// What a cut would leave of the recorded folder's child `name`.
    pub fn image(&self, name: &str, survival: &mut Survival) -> Image {
        let Node::Folder(root) = &self.nodes[0] else {
            panic!("the recorded folder is a folder")
        };
        let mut image = Image::default();
        if let Some(id) = root.names(survival).get(name) {
            self.add_to(
                &mut image,
                *id,
                survival,
                PathBuf::new(),
                &mut HashMap::new(),
            );
        }
        image
    }

    fn add_to(
        &self,
        image: &mut Image,
        id: Id,
        survival: &mut Survival,
        path: PathBuf,
        placed: &mut HashMap<Id, PathBuf>,
    ) {
        let entry = match &self.nodes[id] {
            Node::Folder(folder) => {
                for (name, child) in folder.names(survival) {
                    self.add_to(image, child, survival, path.join(name), placed);
                }
                Entry::Folder
            }
            Node::File(file) => match placed.get(&id) {
                Some(first) => Entry::SameAs(first.clone()),
                None => {
                    placed.insert(id, path.clone());
                    Entry::File(file.content(&self.recording.bytes, survival))
                }
            },
        };
        image.0.insert(path, entry);
    }
}

/// Files and folders by their path, which is empty for the image's own folder.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Image(BTreeMap<PathBuf, Entry>);

#[derive(Debug, PartialEq, Eq, Hash)]
enum Entry {
    Folder,
    File(Vec<u8>),
    /// One more name of a file.
    SameAs(PathBuf),
}

impl Image {
    /// Writes the image as `folder`, where nothing may be.
    pub fn write(&self, folder: &Path) {
        for (path, entry) in &self.0 {
            // Joined with an empty path it would end with a slash.
            let place = match path.as_os_str().is_empty() {
                true => folder.to_owned(),
                false => folder.join(path),
            };
            let written = match entry {
                Entry::Folder => fs::create_dir(&place),
                Entry::File(content) => fs::write(&place, content),
                Entry::SameAs(first) => fs::hard_link(folder.join(first), &place),
            };
            written.unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        }
    }
}

impl Change {
    /// Makes the change, but only in pages that are kept; the file's size changes at once.
    fn apply(&self, content: &mut Vec<u8>, bytes: &[u8], mut keeps: impl FnMut(usize) -> bool) {
        match self {
            Self::Resize(size) => content.resize(*size, 0),
            Self::Write(offset, written) => {
                let end = offset + written.len();
                content.resize(content.len().max(end), 0);
                let mut from = *offset;
                while from < end {
                    let page = from / PAGE_BYTES;
                    let to = end.min((page + 1) * PAGE_BYTES);
                    if keeps(page) {
                        let source = written.start + from - offset;
                        content[from..to].copy_from_slice(&bytes[source..source + to - from]);
                    }
                    from = to;
                }
            }
        }
    }

    /// The beginning of a write that was torn.
    fn torn(&self, random: &mut Random) -> Option<Self> {
        match self {
            Self::Resize(_) => None,
            Self::Write(offset, written) => {
                let sectors = written.len().div_ceil(SECTOR_BYTES);
                let length = random.index(sectors) * SECTOR_BYTES;
                Some(Self::Write(*offset, written.start..written.start + length))
            }
        }
    }
}

impl Uncertain<Vec<u8>, Change> {
    fn content(&self, bytes: &[u8], survival: &mut Survival) -> Vec<u8> {
        let mut content = self.certain.clone();
        match survival {
            Survival::Nothing => {}
            Survival::Everything => {
                for change in &self.later {
                    change.apply(&mut content, bytes, |_| true);
                }
            }
            Survival::Mixture(random) => self.mix(&mut content, bytes, random),
        }
        content
    }

    fn mix(&self, content: &mut Vec<u8>, bytes: &[u8], random: &mut Random) {
        match random.index(5) {
            0 => {}
            1 => {
                for change in &self.later {
                    change.apply(content, bytes, |_| true);
                }
            }
            // Some of the writes.
            2 => {
                for change in &self.later {
                    if random.index(2) == 0 {
                        change.apply(content, bytes, |_| true);
                    }
                }
            }
            // The sizes, and some of the pages: the others hold what was there, or zeros.
            3 => {
                for change in &self.later {
                    change.apply(content, bytes, |_| random.index(2) == 0);
                }
            }
            // The writes up to one that was torn.
            _ => {
                let whole = random.index(self.later.len() + 1);
                for change in &self.later[..whole] {
                    change.apply(content, bytes, |_| true);
                }
                let torn = self.later.get(whole).and_then(|change| change.torn(random));
                if let Some(torn) = torn {
                    torn.apply(content, bytes, |_| true);
                }
            }
        }
    }
}

fn apply_renaming(names: &mut BTreeMap<String, Id>, renaming: &Renaming) {
    for (name, meaning) in renaming {
        match meaning {
            Some(id) => names.insert(name.clone(), *id),
            None => names.remove(name),
        };
    }
}

impl Uncertain<BTreeMap<String, Id>, Renaming> {
    fn names(&self, survival: &mut Survival) -> BTreeMap<String, Id> {
        let mut names = self.certain.clone();
        let kept = match survival {
            Survival::Nothing => 0,
            Survival::Everything => self.later.len(),
            Survival::Mixture(random) => match random.index(4) {
                0 => 0,
                1 => self.later.len(),
                2 => random.index(self.later.len() + 1),
                _ => {
                    self.mix(&mut names, random);
                    0
                }
            },
        };
        for renaming in &self.later[..kept] {
            apply_renaming(&mut names, renaming);
        }
        names
    }

    /// Each name as it was after some of its own changes, whatever became of the others.
    fn mix(&self, names: &mut BTreeMap<String, Id>, random: &mut Random) {
        let changes: Vec<&(String, Option<Id>)> = self.later.iter().flatten().collect();
        let changed: BTreeSet<&String> = changes.iter().map(|(name, _)| name).collect();
        for name in changed {
            let own: Vec<_> = changes.iter().filter(|(other, _)| other == name).collect();
            for change in own.iter().take(random.index(own.len() + 1)) {
                apply_renaming(names, &vec![(**change).clone()]);
            }
        }
    }
}
