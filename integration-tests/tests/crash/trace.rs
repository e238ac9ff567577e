//! What strace saw of a node's system calls, in the order in which it saw them.
//!
//! A thread that strace holds at the end of a call goes on only after strace has written that down. So when one call's
//! end stands before another's beginning, it was before it.

use std::fs;
use std::path::Path;
use std::process::Command;

use mailhorn_integration_tests::{Node, not_shown};

/// A system call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Between the parentheses.
    pub(crate) arguments: String,
    /// Behind the equals sign; empty if the process ended within the call.
    pub(crate) result: String,
    /// The line at which it was seen to begin, and to end.
    pub(crate) began: usize,
    pub(crate) ended: usize,
}

impl Call {
    /// What it gave back, if it ended.
    pub(crate) fn value(&self) -> Option<i64> {
        let digits = self.result.split(['<', ' ', '(']).next()?;
        digits.parse().ok()
    }

    /// The descriptor that is its first argument.
    pub(crate) fn descriptor(&self) -> Option<i64> {
        self.arguments.split('<').next()?.parse().ok()
    }

    /// What that descriptor stands for: a path, or `TCP:[from->to]`.
    pub(crate) fn target(&self) -> Option<&str> {
        described(&self.arguments)
    }

    /// What the descriptor that it gave back stands for.
    pub(crate) fn given(&self) -> Option<&str> {
        described(&self.result)
    }

    /// The argument at `index` from the end, for calls whose last arguments are numbers.
    pub(crate) fn number_from_end(&self, index: usize) -> Option<u64> {
        self.arguments.rsplit(", ").nth(index)?.trim().parse().ok()
    }

    /// The texts in quotes among its arguments, as strace escapes them.
    pub(crate) fn texts(&self) -> Vec<&str> {
        let mut texts = Vec::new();
        let mut rest = self.arguments.as_str();
        while let Some((_, after)) = rest.split_once('"') {
            let mut escaped = false;
            let end = after.find(|letter| {
                let is_end = letter == '"' && !escaped;
                escaped = letter == '\\' && !escaped;
                is_end
            });
            let Some(end) = end else { break };
            texts.push(&after[..end]);
            rest = &after[end + 1..];
        }
        texts
    }

    pub(crate) fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fdatasync" | "fsync")
    }
}

/// `12</data/0.jnl>` and `12<TCP:[…->…]>` in the text's beginning.
fn described(text: &str) -> Option<&str> {
    let (descriptor, rest) = text.split_once('<')?;
    descriptor.parse::<i64>().ok()?;
    let end = if rest.starts_with("TCP") {
        rest.find("]>")? + 1
    } else {
        rest.find('>')?
    };
    rest.get(..end)
}

/// Reads strace's output (`-f -y -o`), ordered by the calls' ends.
pub(crate) fn parse(output: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: Vec<(&str, Call)> = Vec::new();
    for (line, text) in output.lines().enumerate() {
        let Some((thread, text)) = text.split_once(' ') else {
            continue;
        };
        let text = text.trim_start();
        if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            if let Some((name, arguments)) = begun.split_once('(') {
                let call = Call {
                    name: name.into(),
                    arguments: arguments.into(),
                    began: line,
                    ..Call::default()
                };
                unfinished.push((thread, call));
            }
            continue;
        }
        let (mut call, rest) = if let Some(resumed) = text.strip_prefix("<... ") {
            let index = unfinished.iter().position(|(of, _)| *of == thread);
            let Some((_, call)) = index.map(|index| unfinished.remove(index)) else {
                continue;
            };
            (call, resumed.split_once(" resumed>").map_or("", |(_, rest)| rest))
        } else {
            let Some((name, rest)) = text.split_once('(') else {
                continue;
            };
            let call = Call {
                name: name.into(),
                began: line,
                ..Call::default()
            };
            (call, rest)
        };
        // The arguments may hold anything; the last one of these is strace's own.
        let Some((arguments, result)) = rest.rsplit_once(" = ") else {
            continue;
        };
        call.arguments += arguments.trim_end().trim_end_matches(')');
        call.result = result.into();
        call.ended = line;
        calls.push(call);
    }
    // What was under way at the end: nobody knows whether it came to anything.
    calls.extend(unfinished.into_iter().map(|(_, call)| Call {
        ended: usize::MAX,
        ..call
    }));
    calls
}

/// The command that runs a program under strace and keeps its process id.
pub(crate) fn wrapper(calls: &str, text_octets: usize, output: &Path) -> Vec<String> {
    let text_octets = text_octets.to_string();
    let output = output.to_str().unwrap();
    [
        "strace",
        "-D",
        "-f",
        "-yy",
        "-s",
        &text_octets,
        "-e",
        calls,
        "-e",
        "signal=none",
        "-o",
        output,
    ]
    .map(str::to_owned)
    .into()
}

/// The process that traces the node.
pub(crate) fn tracer(node: &Node) -> u32 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.unwrap().trim().parse().unwrap()
}

/// Waits until the tracer of a node that has ended has written everything down.
pub(crate) fn wait_for_tracer(tracer: u32) {
    let folder = format!("/proc/{tracer}");
    for _ in 0..60_000 {
        if !Path::new(&folder).exists() {
            return;
        }
        // Nobody tells of the end of a process that isn't a child.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("strace did not end");
}

/// Whether processes can be traced here. In CI it must be so.
pub(crate) fn is_possible() -> bool {
    let tried = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    let is_possible = tried.is_ok_and(|output| output.status.success());
    if !is_possible {
        not_shown("strace is missing or may not trace; install strace");
    }
    is_possible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_put_together_and_ordered_by_their_ends() {
        let output = r#"7  fdatasync(18</d/0.jnl> <unfinished ...>
8  sendto(39<TCP:[127.0.0.1:24->127.0.0.1:48]>, "250 \"a\" = (1)\r\n", 15, MSG_NOSIGNAL, NULL, 0) = 15
7  <... fdatasync resumed>)                = 0
8  openat(AT_FDCWD</d>, "/d/t", O_RDWR|O_CREAT, 0666) = 5</d/t>
8  pwrite64(5</d/t>, ""..., 40, 80)  = -1 ENOSPC (No space left on device)
8  write(5</d/t>, ""..., 9 <unfinished ...>
7  +++ killed by SIGKILL +++"#;
        let calls = parse(output);
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["sendto", "fdatasync", "openat", "pwrite64", "write"]);
        assert_eq!(
            (calls[1].began, calls[1].ended, calls[1].value()),
            (0, 2, Some(0))
        );
        assert_eq!(calls[0].target(), Some("TCP:[127.0.0.1:24->127.0.0.1:48]"));
        assert_eq!(calls[0].texts(), [r#"250 \"a\" = (1)\r\n"#]);
        assert_eq!((calls[2].value(), calls[2].given()), (Some(5), Some("/d/t")));
        assert_eq!(calls[3].value(), Some(-1));
        assert_eq!(
            (calls[3].number_from_end(0), calls[3].number_from_end(1)),
            (Some(80), Some(40))
        );
        assert_eq!((calls[4].value(), calls[4].number_from_end(0)), (None, Some(9)));
        assert_eq!(calls[4].descriptor(), Some(5));
    }
}
