//! A store for unit tests.

use std::path::Path;
use std::sync::Arc;

use mailhorn_ports::memory::SeededRandom;
use tokio::runtime::Handle;

use crate::{EmbeddedStore, OpenError, Options, Surroundings};

/// Opens the store in a folder, within a runtime.
pub(crate) fn open(dir: &Path) -> Result<EmbeddedStore, OpenError> {
    let surroundings = Surroundings {
        runtime: Handle::current(),
        random: Arc::new(SeededRandom::new(1)),
        faults: None,
    };
    EmbeddedStore::open(dir, Options::default(), surroundings)
}
