//! The tables, made by whoever starts first.
//!
//! Two nodes may start at once, and Cassandra orders no two statements of different servers about the schema. So each
//! table has an id that is computed from its name: made twice it is the same table. What changes a table later goes under a
//! lock, by a lightweight transaction, and is noted under its number.

use std::time::Duration;

use uuid::{Uuid, uuid};

use crate::options::{Options, Replication};

/// What the ids of tables are made in.
const TABLES: Uuid = uuid!("6d61696c-686f-726e-8000-7461626c6573");

/// What the lock itself takes. Made without one.
pub(crate) const LOCK: &str = include_str!("schema/000_lock.cql");

/// A change of the schema: files of CQL, in their order, never changed once they were shipped.
pub(crate) const VERSIONS: &[(i32, &str)] = &[
    (1, include_str!("schema/001_mail.cql")),
    (2, include_str!("schema/002_directory.cql")),
    (3, include_str!("schema/003_listening.cql")),
    (4, include_str!("schema/004_installation.cql")),
    (5, include_str!("schema/005_aliases.cql")),
    (6, include_str!("schema/006_bans.cql")),
];

/// How long whoever holds the lock may take; then another takes it.
pub(crate) const LOCK_TTL: Duration = Duration::from_secs(60);

/// The statement that makes the keyspace.
pub(crate) fn keyspace(options: &Options) -> String {
    let quoted = |name: &str| format!("'{}'", name.replace('\'', "''"));
    let centres: Vec<String> = match &options.replication {
        Replication::Local(replicas) => vec![format!("{}: {replicas}", quoted(&options.datacenter))],
        Replication::Centres(centres) => {
            let centre = |(name, replicas): (&String, &u32)| format!("{}: {replicas}", quoted(name));
            centres.iter().map(centre).collect()
        }
    };
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {{'class': 'NetworkTopologyStrategy', {}}}",
        name(options),
        centres.join(", ")
    )
}

/// The keyspace's name as CQL has it.
fn name(options: &Options) -> String {
    format!("\"{}\"", options.keyspace.replace('"', "\"\""))
}

/// The statements of a file, without its comments; tables with the id that they have in this keyspace.
pub(crate) fn statements(file: &str, options: &Options) -> Vec<String> {
    let lines = file.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| with_id(part, options)).collect()
}

/// A statement that makes a table makes it under an id of its name and the keyspace's.
fn with_id(statement: &str, options: &Options) -> String {
    let Some(rest) = statement.strip_prefix("CREATE TABLE IF NOT EXISTS ") else {
        return statement.to_owned();
    };
    let table = rest.split([' ', '(']).next().unwrap_or_default();
    let id = Uuid::new_v5(&TABLES, format!("{}.{table}", options.keyspace).as_bytes());
    match statement.rsplit_once(") WITH ") {
        Some((columns, rest)) => format!("{columns}) WITH id = {id} AND {rest}"),
        None => format!("{statement} WITH id = {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_same_id_wherever_it_is_made_and_another_in_another_keyspace() {
        let made = |keyspace: &str| {
            let options = Options::local("localhost:9042", "dc1", keyspace);
            VERSIONS
                .iter()
                .flat_map(|(_, file)| statements(file, &options))
                .collect::<Vec<_>>()
        };
        assert_eq!(made("mail"), made("mail"));
        let ids = |made: Vec<String>| {
            let id = |statement: &String| {
                statement
                    .split_once("WITH id = ")
                    .map(|(_, rest)| rest[..36].to_owned())
            };
            made.iter()
                .filter_map(id)
                .collect::<std::collections::BTreeSet<_>>()
        };
        let (mail, other) = (ids(made("mail")), ids(made("other")));
        let tables = made("mail")
            .iter()
            .filter(|statement| statement.starts_with("CREATE TABLE"))
            .count();
        assert_eq!(mail.len(), tables);
        assert!(mail.is_disjoint(&other));
    }

    #[test]
    fn replicas_are_named_by_centre() {
        let mut options = Options::local("localhost:9042", "dc1", "mail");
        assert!(keyspace(&options).ends_with("{'class': 'NetworkTopologyStrategy', 'dc1': 1}"));
        options.replication = Replication::Centres([("a".into(), 3), ("b".into(), 2)].into());
        assert!(keyspace(&options).ends_with("{'class': 'NetworkTopologyStrategy', 'a': 3, 'b': 2}"));
    }
}
