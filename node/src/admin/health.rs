//! `/api/v1/health`: how the node's parts are, for whoever is to be called. Unlike `/readyz` it decides nothing about
//! traffic: a node with dead letters takes and gives mail.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, ServiceConfig, get, resource};
use mailhorn_core::events::RegisteredGroup;
use mailhorn_ports::{GroupName, StoreError};
use serde::{Deserialize, Serialize};

use super::AdminParts;
use crate::operations::views::{CassandraHealth, RedisHealth};

/// The component that tells of dead letters.
const DEAD_LETTERS: &str = "dead-letters";
/// The component that tells of the groups that run here.
const GROUPS: &str = "groups";
/// The component that tells of certificates.
const TLS: &str = "tls";
/// The components of a node in a cluster.
const CASSANDRA: &str = "cassandra";
const REDIS: &str = "redis";
const LEASE: &str = "lease";

/// How something is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing is to be done.
    Healthy,
    /// It does what it should; somebody should look at it.
    Degraded,
    /// It doesn't.
    Unhealthy,
}

/// A part of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Which.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// Why it isn't healthy.
    pub cause: Option<String>,
}

/// The node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The worst of its parts'.
    pub status: Status,
    /// Its parts.
    pub components: Vec<Component>,
}

impl Health {
    fn of(components: Vec<Component>) -> Self {
        let worst = components.iter().map(|component| component.status).max();
        Self {
            status: worst.unwrap_or(Status::Healthy),
            components,
        }
    }
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(resource("/health").route(get().to(health)));
}

