//! fjall's journal files, handled while fjall does not have them open.
//!
//! An opening cuts a journal off at the first entry that it can't decode and goes on. That is right for the torn end of a
//! crash and wrong for damage in the middle, and afterwards nobody can tell which it was. So the files are copied first.
//! Where a loss of power left pages out of a batch that was not synced, entries can be decoded and their sum is wrong, and
//! fjall refuses or panics: so the end is cut off here, before it looks.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

const EXTENSION: &str = "jnl";
const COPY_OCTETS: usize = 1024 * 1024;

/// The journals in `dir`, oldest first.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut journals = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.parse().ok());
        if let (Some(number), Some(EXTENSION)) = (number, path.extension().and_then(|e| e.to_str())) {
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals)
}

/// How long the journal that is being written is. While the database is open, too.
pub(crate) fn newest_octets(store: &Path) -> io::Result<u64> {
    let journals = list(store)?;
    journals
        .last()
        .map_or(Ok(0), |(_, path)| Ok(fs::metadata(path)?.len()))
}

/// How long all journals are.
pub(crate) fn octets(store: &Path) -> io::Result<u64> {
    list(store)?
        .iter()
        .try_fold(0, |sum, (_, path)| Ok(sum + fs::metadata(path)?.len()))
}

/// Copies the journals of `store` to `kept`, unless a copy is there: then the originals may have been cut off since.
pub(crate) fn keep(store: &Path, kept: &Path) -> io::Result<()> {
    let journals = list(store)?;
    if kept.exists() || journals.is_empty() {
        return Ok(());
    }
    let unfinished = kept.with_extension("unfinished");
    remove(&unfinished)?;
    fs::create_dir_all(&unfinished)?;
    let copied = journals
        .iter()
        .try_for_each(|(number, path)| copy(path, &file(&unfinished, *number)));
    if let Err(error) = copied {
        // On a full disk the copy must not take the room that is left.
        remove(&unfinished)?;
        return Err(error);
    }
    fs::rename(&unfinished, kept)
}

/// Makes the copies durable: from now on they are all that is left of what was cut off.
pub(crate) fn sync_kept(kept: &Path) -> io::Result<()> {
    for (_, path) in list(kept)? {
        File::open(path)?.sync_all()?;
    }
    if kept.exists() {
        sync_dir(kept)?;
        kept.parent().map_or(Ok(()), sync_dir)?;
    }
    Ok(())
}

/// Cuts the newest journal off behind its last whole batch. Gives whether there was anything behind it.
///
/// It alone can have a torn end: the others were synced when they were ended.
pub(crate) fn cut_torn_end(store: &Path) -> io::Result<bool> {
    let Some((_, path)) = list(store)?.pop() else {
        return Ok(false);
    };
    let whole = Whole::of(&path)?;
    if whole.is_torn {
        let journal = File::options().write(true).open(path)?;
        journal.set_len(whole.octets)?;
        journal.sync_all()?;
    }
    Ok(whole.is_torn)
}

/// Removes a folder that may not be there.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Puts an empty journal in place of all others. Everything in them must be in tables.
///
/// There must be one: without any, fjall counts its sequence numbers from the start again, and old values would hide new
/// ones.
pub(crate) fn start_anew(store: &Path) -> io::Result<()> {
    let old = list(store)?;
    let next = old.last().map_or(0, |(number, _)| number + 1);
    File::create_new(file(store, next))?.sync_all()?;
    sync_dir(store)?;
    for (_, path) in old {
        fs::remove_file(path)?;
    }
    sync_dir(store)
}

/// Puts the kept journals back in place, up to the first damage: batches behind it must not be replayed as if nothing
/// had been between. Gives whether there was damage.
pub(crate) fn restore(kept: &Path, store: &Path) -> io::Result<bool> {
    for (_, path) in list(store)? {
        fs::remove_file(path)?;
    }
    let mut damaged = false;
    for (number, path) in list(kept)? {
        if damaged {
            break;
        }
        let whole = Whole::of(&path)?;
        damaged = whole.is_torn;
        let mut journal = File::create(file(store, number))?;
        io::copy(&mut File::open(path)?.take(whole.octets), &mut journal)?;
        journal.sync_all()?;
    }
    sync_dir(store)?;
    Ok(damaged)
}

