//! A disk that is small enough to fill up.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::not_shown;

/// A file system of its own that fills up, in a mount namespace of its own that ends with its keeper.
#[derive(Debug)]
pub struct Disk {
    keeper: Child,
    path: PathBuf,
    _mounted_on: tempfile::TempDir,
}

impl Disk {
    /// One of so many octets, such as `400m`. `None` where no file system may be mounted, which is printed.
    ///
    /// # Panics
    ///
    /// In CI, where it must be possible.
    #[must_use]
    pub fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder to mount on");
        let script = format!("mount -t tmpfs -o size={size} none \"$0\" && echo mounted && exec cat");
        let spawned = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut line = String::new();
        if let Ok(mut keeper) = spawned {
            let said = BufReader::new(keeper.stdout.take().expect("it was piped")).read_line(&mut line);
            if said.is_ok() && line.trim() == "mounted" {
                let path = format!("/proc/{}/root{}", keeper.id(), dir.path().display());
                return Some(Self {
                    keeper,
                    path: path.into(),
                    _mounted_on: dir,
                });
            }
            keeper.wait().expect("a child can be waited for");
        }
        not_shown("no file system can be mounted here (unshare --mount, mount -t tmpfs); run as root");
        None
    }

    /// Where it is seen from outside its namespace.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Its standard input ends with it, and `cat` with that.
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}
