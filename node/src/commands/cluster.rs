//! `mailhorn cluster`.

use mailhorn_core::events::PROBE_PATIENCE;

use super::access::running_node;
use super::accounts::output;
use super::events;
use crate::cli::ClusterCommand;
use crate::client;
use crate::exit::Exit;
use crate::operations::views::{
    CassandraHealth, ClusterLog, ClusterMember, ClusterState, ClusterStatus, Probed, RedisHealth,
};
use crate::settings::Settings;

pub(super) fn cluster(command: ClusterCommand, settings: &Settings) -> anyhow::Result<Exit> {
    let node = running_node(settings)?;
    match command {
        ClusterCommand::Status { shown } => {
            let status: ClusterStatus = node.get(&["cluster"], &[])?;
            output(shown).one(&status, table)?;
            Ok(Exit::Done)
        }
        ClusterCommand::Probe { shown } => {
            let probed: Vec<Probed> = client::read(node.ask(&["cluster", "probe"], &[])?)?;
            output(shown).list(&probed, probed_line)?;
            Ok(exit(&probed))
        }
    }
}

/// It is done when all echoed.
fn exit(probed: &[Probed]) -> Exit {
    let has_echoed = |probed: &Probed| probed.round_trip_us.is_some();
    if probed.iter().all(has_echoed) {
        Exit::Done
    } else {
        Exit::Failed
    }
}

/// Name, echo, heartbeat.
fn probed_line(probed: &Probed) -> String {
    let echo = match probed.round_trip_us {
        Some(micros) => format!("echo after {}", millis(micros)),
        None => format!("no echo within {} s", PROBE_PATIENCE.as_secs()),
    };
    let heartbeat = match probed.heartbeat_ms {
        Some(ago) => heartbeat(ago),
        None => "no member any more".to_owned(),
    };
    format!("{}\t{echo}\t{heartbeat}", probed.node)
}

/// A line a thing; the first column says what it is.
fn table(status: &ClusterStatus) -> String {
    let lease = match &status.cluster {
        None => "alone with its store",
        Some(state) if state.holds_lease => "holds its lease",
        Some(_) => "does not hold its lease",
    };
    let mut lines = vec![format!("node\t{}\t{}\t{lease}", status.node, status.generation)];
    lines.extend(status.cluster.iter().flat_map(state_lines));
    lines.join("\n")
}

fn state_lines(state: &ClusterState) -> Vec<String> {
    let mut lines: Vec<String> = state.members.iter().map(member_line).collect();
    lines.extend(state.logs.iter().map(log_line));
    let groups = state.groups.iter().map(events::line);
    lines.extend(groups.map(|group| format!("group\t{group}")));
    lines.extend(state.unread.iter().map(|why| format!("unread\t{why}")));
    lines.push(format!(
        "events\ttransport {}\tformat {}\tregistered for {}",
        state.transport, state.format, state.registered_keys
    ));
    lines.push(cassandra_line(&state.cassandra));
    lines.push(redis_line(&state.redis));
    lines.push(format!("maildrop locks\t{}", state.maildrop_locks.word()));
    let under_way = state.adoptions.under_way.as_ref();
    let under_way = under_way.map_or_else(String::new, |log| format!("\tunder way {log}"));
    lines.push(format!("adoptions\t{}{under_way}", state.adoptions.done));
    lines
}

fn member_line(member: &ClusterMember) -> String {
    let standing = if member.alive { "alive" } else { "silent" };
    let line = format!(
        "member\t{}\t{}\t{standing}\t{}\t{}",
        member.node,
        member.generation,
        heartbeat(member.heartbeat_ms),
        member.groups.join(", ")
    );
    line.trim_end().to_owned()
}

fn log_line(log: &ClusterLog) -> String {
    let sealed = log.sealed.map(|at| format!("\tsealed at {at}"));
    let sealed = sealed.unwrap_or_default();
    format!("log\t{}\t{}\tend {}{sealed}", log.node, log.generation, log.end)
}

fn cassandra_line(health: &CassandraHealth) -> String {
    format!(
        "cassandra\t{}\tanswered {}\tretried {}\tfailed {}\toverloaded {}\tqueued {}",
        answers(health.answers),
        health.answered,
        health.retried,
        health.failed,
        health.overloaded,
        health.queued
    )
}

