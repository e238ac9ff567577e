//! A server's processes seen from outside: their processor time and their memory, from /proc.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// The unit of times in /proc/PID/stat: USER_HZ, which is 100 on Linux.
const TICK: Duration = Duration::from_millis(10);

/// A process and all that it started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    root: u32,
}

/// Memory of a family, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Resident: pages that processes share count in each of them.
    pub(crate) resident: u64,
    /// Proportional: a page that `n` processes share counts 1/n in each.
    pub(crate) proportional: u64,
}

impl Family {
    pub(crate) fn of(root: u32) -> Self {
        Self { root }
    }

    /// This program.
    pub(crate) fn own() -> Self {
        Self {
            root: std::process::id(),
        }
    }

    /// Processor time of all of them, of those that have ended too.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let times = self.members().into_iter().filter_map(|pid| times(pid).ok());
        Ok(times.map(|(own, ended)| own + ended).sum())
    }

    /// Processor time of the first process alone.
    pub(crate) fn own_cpu(&self) -> anyhow::Result<Duration> {
        Ok(times(self.root)?.0)
    }

    /// Memory of all of them.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let mut memory = Memory {
            resident: 0,
            proportional: 0,
        };
        for pid in self.members() {
            // A process may end while it is looked for.
            let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
                continue;
            };
            memory.resident += field(&rollup, "Rss:").unwrap_or(0);
            memory.proportional += field(&rollup, "Pss:").unwrap_or(0);
        }
        Ok(memory)
    }

    /// How many processes they are.
    pub(crate) fn processes(&self) -> usize {
        self.members().len()
    }

    fn members(&self) -> Vec<u32> {
        let mut members = vec![self.root];
        let mut next = 0;
        while let Some(pid) = members.get(next) {
            let children = children(*pid);
            members.extend(children);
            next += 1;
        }
        members
    }
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|child| child.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// Processor time of a process, and of those of its children that have ended.
fn times(pid: u32) -> anyhow::Result<(Duration, Duration)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name stands in parentheses and may hold anything; what follows is numbers: utime, stime, cutime, cstime
    // are the 12th to 15th behind it.
    let fields = stat.rsplit_once(')').context("a line of /proc/PID/stat")?.1;
    let ticks: Vec<u32> = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    match ticks[..] {
        [user, system, ended_user, ended_system] => {
            Ok((TICK * (user + system), TICK * (ended_user + ended_system)))
        }
        _ => anyhow::bail!("/proc/{pid}/stat is not as expected"),
    }
}

/// A line such as `Pss:  1234 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