/// Whether there is anything but zeros: a journal is made at full size before it is filled.
fn is_written(octets: &[u8]) -> bool {
    // In pieces, each to its end: a start goes through much that is zeros, and so many are looked at in one step.
    let mut pieces = octets.chunks(4_096);
    pieces.any(|piece| piece.iter().fold(0, |all, octet| all | octet) != 0)
}

fn file(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number}.{EXTENSION}"))
}

/// Shows a file block by block, until `see` has seen enough.
fn blocks(file: &mut File, mut see: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<()> {
    let mut block = vec![0; COPY_OCTETS];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 || see(&block[..read])? {
            return Ok(());
        }
    }
}

/// Copies a file, leaving holes where nothing is written.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut length = 0;
    blocks(&mut from, |block| {
        if is_written(block) {
            to.seek(SeekFrom::Start(length))?;
            to.write_all(block)?;
        }
        length += block.len() as u64;
        Ok(false)
    })?;
    to.set_len(length)
}

/// What of a journal is whole batches.
struct Whole {
    /// So many octets, from its beginning on.
    octets: u64,
    /// Something is written behind them.
    is_torn: bool,
}

impl Whole {
    fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let octets = whole_batches(BufReader::with_capacity(COPY_OCTETS, &file), length)?;
        file.seek(SeekFrom::Start(octets))?;
        let mut is_torn = false;
        blocks(&mut file, |block| {
            is_torn = is_written(block);
            Ok(is_torn)
        })?;
        Ok(Self { octets, is_torn })
    }
}

/// How many octets of a journal of `length` octets are whole batches, from its beginning on.
fn whole_batches(journal: impl Read, length: u64) -> io::Result<u64> {
    let mut batches = Batches {
        journal,
        left: length,
        payload: Vec::new(),
    };
    let mut whole = 0;
    loop {
        match batches.next() {
            Ok(()) => whole = length - batches.left,
            Err(Unread::NotWhole) => return Ok(whole),
            Err(Unread::Io(error)) => return Err(error),
        }
    }
}

/// Why a batch was not read.
enum Unread {
    /// It ends too soon, or is none.
    NotWhole,
    Io(io::Error),
}

/// The batches of a journal, one after the other.
///
/// fjall's format 3: `1 count:u32 seqno:u64`, then `count` items `2 type compression keyspace:u64 key:u16 value:u32
/// stored:u32 …` or clearings `4 keyspace:u64`, then `3 xxh3-64 "FJL" 3`, all numbers little-endian. What this doesn't
/// understand counts as damage, and the frames in it are looked for instead.
struct Batches<R> {
    journal: R,
    /// Octets that were not read yet.
    left: u64,
    payload: Vec<u8>,
}

impl<R: Read> Batches<R> {
    fn next(&mut self) -> Result<(), Unread> {
        let [1, a, b, c, d, _seqno @ ..] = self.read::<13>()? else {
            return Err(Unread::NotWhole);
        };
        let mut sum = Xxh3::new();
        for _ in 0..u32::from_le_bytes([a, b, c, d]) {
            let tag = self.read::<1>()?;
            sum.update(&tag);
            match tag {
                [2] => self.item(&mut sum)?,
                [4] => sum.update(&self.read::<8>()?),
                _ => return Err(Unread::NotWhole),
            }
        }
        let [3, expected @ .., b'F', b'J', b'L', 3] = self.read::<13>()? else {
            return Err(Unread::NotWhole);
        };
        if u64::from_le_bytes(expected) != sum.digest() {
            return Err(Unread::NotWhole);
        }
        Ok(())
    }

    fn item(&mut self, sum: &mut Xxh3) -> Result<(), Unread> {
        let head = self.read::<20>()?;
        sum.update(&head);
        let [.., k, l, _, _, _, _, a, b, c, d] = head;
        let octets = u64::from(u16::from_le_bytes([k, l])) + u64::from(u32::from_le_bytes([a, b, c, d]));
        // A length of a torn page may be anything.
        self.left = self.left.checked_sub(octets).ok_or(Unread::NotWhole)?;
        let octets = usize::try_from(octets).map_err(|_| Unread::NotWhole)?;
        self.payload.resize(octets.max(self.payload.len()), 0);
        let payload = self.payload.get_mut(..octets).ok_or(Unread::NotWhole)?;
        self.journal.read_exact(payload).map_err(Unread::Io)?;
        sum.update(payload);
        Ok(())
    }

