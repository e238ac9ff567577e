//! What a loss of power does: all that was written after the last completed sync is thrown away before the restart.
//!
//! strace tells which octets of which file were written and which syncs returned. What a sync does not cover is either
//! thrown away as a whole, or page by page by chance, as a system does that was just writing some of it back. A file or
//! folder whose name was not synced (by a sync of the folder it is in) goes with its name.
//!
//! Not shown this way: a removal or a renaming over another file that was not synced and comes back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mailhorn_integration_tests::random::Random;
use mailhorn_integration_tests::{Node, NodeBuilder};

use crate::kills::{Power, run};
use crate::trace::{self, Call};

const LIVES: usize = 8;
const PAGE_OCTETS: u64 = 4096;
/// All that can change a file or a name, and what moves a position.
const CALLS: &str = "trace=open,openat,creat,read,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,\
     fallocate,fdatasync,fsync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,\
     symlinkat,mkdir,mkdirat,close,dup,dup2,dup3,fcntl,copy_file_range,sendfile,splice";
/// Those that the model below doesn't know; a store that begins to use one needs a better model.
const UNKNOWN: [&str; 14] = [
    "open",
    "creat",
    "pwritev",
    "pwritev2",
    "truncate",
    "fallocate",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "copy_file_range",
    "sendfile",
    "splice",
    "dup2",
];

/// Octets that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    from: u64,
    to: u64,
    at: usize,
}

/// A file or folder, as far as it is not durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    size: u64,
    synced_size: u64,
    unsynced: Vec<Written>,
    /// When its name was made, if its folder was not synced since.
    named_at: Option<usize>,
}

/// An open file: its position is shared by all descriptors made from it.
#[derive(Debug, Default)]
struct Position {
    at: u64,
    appends: bool,
}

/// The disk as the trace tells it.
#[derive(Debug, Default)]
struct Disk {
    root: PathBuf,
    entries: BTreeMap<PathBuf, Entry>,
    open: BTreeMap<i64, Rc<RefCell<Position>>>,
}

impl Disk {
    /// The disk before a node begins: all that is there is durable.
    fn now(root: &Path) -> Self {
        let mut disk = Self {
            root: root.to_path_buf(),
            ..Self::default()
        };
        disk.take(root);
        disk
    }

