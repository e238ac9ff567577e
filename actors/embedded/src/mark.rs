//! How far the journal was durable, written down outside the journal.
//!
//! The journal alone can't tell a torn end, which is normal after a crash, from lost batches in its middle. The mark can:
//! it is written after every sync, and what it names must be there at the next opening. It is not synced itself; an
//! older mark proves less and is never wrong.
//!
//! The file has two slots that take turns, so that a torn write leaves the other:
//!
//! ```text
//! 8 octets   sequence of the batch, big-endian
//! 16 octets  generation of the log
//! 8 octets   its last record
//! 8 octets   xxh3-64 of the above
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mailhorn_events::Generation;
use xxhash_rust::xxh3::xxh3_64;

const SLOT_OCTETS: usize = 40;
const SUM_AT: usize = SLOT_OCTETS - 8;

/// The last batch known to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) sequence: u64,
    pub(crate) generation: Generation,
    pub(crate) number: u64,
}

impl Mark {
    fn slot(&self) -> [u8; SLOT_OCTETS] {
        let mut slot = [0; SLOT_OCTETS];
        slot[..8].copy_from_slice(&self.sequence.to_be_bytes());
        slot[8..24].copy_from_slice(self.generation.as_bytes());
        slot[24..SUM_AT].copy_from_slice(&self.number.to_be_bytes());
        let sum = xxh3_64(&slot[..SUM_AT]);
        slot[SUM_AT..].copy_from_slice(&sum.to_be_bytes());
        slot
    }

    fn from_slot(slot: &[u8; SLOT_OCTETS]) -> Option<Self> {
        let (sequence, rest) = slot.split_first_chunk::<8>()?;
        let (generation, rest) = rest.split_first_chunk::<16>()?;
        let (number, sum) = rest.split_first_chunk::<8>()?;
        (xxh3_64(&slot[..SUM_AT]).to_be_bytes() == sum).then(|| Self {
            sequence: u64::from_be_bytes(*sequence),
            generation: Generation::from_bytes(*generation),
            number: u64::from_be_bytes(*number),
        })
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct MarkFile(File);

impl MarkFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map(Self)
    }

    /// The newer of the slots that are whole.
    pub(crate) fn read(&self) -> Option<Mark> {
        let read = |index: u64| {
            let mut slot = [0; SLOT_OCTETS];
            self.0.read_exact_at(&mut slot, index * SLOT_OCTETS as u64).ok()?;
            Mark::from_slot(&slot)
        };
        read(0)
            .into_iter()
            .chain(read(1))
            .max_by_key(|mark| mark.sequence)
    }

    pub(crate) fn write(&self, mark: Mark) -> io::Result<()> {
        self.0
            .write_all_at(&mark.slot(), (mark.sequence % 2) * SLOT_OCTETS as u64)
    }

    /// Makes what was written durable. Not after every commit: a mark that is behind says nothing wrong, and one that
    /// was never synced may be gone with the power.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Writes `mark` whatever was there: after a salvage, what is there now is all there is.
    pub(crate) fn replace(&self, mark: Mark) -> io::Result<()> {
        self.0.set_len(0)?;
        self.write(mark)?;
        self.0.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(sequence: u64) -> Mark {
        Mark {
            sequence,
            generation: Generation::from_bytes([3; 16]),
            number: sequence * 2,
        }
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let file = MarkFile::open(&path).unwrap();
        assert_eq!(file.read(), None);
        file.write(mark(1)).unwrap();
        assert_eq!(file.read(), Some(mark(1)));
        file.write(mark(2)).unwrap();
        file.write(mark(3)).unwrap();
        assert_eq!(file.read(), Some(mark(3)));
        file.0.write_all_at(b"torn", SLOT_OCTETS as u64 + 30).unwrap();
        assert_eq!(MarkFile::open(&path).unwrap().read(), Some(mark(2)));
    }

    #[test]
    fn a_replaced_mark_may_be_older() {
        let dir = tempfile::tempdir().unwrap();
        let file = MarkFile::open(&dir.path().join("mark")).unwrap();
        file.write(mark(8)).unwrap();
        file.write(mark(9)).unwrap();
        file.replace(mark(4)).unwrap();
        assert_eq!(file.read(), Some(mark(4)));
    }
}