/// 200 while everything does what it should; else 503.
async fn health(parts: Data<AdminParts>) -> HttpResponse {
    let held = parts.events.groups.groups_with_dead_letters().await;
    let mut components = vec![
        dead_letters(held, &parts.events.ignored_groups),
        groups(&parts.events.bus.groups()),
        tls(&parts.tls.complaints()),
    ];
    if let Some(in_cluster) = &parts.cluster.cluster {
        components.push(cassandra(&in_cluster.servers.cassandra()));
        components.push(redis(&in_cluster.servers.redis().await));
        components.push(lease(in_cluster.lease.holds()));
    }
    let health = Health::of(components);
    let status = match health.status {
        Status::Healthy | Status::Degraded => StatusCode::OK,
        Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    HttpResponse::build(status).json(health)
}

/// How dead letters are, by the groups that hold some.
fn dead_letters(held: Result<Vec<(GroupName, u64)>, StoreError>, ignored: &[GroupName]) -> Component {
    let (status, cause) = match held {
        Err(error) => (Status::Unhealthy, Some(error.to_string())),
        Ok(held) => {
            let counts = held
                .iter()
                .filter(|(group, letters)| *letters > 0 && !ignored.contains(group))
                .map(|(group, letters)| format!("{group} has {letters}"));
            let told: Vec<String> = counts.collect();
            if told.is_empty() {
                (Status::Healthy, None)
            } else {
                (Status::Degraded, Some(told.join(", ")))
            }
        }
    };
    Component {
        name: DEAD_LETTERS.to_owned(),
        status,
        cause,
    }
}

/// How the groups are: mail comes and goes whatever they do, and what they don't get now is kept for them.
fn groups(registered: &[RegisteredGroup]) -> Component {
    let told = registered.iter().filter_map(|group| {
        let status = &group.status;
        let how = match &status.why {
            _ if status.rebuilding => "is rebuilding".to_owned(),
            Some(why) => format!("is stopped: {why}"),
            None if status.late => "is late".to_owned(),
            None => return None,
        };
        Some(format!("{} {how}", group.name))
    });
    let told: Vec<String> = told.collect();
    degraded_by(GROUPS, (!told.is_empty()).then(|| told.join(", ")))
}

/// How certificates are: whatever is wrong with the files, the former ones are in use.
fn tls(complaints: &[String]) -> Component {
    degraded_by(TLS, (!complaints.is_empty()).then(|| complaints.join(", ")))
}

/// While it is away changes are refused and clients try again; it comes back by itself.
fn cassandra(health: &CassandraHealth) -> Component {
    let why = "the last statement was not answered".to_owned();
    degraded_by(CASSANDRA, (!health.answers).then_some(why))
}

/// Nothing is lost while it is away: other nodes see later what happened here, and each node locks for itself.
fn redis(health: &RedisHealth) -> Component {
    let why = || {
        let last = health.last_error.as_deref().unwrap_or("no answer");
        format!("{} does not answer: {last}", health.address)
    };
    degraded_by(REDIS, (!health.answers).then(why))
}

/// Without it the node promises nothing, until its next life.
fn lease(holds: bool) -> Component {
    let status = if holds { Status::Healthy } else { Status::Unhealthy };
    Component {
        name: LEASE.to_owned(),
        status,
        cause: (!holds).then(|| "heartbeats do not come through: this log has ended".to_owned()),
    }
}

fn degraded_by(name: &str, cause: Option<String>) -> Component {
    let status = match cause {
        Some(_) => Status::Degraded,
        None => Status::Healthy,
    };
    Component {
        name: name.to_owned(),
        status,
        cause,
    }
}

/// The rules about dead letters are those of James's `EventDeadLettersHealthCheckContract`, under its names.
#[cfg(test)]
mod tests {
    use super::*;
    use mailhorn_core::events::GroupStatus;
    use mailhorn_events::{EventId, Generation, Position, Stamp};
    use mailhorn_ports::memory::MemoryStore;
    use mailhorn_ports::{GroupStore, Letter, Mode, Scope};

    const A: &str = "group-a";
    const B: &str = "group-b";

    fn name(group: &str) -> GroupName {
        group.parse().unwrap()
    }

    fn letter(n: u64) -> Letter {
        let position = Position {
            generation: Generation::from_bytes([1; 16]),
            number: n,
        };
        Letter {
            id: EventId::of_position(position),
            position,
            octets: Default::default(),
            why: "on purpose".into(),
            attempts: 9,
            since: Stamp(1),
            last: Stamp(2),
        }
    }

    async fn store(letters: &[(&str, u64)]) -> MemoryStore {
        let store = MemoryStore::new();
        for (group, n) in letters {
            store.register_group(&name(group), Stamp(1)).await.unwrap();
            store.bury(&name(group), &letter(*n)).await.unwrap();
        }
        store
    }

    async fn check(store: &MemoryStore, ignored: &[&str]) -> Component {
        let ignored: Vec<GroupName> = ignored.iter().map(|group| name(group)).collect();
        dead_letters(store.groups_with_dead_letters().await, &ignored)
    }

    #[tokio::test]
    async fn component_name_should_be_that_of_dead_letters() {
        assert_eq!(check(&store(&[]).await, &[]).await.name, "dead-letters");
    }

    #[tokio::test]
    async fn check_should_return_healthy_when_event_dead_letter_empty() {
        let component = check(&store(&[]).await, &[]).await;
        assert_eq!((component.status, component.cause), (Status::Healthy, None));
    }

    #[tokio::test]
    async fn check_should_return_degraded_when_event_dead_letter_contain_event() {
        let component = check(&store(&[(A, 1)]).await, &[]).await;
        assert_eq!(component.status, Status::Degraded);
        assert_eq!(component.cause.as_deref(), Some("group-a has 1"));
    }

    #[tokio::test]
    async fn check_should_return_degraded_when_event_dead_letter_contain_events() {
        let component = check(&store(&[(A, 1), (A, 2), (B, 3)]).await, &[]).await;
        assert_eq!(component.status, Status::Degraded);
        assert_eq!(component.cause.as_deref(), Some("group-a has 2, group-b has 1"));
    }

    #[tokio::test]
    async fn check_should_return_healthy_when_removed_all_event_dead_letters() {
        let store = store(&[(A, 1), (A, 2)]).await;
        store.remove_dead_letters(&name(A)).await.unwrap();
        assert_eq!(check(&store, &[]).await.status, Status::Healthy);
    }

    #[tokio::test]
    async fn check_should_return_degraded_when_removed_some_event_dead_letters() {
        let store = store(&[(A, 1), (A, 2)]).await;
        store.remove_dead_letter(&name(A), letter(1).id).await.unwrap();
        assert_eq!(check(&store, &[]).await.status, Status::Degraded);
    }

    #[tokio::test]
    async fn check_should_return_unhealthy_when_event_dead_letter_error() {
        let store = store(&[(A, 1)]).await;
        store.set_unavailable(true);
        let component = check(&store, &[A]).await;
        assert_eq!(component.status, Status::Unhealthy);
        assert!(component.cause.is_some());
    }

    #[tokio::test]
    async fn check_should_return_healthy_when_only_ignored_groups_contain_events() {
        assert_eq!(check(&store(&[(A, 1)]).await, &[A]).await.status, Status::Healthy);
    }

    #[tokio::test]
    async fn check_should_return_degraded_when_non_ignored_group_contains_events() {
        assert_eq!(
            check(&store(&[(B, 1)]).await, &[A]).await.status,
            Status::Degraded
        );
    }

    #[tokio::test]
    async fn check_should_return_degraded_when_mixing_ignored_and_non_ignored_events() {
        let component = check(&store(&[(A, 1), (B, 2)]).await, &[A]).await;
        assert_eq!(component.cause.as_deref(), Some("group-b has 1"));
        assert_eq!(component.status, Status::Degraded);
    }

    #[test]
    fn groups_that_wait_are_rebuilt_or_late_degrade_the_node() {
        let group = |name: &str, why: Option<&str>, rebuilding, late| RegisteredGroup {
            name: name.parse().unwrap(),
            stored_as: name.parse().unwrap(),
            scope: Scope::Local,
            mode: Mode::Async,
            status: GroupStatus {
                why: why.map(str::to_owned),
                rebuilding,
                late,
                ..GroupStatus::default()
            },
        };
        let well = group("quota", None, false, false);
        let component = groups(std::slice::from_ref(&well));
        assert_eq!((component.status, component.cause), (Status::Healthy, None));
        let registered = [
            group("index", None, true, false),
            group("log", None, false, true),
            well,
            group("webhook", Some("connection refused"), false, true),
        ];
        let component = groups(&registered);
        assert_eq!(component.status, Status::Degraded);
        assert_eq!(
            component.cause.as_deref(),
            Some("index is rebuilding, log is late, webhook is stopped: connection refused")
        );
    }

    #[test]
    fn a_node_is_as_healthy_as_the_worst_of_its_parts() {
        let component = |status| Component {
            name: "x".into(),
            status,
            cause: None,
        };
        let health = Health::of(vec![component(Status::Degraded), component(Status::Healthy)]);
        assert_eq!(health.status, Status::Degraded);
        assert_eq!(Health::of(Vec::new()).status, Status::Healthy);
    }
}
