//! A place for a store under test.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "test code, of which not every test file uses all"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailhorn_embedded::{EmbeddedStore, Faults, OpenError, Options, Surroundings};
use mailhorn_ports::contract::Reopen;
use mailhorn_ports::memory::SeededRandom;
use tempfile::TempDir;
use tokio::runtime::Handle;

pub(crate) type Store = EmbeddedStore;

/// A folder and how to open it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) options: Options,
    pub(crate) faults: Option<Arc<dyn Faults>>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            options: Options::default(),
            faults: None,
        }
    }
}

impl Place {
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn try_open(&self) -> Result<EmbeddedStore, OpenError> {
        let random = Arc::new(SeededRandom::new(7));
        let surroundings = Surroundings {
            runtime: Handle::current(),
            random,
            faults: self.faults.clone(),
        };
        EmbeddedStore::open(self.path(), self.options.clone(), surroundings)
    }

    /// Files of fjall's with an ending, in folders below the store's.
    pub(crate) fn files(&self, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.path().join("store")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if wanted(&path) => files.push(path),
                    false => {}
                }
            }
        }
        files.sort();
        files
    }

    /// What a crash leaves: a copy of the folder while the store is open.
    pub(crate) fn crashed(&self) -> Self {
        let copy = Self::default();
        let mut folders = vec![(self.path().to_path_buf(), copy.path().to_path_buf())];
        while let Some((from, to)) = folders.pop() {
            fs::create_dir_all(&to).unwrap();
            for entry in fs::read_dir(&from).unwrap() {
                let entry = entry.unwrap();
                let (path, to) = (entry.path(), to.join(entry.file_name()));
                match path.is_dir() {
                    true => folders.push((path, to)),
                    false => {
                        fs::copy(&path, &to).unwrap();
                    }
                }
            }
        }
        copy
    }

    pub(crate) fn journal(&self) -> PathBuf {
        let journals = self.files(|path| path.extension().is_some_and(|extension| extension == "jnl"));
        journals.into_iter().next_back().unwrap()
    }
}

impl Reopen for Place {
    type Store = EmbeddedStore;

    fn open(&self) -> EmbeddedStore {
        self.try_open().unwrap()
    }
}
