//! Groups of listeners, as the commands show them; and the webhook, as it is set.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{NodeBuilder, mailhorn};

/// How often groups are looked at while they are waited for.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Runs a command on a data folder and gives the JSON that it prints.
///
/// # Panics
///
/// When it fails.
#[must_use]
pub fn json(data_dir: &Path, line: &str) -> Value {
    let mut args = vec!["--data-dir", data_dir.to_str().expect("a path")];
    args.extend(line.split(' '));
    let output = mailhorn(&args, "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mailhorn {line}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The groups of a running node, when each is as it should be.
///
/// # Panics
///
/// When it does not come to that within `patience`.
#[must_use]
pub fn groups_when(data_dir: &Path, patience: Duration, is_there: impl Fn(&Value) -> bool) -> Vec<Value> {
    let until = Instant::now() + patience;
    loop {
        let groups = json(data_dir, "events groups --json");
        let groups = groups.as_array().expect("a list").clone();
        if groups.iter().all(&is_there) {
            return groups;
        }
        assert!(Instant::now() < until, "{groups:#?}");
        thread::sleep(LOOK_PAUSE);
    }
}

/// One of the groups of a running node, when it is as it should be.
///
/// # Panics
///
/// When it does not come to that within `patience`, or is not there.
#[must_use]
pub fn group_when(
    data_dir: &Path,
    name: &str,
    patience: Duration,
    is_there: impl Fn(&Value) -> bool,
) -> Value {
    let is_named = |group: &Value| group["name"] == name;
    let groups = groups_when(data_dir, patience, |group| !is_named(group) || is_there(group));
    let found = groups.into_iter().find(is_named);
    found.unwrap_or_else(|| panic!("the group {name} is not registered"))
}

/// Whether a group has nothing left to do.
#[must_use]
pub fn is_idle(group: &Value) -> bool {
    group["lag"] == 0 && group["parked"] == 0 && group["state"] == "running"
}

/// With a webhook that calls `receiver`, and its secret in `folder`.
///
/// # Panics
///
/// When the secret can't be written.
#[must_use]
pub fn with_webhook(builder: NodeBuilder, folder: &Path, receiver: SocketAddr) -> NodeBuilder {
    let secret = folder.join("webhook.secret");
    std::fs::write(&secret, "correct horse battery staple\n").expect("the secret is written");
    builder
        .setting("webhook.url", format!("http://{receiver}/hook"))
        .setting("webhook.secret_file", secret.display())
}