    fn read<const N: usize>(&mut self) -> Result<[u8; N], Unread> {
        self.left = self.left.checked_sub(N as u64).ok_or(Unread::NotWhole)?;
        let mut octets = [0; N];
        self.journal.read_exact(&mut octets).map_err(Unread::Io)?;
        Ok(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fjall::{Database, KeyspaceCreateOptions, PersistMode};

    /// A store with batches of several items in two keyspaces, and its journal.
    fn written(dir: &Path) -> Vec<u8> {
        let db = Database::builder(dir).open().unwrap();
        let keyspaces = ["a", "b"].map(|name| db.keyspace(name, KeyspaceCreateOptions::default).unwrap());
        for n in 0..20_u32 {
            let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
            for keyspace in &keyspaces {
                batch.insert(keyspace, n.to_be_bytes(), vec![7; n as usize * 100]);
            }
            batch.remove(&keyspaces[0], [9]);
            batch.commit().unwrap();
        }
        drop((keyspaces, db));
        fs::read(&list(dir).unwrap()[0].1).unwrap()
    }

    fn whole(journal: &[u8]) -> usize {
        usize::try_from(whole_batches(journal, journal.len() as u64).unwrap()).unwrap()
    }

    #[test]
    fn every_batch_that_fjall_wrote_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let journal = written(dir.path());
        let whole = whole(&journal);
        assert!(whole > 20 * 1_000);
        assert!(journal[whole..].iter().all(|octet| *octet == 0));
    }

    #[test]
    fn whole_batches_end_before_the_damaged_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = written(dir.path());
        let (all, middle) = (whole(&journal), 10_000);
        journal[middle] ^= 4;
        let before = whole(&journal);
        assert!(before <= middle && before > middle - 5_000, "{before} of {all}");
    }

    #[test]
    fn a_journal_that_ends_anywhere_is_whole_up_to_the_batch_before() {
        let dir = tempfile::tempdir().unwrap();
        let journal = written(dir.path());
        let mut ends = vec![0];
        while let Some(end) =
            (ends[ends.len() - 1] + 1..=journal.len()).find(|end| whole(&journal[..*end]) == *end)
        {
            ends.push(end);
            if ends.len() == 5 {
                break;
            }
        }
        assert_eq!(ends.len(), 5, "four whole batches");
        for (before, end) in ends.iter().zip(&ends[1..]) {
            for cut in *before..*end {
                assert_eq!(whole(&journal[..cut]), *before);
            }
        }
    }

    #[test]
    fn a_store_with_a_new_journal_still_prefers_later_values() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        let set = |value: &str, flush: bool| {
            let db = Database::builder(dir.path()).open().unwrap();
            let keyspace = db.keyspace("a", KeyspaceCreateOptions::default).unwrap();
            keyspace.insert("key", value).unwrap();
            if flush {
                keyspace.rotate_memtable_and_wait().unwrap();
                db.keyspace("b", KeyspaceCreateOptions::default)
                    .unwrap()
                    .rotate_memtable_and_wait()
                    .unwrap();
            }
        };
        set("old", true);
        start_anew(dir.path()).unwrap();
        set("new", false);
        let db = Database::builder(dir.path()).open().unwrap();
        let keyspace = db.keyspace("a", KeyspaceCreateOptions::default).unwrap();
        assert_eq!(keyspace.get("key").unwrap().as_deref(), Some(b"new".as_slice()));
        assert_eq!(keyspace.len().unwrap(), 21);
    }

    #[test]
    fn a_copy_has_the_same_octets_and_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let (store, kept) = (dir.path().join("store"), dir.path().join("kept"));
        let journal = written(&store);
        keep(&store, &kept).unwrap();
        assert_eq!(fs::read(&list(&kept).unwrap()[0].1).unwrap(), journal);
        fs::write(&list(&store).unwrap()[0].1, b"cut off").unwrap();
        keep(&store, &kept).unwrap();
        assert_eq!(fs::read(&list(&kept).unwrap()[0].1).unwrap(), journal);
    }
}