fn redis_line(health: &RedisHealth) -> String {
    let round_trip = health.round_trip_us.map(|micros| format!("\t{}", millis(micros)));
    let last = health.last_error.as_ref();
    let last = last.map(|error| format!("\tlast error: {error}"));
    format!(
        "redis\t{}\t{}\tbreaker {}{}{}",
        answers(health.answers),
        health.address,
        health.breaker.word(),
        round_trip.unwrap_or_default(),
        last.unwrap_or_default()
    )
}

fn answers(is_answered: bool) -> &'static str {
    if is_answered { "answers" } else { "does not answer" }
}

fn heartbeat(ago_ms: u64) -> String {
    format!("heartbeat {}.{} s ago", ago_ms / 1_000, ago_ms % 1_000 / 100)
}

fn millis(micros: u64) -> String {
    format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::views::{Adoptions, Breaker, LocksMode};

    fn state() -> ClusterState {
        let member = |node: &str, alive, heartbeat_ms| ClusterMember {
            node: node.into(),
            generation: format!("g-{node}"),
            groups: if alive { vec!["quota".into()] } else { Vec::new() },
            alive,
            heartbeat_ms,
        };
        let log = |node: &str, sealed| ClusterLog {
            node: node.into(),
            generation: format!("g-{node}"),
            end: 7,
            sealed,
        };
        ClusterState {
            holds_lease: true,
            members: vec![member("a", true, 1_250), member("b", false, 31_000)],
            logs: vec![log("a", None), log("b", Some(7))],
            groups: Vec::new(),
            unread: None,
            registered_keys: 3,
            transport: "registered".into(),
            format: "msgpack".into(),
            cassandra: CassandraHealth {
                answers: true,
                answered: 9,
                retried: 1,
                failed: 0,
                overloaded: 0,
                queued: 2,
            },
            redis: RedisHealth {
                address: "redis://127.0.0.1:16379".into(),
                answers: false,
                breaker: Breaker::HalfOpen,
                last_error: Some("connection refused".into()),
                round_trip_us: Some(450),
            },
            maildrop_locks: LocksMode::LocalOnly,
            adoptions: Adoptions {
                done: 1,
                under_way: Some("g-b".into()),
            },
        }
    }

    #[test]
    fn every_part_of_the_cluster_has_a_line_that_says_what_it_is() {
        let mut status = ClusterStatus {
            node: "a".into(),
            generation: "g-a".into(),
            cluster: Some(state()),
        };
        let told = table(&status);
        let expected = [
            "node\ta\tg-a\tholds its lease",
            "member\ta\tg-a\talive\theartbeat 1.2 s ago\tquota",
            "member\tb\tg-b\tsilent\theartbeat 31.0 s ago",
            "log\ta\tg-a\tend 7",
            "log\tb\tg-b\tend 7\tsealed at 7",
            "events\ttransport registered\tformat msgpack\tregistered for 3",
            "cassandra\tanswers\tanswered 9\tretried 1\tfailed 0\toverloaded 0\tqueued 2",
            "redis\tdoes not answer\tredis://127.0.0.1:16379\tbreaker half-open\t0.4 ms\tlast error: connection refused",
            "maildrop locks\tlocal-only",
            "adoptions\t1\tunder way g-b",
        ];
        assert_eq!(told.lines().collect::<Vec<_>>(), expected);
        status.cluster = None;
        assert_eq!(table(&status), "node\ta\tg-a\talone with its store");
    }

    #[test]
    fn a_node_that_did_not_echo_is_said_and_fails_the_command() {
        let mut probed = Probed {
            node: "b".into(),
            generation: "g-b".into(),
            round_trip_us: Some(1_990),
            heartbeat_ms: Some(900),
        };
        assert_eq!(probed_line(&probed), "b\techo after 1.9 ms\theartbeat 0.9 s ago");
        assert_eq!(exit(std::slice::from_ref(&probed)), Exit::Done);
        let echoed = probed.clone();
        (probed.round_trip_us, probed.heartbeat_ms) = (None, None);
        assert_eq!(probed_line(&probed), "b\tno echo within 5 s\tno member any more");
        assert_eq!(exit(&[echoed, probed]), Exit::Failed);
        assert_eq!(exit(&[]), Exit::Done, "nobody is there to echo");
    }
}