    fn take(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let size = entry.metadata().unwrap().len();
            let durable = Entry {
                size,
                synced_size: size,
                ..Entry::default()
            };
            self.entries.insert(entry.path(), durable);
            if entry.file_type().unwrap().is_dir() {
                self.take(&entry.path());
            }
        }
    }

    /// The path that a call's descriptor stands for, if it is one of ours.
    fn path(&self, target: Option<&str>) -> Option<PathBuf> {
        let path = PathBuf::from(target?.trim_end_matches(" (deleted)"));
        path.starts_with(&self.root).then_some(path)
    }

    fn apply(&mut self, call: &Call) {
        if call.value().is_some_and(|value| value < 0) {
            return;
        }
        let ours = call.arguments.contains(self.root.to_str().unwrap());
        assert!(
            !(ours && UNKNOWN.contains(&call.name.as_str())),
            "the model doesn't know {call:?}"
        );
        match call.name.as_str() {
            "openat" => self.opened(call),
            "close" => drop(
                call.descriptor()
                    .and_then(|descriptor| self.open.remove(&descriptor)),
            ),
            "fcntl" | "dup" | "dup3" => self.duplicated(call),
            "lseek" => self.moved(call, |position, value| position.at = value),
            "read" => self.moved(call, |position, value| position.at += value),
            "write" | "writev" | "pwrite64" => self.wrote(call),
            "ftruncate" => self.resized(call),
            "fdatasync" | "fsync" => self.synced(call),
            "mkdir" | "mkdirat" => self.named(call),
            "rename" | "renameat" | "renameat2" => self.renamed(call),
            "unlink" | "unlinkat" | "rmdir" => self.removed(call),
            _ => {}
        }
    }

    fn opened(&mut self, call: &Call) {
        let (Some(descriptor), Some(path)) = (call.value(), self.path(call.given())) else {
            return;
        };
        if call.arguments.contains("O_CREAT") && !self.entries.contains_key(&path) {
            self.named(call);
        }
        let entry = self.entries.entry(path).or_default();
        if call.arguments.contains("O_TRUNC") {
            entry.size = 0;
            entry.unsynced.clear();
        }
        let appends = call.arguments.contains("O_APPEND");
        let position = Position { at: 0, appends };
        self.open.insert(descriptor, Rc::new(RefCell::new(position)));
    }

    fn duplicated(&mut self, call: &Call) {
        let is_duplicate = call.name != "fcntl" || call.arguments.contains("F_DUPFD");
        let (Some(from), Some(to)) = (call.descriptor(), call.value()) else {
            return;
        };
        if let Some(position) = self.open.get(&from).filter(|_| is_duplicate) {
            self.open.insert(to, Rc::clone(position));
        }
    }

    fn moved(&mut self, call: &Call, moves: impl FnOnce(&mut Position, u64)) {
        let position = call
            .descriptor()
            .and_then(|descriptor| self.open.get(&descriptor));
        let value = call.value().and_then(|value| u64::try_from(value).ok());
        if let (Some(position), Some(value)) = (position, value) {
            moves(&mut position.borrow_mut(), value);
        }
    }

    fn wrote(&mut self, call: &Call) {
        let Some(path) = self.path(call.target()) else {
            return;
        };
        let is_positioned = call.name == "pwrite64";
        let asked = call.number_from_end(usize::from(is_positioned));
        let done = call.value().and_then(|value| u64::try_from(value).ok());
        let Some(octets) = done.or(asked) else { return };
        let entry = self.entries.entry(path).or_default();
        let position = call
            .descriptor()
            .and_then(|descriptor| self.open.get(&descriptor));
        let from = match (is_positioned, position) {
            (true, _) => call.number_from_end(0).unwrap(),
            (false, Some(position)) => {
                let mut position = position.borrow_mut();
                let from = if position.appends { entry.size } else { position.at };
                position.at = from + octets;
                from
            }
            (false, None) => panic!("a write to a descriptor whose opening was not seen: {call:?}"),
        };
        let to = from + octets;
        entry.size = entry.size.max(to);
        let at = call.ended;
        entry.unsynced.push(Written { from, to, at });
    }

    fn resized(&mut self, call: &Call) {
        let (Some(path), Some(size)) = (self.path(call.target()), call.number_from_end(0)) else {
            return;
        };
        let entry = self.entries.entry(path).or_default();
        entry.size = size;
        entry.synced_size = entry.synced_size.min(size);
        entry.unsynced.retain(|written| written.from < size);
    }

    /// A sync covers what was there when it began.
    fn synced(&mut self, call: &Call) {
        let Some(path) = call.value().and_then(|_| self.path(call.target())) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(&path) {
            entry.unsynced.retain(|written| written.at > call.began);
            let still = entry.unsynced.iter().map(|written| written.from).min();
            entry.synced_size = still.map_or(entry.size, |from| entry.size.min(from.max(entry.synced_size)));
        }
        for (name, entry) in &mut self.entries {
            if name.parent() == Some(&path) && entry.named_at.is_some_and(|named| named < call.began) {
                entry.named_at = None;
            }
        }
    }

    fn named(&mut self, call: &Call) {
        let named = call.texts().last().map(|path| self.root.join(path));
        if let Some(path) = named.filter(|path| path.starts_with(&self.root)) {
            let entry = Entry {
                named_at: Some(call.ended),
                ..Entry::default()
            };
            self.entries.insert(path, entry);
        }
    }

    fn renamed(&mut self, call: &Call) {
        let [from, to] = call.texts()[..] else {
            panic!("{call:?}")
        };
        let (from, to) = (self.root.join(from), self.root.join(to));
        let replaced = self.entries.contains_key(&to);
        let moved: Vec<PathBuf> = self
            .entries
            .keys()
            .filter(|path| path.starts_with(&from))
            .cloned()
            .collect();
        for path in moved {
            let mut entry = self.entries.remove(&path).unwrap();
            let rest = path.strip_prefix(&from).unwrap();
            let is_itself = rest.as_os_str().is_empty();
            if is_itself && !replaced {
                entry.named_at = Some(call.ended);
            } else if is_itself {
                entry.named_at = None;
            }
            let path = if is_itself { to.clone() } else { to.join(rest) };
            self.entries.insert(path, entry);
        }
    }

    fn removed(&mut self, call: &Call) {
        let removed = call.texts().last().map(|path| self.root.join(path));
        // Names below a folder that is removed by name and descriptor are given without it: what is not on the disk any
        // more when the power goes is passed over anyway.
        if let Some(path) = removed {
            self.entries.remove(&path);
        }
    }

    /// Throws away what is not durable; `keep` is asked for each page of it.
    fn cut_back(&self, mut keep: impl FnMut() -> bool) -> Cut {
        let mut cut = Cut::default();
        for (path, entry) in &self.entries {
            let Ok(found) = fs::symlink_metadata(path) else {
                continue;
            };
            if entry.named_at.is_some() {
                cut.names += 1;
                let removed = if found.is_dir() {
                    fs::remove_dir_all(path)
                } else {
                    fs::remove_file(path)
                };
                removed.unwrap();
            } else if !entry.unsynced.is_empty() {
                let file = OpenOptions::new().write(true).open(path).unwrap();
                let mut kept_to = entry.synced_size;
                for page in pages(&entry.unsynced) {
                    let to = page.to.min(found.len());
                    if keep() {
                        kept_to = kept_to.max(to);
                    } else if page.from < to {
                        let zeros = vec![0; usize::try_from(to - page.from).unwrap()];
                        file.write_all_at(&zeros, page.from).unwrap();
                        cut.octets += to - page.from;
                    }
                }
                file.set_len(kept_to.min(found.len())).unwrap();
            }
        }
        cut
    }
}

