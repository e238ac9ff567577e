//! A network in which a test may cut what it likes.

use std::process::Command;

use crate::not_shown;

/// Says to a test that it has its network.
const INSIDE: &str = "MAILHORN_TEST_NETWORK";

/// Runs `body` in a network namespace of its own, where there is a loopback and nothing else: as the test `test` of this binary
/// once more, in a process of its own. Where no network may be made that is printed.
///
/// # Panics
///
/// When `body` does; in CI, where it must be possible, also when there is no network.
#[allow(
    clippy::print_stdout,
    reason = "what the inner process said belongs to the test"
)]
pub fn in_own_network(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let possible = Command::new("unshare")
        .args(["--net", "ip", "link", "set", "lo", "up"])
        .output()
        .is_ok_and(|made| made.status.success());
    if !possible {
        return not_shown("no network can be made here (unshare --net, ip link); run as root");
    }
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("the test runs again");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "in a network of its own:\n{said}");
    assert!(
        said.contains("1 passed"),
        "there is no test {test}, so nothing was shown:\n{said}"
    );
}
