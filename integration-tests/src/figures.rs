//! What a node tells of itself in figures, and what the system tells of it.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use crate::process::Node;

/// How often each limit was reached since the node began.
///
/// # Errors
///
/// The node can't be asked.
pub fn limits_reached(node: &Node) -> io::Result<BTreeMap<String, u64>> {
    counted(node, "mailhorn_limits_reached_total")
}

/// A counter that has one label, by what that says.
///
/// # Errors
///
/// The node can't be asked.
pub fn counted(node: &Node, metric: &str) -> io::Result<BTreeMap<String, u64>> {
    let mut stream = TcpStream::connect(node.admin())?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let counts = text
        .lines()
        .filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{')?.split_once("=\""))
        .filter_map(|(_, rest)| rest.split_once("\"} "))
        .filter_map(|(what, count)| Some((what.to_owned(), count.trim().parse().ok()?)));
    Ok(counts.collect())
}

/// The memory that a process has resident, in KiB. `None` where the system doesn't tell.
#[must_use]
pub fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