/// What was written, in parts that each lie in one page.
fn pages(written: &[Written]) -> Vec<Written> {
    let mut pages = Vec::new();
    for Written { from, to, at } in written {
        let mut start = *from;
        while start < *to {
            let end = (start / PAGE_OCTETS + 1) * PAGE_OCTETS;
            let end = end.min(*to);
            pages.push(Written {
                from: start,
                to: end,
                at: *at,
            });
            start = end;
        }
    }
    pages
}

/// What was thrown away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cut {
    octets: u64,
    names: u64,
}

/// Kills nodes and throws away what they had not synced.
struct Unplugged {
    root: PathBuf,
    traces: tempfile::TempDir,
    before: Disk,
    random: Random,
    thrown: Cut,
}

impl Power for Unplugged {
    fn start(&mut self, builder: NodeBuilder, life: usize) -> Node {
        self.before = Disk::now(&self.root);
        let output = self.traces.path().join(life.to_string());
        builder.wrapped_by(trace::wrapper(CALLS, 0, &output)).start()
    }

    fn cut(&mut self, mut node: Node, life: usize) {
        let tracer = trace::tracer(&node);
        node.kill();
        trace::wait_for_tracer(tracer);
        let output = self.traces.path().join(life.to_string());
        let calls = trace::parse(&fs::read_to_string(&output).unwrap());
        fs::remove_file(&output).unwrap();
        let mut disk = std::mem::take(&mut self.before);
        calls.iter().for_each(|call| disk.apply(call));
        // Every other time all of it goes, else each page by chance.
        let by_chance = life % 2 == 1;
        let random = &mut self.random;
        let cut = disk.cut_back(|| by_chance && random.once_in(2));
        self.thrown.octets += cut.octets;
        self.thrown.names += cut.names;
    }
}

#[test]
fn what_a_sync_does_not_cover_is_thrown_away_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let name = |name: &str| root.join(name).display().to_string();
    fs::write(root.join("old"), "durable").unwrap();
    let mut disk = Disk::now(root);
    for (file, content) in [("old", "durableABC"), ("new", "12345678"), ("unnamed", "x")] {
        fs::write(root.join(file), content).unwrap();
    }
    let (folder, old, new, unnamed) = (root.display(), name("old"), name("new"), name("unnamed"));
    let trace = format!(
        r#"1 openat(AT_FDCWD, "{old}", O_WRONLY|O_APPEND) = 3<{old}>
1 write(3<{old}>, ""..., 1) = 1
1 fdatasync(3<{old}>) = 0
1 write(3<{old}>, ""..., 2) = 2
1 openat(AT_FDCWD, "{new}", O_RDWR|O_CREAT, 0666) = 4<{new}>
1 ftruncate(4<{new}>, 8) = 0
1 fsync(4<{new}>) = 0
1 fsync(5<{folder}>) = 0
1 write(4<{new}>, ""..., 2) = 2
2 fdatasync(4<{new}> <unfinished ...>
1 pwrite64(4<{new}>, ""..., 2, 6) = 2
2 <... fdatasync resumed>) = 0
1 write(4<{new}>, ""..., 2) = 2
1 openat(AT_FDCWD, "{unnamed}", O_RDWR|O_CREAT, 0666) = 6<{unnamed}>
1 fsync(6<{unnamed}>) = 0
"#
    );
    trace::parse(&trace).iter().for_each(|call| disk.apply(call));
    let cut = disk.cut_back(|| false);
    assert_eq!(cut, Cut { octets: 6, names: 1 });
    assert_eq!(fs::read(root.join("old")).unwrap(), b"durableA");
    assert_eq!(fs::read(root.join("new")).unwrap(), b"12\0\x0056\0\0");
    assert!(!root.join("unnamed").exists());
}

#[test]
fn a_node_robbed_of_all_that_it_had_not_synced_keeps_every_promise() {
    if !trace::is_possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let seed = Random::seed_from("MAILHORN_SEED");
    let mut unplugged = Unplugged {
        root: root.clone(),
        traces: tempfile::tempdir().unwrap(),
        before: Disk::default(),
        random: Random::new(seed),
        thrown: Cut::default(),
    };
    let figures = run(&root, LIVES, seed, &mut unplugged);
    println!(
        "thrown away: {} octets written and not synced, {} names",
        unplugged.thrown.octets, unplugged.thrown.names
    );
    assert_eq!(figures.lost, 0);
    assert!(
        unplugged.thrown.octets > 0,
        "there was nothing to throw away: is the trace read right?"
    );
}
