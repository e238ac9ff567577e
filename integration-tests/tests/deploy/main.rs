//! What `deploy/` ships fits together, and fits the node: names, ports, paths, settings, times. Nothing is built or asked
//! for it: files are read.
//!
//! Whether the values of the settings are allowed says the node itself, see `clients`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod container;
mod kubernetes;
mod manifests;
mod settings;

use std::fs;
use std::path::Path;

/// A file of the repository.
fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let file = root.join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
}
