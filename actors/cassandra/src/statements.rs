//! Every statement that this store ever prepares, in one table: what is not here is not asked.
//!
//! A test looks at this table for what must not be: on the way of mail there is no `IF` and no serial read, every mutation
//! carries its stamp, rows of mail go by id and never by range.

/// How a statement is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// A read that a quorum of the local centre answers.
    Read,
    /// A mutation with its stamp, which a quorum of the local centre has taken. Asked again it changes nothing.
    Write,
    /// A lightweight transaction: making and removing what is rare, never mail.
    Conditional,
    /// A read that every replica answers: before octets are removed for good.
    ReadAll,
}

macro_rules! statements {
    ($($(#[doc = $doc:literal])* $name:ident: $class:ident = $cql:literal;)*) => {
        /// A statement.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Statement {
            $($(#[doc = $doc])* $name,)*
        }

        impl Statement {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its text.
            pub(crate) fn cql(self) -> &'static str {
                match self {
                    $(Self::$name => $cql,)*
                }
            }

            /// How it is asked.
            pub(crate) fn class(self) -> Class {
                match self {
                    $(Self::$name => Class::$class,)*
                }
            }
        }
    };
}

statements! {
    // Octets and who has them.
    PutChunk: Write = "INSERT INTO chunks (message_id, chunk, octets) VALUES (?, ?, ?) USING TIMESTAMP ?";
    Chunk: Read = "SELECT octets FROM chunks WHERE message_id = ? AND chunk = ?";
    AddReference: Write = "INSERT INTO message_references (message_id, mailbox_id) VALUES (?, ?) USING TIMESTAMP ?";

    // Octets that nobody has any more.
    TakeReference: Write = "DELETE FROM message_references USING TIMESTAMP ? WHERE message_id = ? AND mailbox_id = ?";
    AnyReference: Read = "SELECT mailbox_id FROM message_references WHERE message_id = ? LIMIT 1";
    Mark: Write = "UPDATE message_references USING TIMESTAMP ? SET condemned = ? WHERE message_id = ?";
    Condemn: Write = "INSERT INTO condemned (hour, shard, message_id, since) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    CondemnedFrom: Read = "SELECT message_id, since FROM condemned WHERE hour = ? AND shard = ? AND message_id > ? LIMIT ?";
    Release: Write = "DELETE FROM condemned USING TIMESTAMP ? WHERE hour = ? AND shard = ? AND message_id = ?";
    ReferencesAnywhere: ReadAll = "SELECT mailbox_id FROM message_references WHERE message_id = ? LIMIT ?";
    RowAnywhere: ReadAll = "SELECT message_id FROM mailbox_view WHERE mailbox_id = ? AND message_id = ?";
    ChunksAnywhere: ReadAll = "SELECT chunk FROM chunks WHERE message_id = ? AND chunk > ? LIMIT ?";
    RemoveChunks: Write = "DELETE FROM chunks USING TIMESTAMP ? WHERE message_id = ? AND chunk IN ?";

    // What this process is about to write, for whoever adopts its log.
    Upload: Write = "INSERT INTO uploads (generation, hour, first, messages) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    UploadsFrom: Read = "SELECT first, messages FROM uploads WHERE generation = ? AND hour = ? AND first > ? LIMIT ?";

    // The view.
    AddRow: Write = "INSERT INTO mailbox_view (mailbox_id, message_id, account_id, stamp, size, received, flags, unique_id, prefix, chunks) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    RemoveRows: Write = "DELETE FROM mailbox_view USING TIMESTAMP ? WHERE mailbox_id = ? AND message_id IN ?";
    ListFrom: Read = "SELECT message_id, size, received, stamp, unique_id FROM mailbox_view WHERE mailbox_id = ? AND message_id > ? LIMIT ?";
    ListThese: Read = "SELECT message_id, size, received, stamp, unique_id FROM mailbox_view WHERE mailbox_id = ? AND message_id IN ?";
    RowForReading: Read = "SELECT prefix, chunks FROM mailbox_view WHERE mailbox_id = ? AND message_id = ?";

    // Where a listing starts.
    Start: Read = "SELECT start, below FROM mailbox_start WHERE mailbox_id = ? LIMIT ?";
    RaiseStart: Write = "UPDATE mailbox_start USING TIMESTAMP ? SET start = ? WHERE mailbox_id = ?";
    AddBelow: Write = "INSERT INTO mailbox_start (mailbox_id, below) VALUES (?, ?) USING TIMESTAMP ?";
    RemoveBelow: Write = "DELETE FROM mailbox_start USING TIMESTAMP ? WHERE mailbox_id = ? AND below IN ?";

    // Logs.
    BeginLog: Write = "INSERT INTO logs (part, generation, node) VALUES (0, ?, ?) USING TIMESTAMP ? AND TTL ?";
    Logs: Read = "SELECT generation, node FROM logs WHERE part = 0";
    BeginPart: Write = "INSERT INTO log_parts (generation, part, first) VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    Parts: Read = "SELECT part, first FROM log_parts WHERE generation = ?";
    Append: Write = "INSERT INTO log_records (generation, part, first, last, records, notes, appended, previous) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    RecordsFrom: Read = "SELECT first, last, records, notes, appended, previous FROM log_records WHERE generation = ? AND part = ? AND first >= ? LIMIT ?";
    RecordsUpTo: Read = "SELECT first, last, records, notes, appended, previous FROM log_records WHERE generation = ? AND part = ? AND first <= ? ORDER BY first DESC LIMIT ?";
    Seal: Conditional = "INSERT INTO seals (generation, last) VALUES (?, ?) IF NOT EXISTS USING TTL ?";
    Sealed: Read = "SELECT last FROM seals WHERE generation = ?";

    // Members.
    Beat: Write = "INSERT INTO members (part, generation, node, beat, applied, groups) VALUES (0, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    Leave: Write = "DELETE FROM members USING TIMESTAMP ? WHERE part = 0 AND generation = ?";
    Members: Read = "SELECT generation, node, beat, applied, groups FROM members WHERE part = 0";

    // Notes of deliveries.
    PutNote: Write = "INSERT INTO notes (mailbox_id, day, note, taken) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    Note: Read = "SELECT taken FROM notes WHERE mailbox_id = ? AND day IN ? AND note = ?";
    RemoveNote: Write = "DELETE FROM notes USING TIMESTAMP ? WHERE mailbox_id = ? AND day = ? AND note = ?";

    // Groups of listeners: which are known, and how far they are.
    KnownGroups: Read = "SELECT name, incarnation, registered FROM known_groups WHERE part = 0";
    KnownGroup: Read = "SELECT name, incarnation, registered FROM known_groups WHERE part = 0 AND name = ?";
    KnowGroup: Write = "INSERT INTO known_groups (part, name, incarnation, registered) VALUES (0, ?, ?, ?) USING TIMESTAMP ?";
    ForgetGroup: Write = "DELETE FROM known_groups USING TIMESTAMP ? WHERE part = 0 AND name = ? AND incarnation = ?";
    Cursors: Read = "SELECT generation, taken, open, TTL(taken) FROM cursors WHERE name = ? AND incarnation = ?";
    SaveCursor: Write = "INSERT INTO cursors (name, incarnation, generation, writer, taken, open) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";

    // What groups could not handle.
    AddParkedLog: Write = "INSERT INTO parked_logs (name, generation, stamp) VALUES (?, ?, ?) USING TIMESTAMP ?";
    RemoveParkedLog: Write = "DELETE FROM parked_logs USING TIMESTAMP ? WHERE name = ? AND generation = ?";
    ParkedLogs: Read = "SELECT generation, stamp FROM parked_logs WHERE name = ?";
    Park: Write = "INSERT INTO parked_letters (name, generation, id, number, octets, why, attempts, since, last, stamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    Unpark: Write = "DELETE FROM parked_letters USING TIMESTAMP ? WHERE name = ? AND generation = ? AND id = ?";
    Parked: Read = "SELECT id, generation, number, octets, why, attempts, since, last, stamp FROM parked_letters WHERE name = ? AND generation = ? AND id > ? LIMIT ?";
    AnyParked: Read = "SELECT id FROM parked_letters WHERE name = ? AND generation = ? LIMIT 1";
    AddDeadGroup: Write = "INSERT INTO dead_letter_groups (part, name, stamp) VALUES (0, ?, ?) USING TIMESTAMP ?";
    RemoveDeadGroup: Write = "DELETE FROM dead_letter_groups USING TIMESTAMP ? WHERE part = 0 AND name = ?";
    DeadGroups: Read = "SELECT name, stamp FROM dead_letter_groups WHERE part = 0";
    Bury: Write = "INSERT INTO dead_letters (name, shard, id, generation, number, octets, why, attempts, since, last, stamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    RemoveDead: Write = "DELETE FROM dead_letters USING TIMESTAMP ? WHERE name = ? AND shard = ? AND id = ?";
    Dead: Read = "SELECT id, generation, number, octets, why, attempts, since, last, stamp FROM dead_letters WHERE name = ? AND shard = ? AND id = ?";
    DeadFrom: Read = "SELECT id, generation, number, octets, why, attempts, since, last, stamp FROM dead_letters WHERE name = ? AND shard = ? AND id > ? LIMIT ?";
    DeadStamp: Read = "SELECT id, stamp FROM dead_letters WHERE name = ? AND shard = ? AND id = ?";
    DeadStampsFrom: Read = "SELECT id, stamp FROM dead_letters WHERE name = ? AND shard = ? AND id > ? LIMIT ?";
    CountDead: Read = "SELECT count(*) FROM dead_letters WHERE name = ? AND shard = ?";

    // Quotas.
    QuotaLimits: Read = "SELECT messages, octets, stamp FROM quota_limits WHERE owner = ?";
    SetQuotaLimits: Write = "INSERT INTO quota_limits (owner, messages, octets, stamp) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    RemoveQuotaLimits: Write = "DELETE FROM quota_limits USING TIMESTAMP ? WHERE owner = ?";
    QuotaUsage: Read = "SELECT messages, octets, counted, looked_through FROM quota_usage WHERE owner = ? AND centre = ?";
    SetQuotaUsage: Write = "INSERT INTO quota_usage (owner, centre, messages, octets, counted, looked_through) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    RemoveQuotaUsage: Write = "DELETE FROM quota_usage USING TIMESTAMP ? WHERE owner = ? AND centre = ?";
    DomainUsage: Read = "SELECT account, messages, octets, counted FROM domain_usage WHERE domain = ? AND centre = ? AND shard = ?";
    SetDomainUsage: Write = "INSERT INTO domain_usage (domain, centre, shard, account, messages, octets, counted) VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    RemoveDomainUsage: Write = "DELETE FROM domain_usage USING TIMESTAMP ? WHERE domain = ? AND centre = ? AND shard = ? AND account = ?";
    RemovedAddress: Read = "SELECT address FROM removed_accounts WHERE part = 0 AND id = ?";

    // The quota threshold that was announced last.
    Announced: Read = "SELECT percent FROM quota_announced WHERE owner = ?";
    AnnouncedAt: Read = "SELECT WRITETIME(percent) FROM quota_announced WHERE owner = ?";
    RemoveAnnounced: Write = "DELETE FROM quota_announced USING TIMESTAMP ? WHERE owner = ?";
    SetAnnounced: Write = "INSERT INTO quota_announced (owner, percent) VALUES (?, ?) USING TIMESTAMP ?";

    // The directory.
    AccountLives: Read = "SELECT address FROM account_ids WHERE id = ?";
    AddAccountId: Write = "INSERT INTO account_ids (id, address) VALUES (?, ?) USING TIMESTAMP ?";
    RemoveAccountId: Write = "DELETE FROM account_ids USING TIMESTAMP ? WHERE id = ?";
    Name: Read = "SELECT address, id, created, stamp, argon2id, scram_salt, scram_iterations, scram_stored_key, scram_server_key, app_passwords, alias_of, alias_of_id FROM accounts WHERE address = ?";
    AddAccount: Conditional = "INSERT INTO accounts (address, id, created, stamp, argon2id, scram_salt, scram_iterations, scram_stored_key, scram_server_key, app_passwords) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS";
    SetCredentials: Conditional = "UPDATE accounts SET stamp = ?, argon2id = ?, scram_salt = ?, scram_iterations = ?, scram_stored_key = ?, scram_server_key = ?, app_passwords = ? WHERE address = ? IF id = ? AND stamp = ?";
    RemoveAccount: Conditional = "DELETE FROM accounts WHERE address = ? IF id = ?";
    AddAlias: Conditional = "INSERT INTO accounts (address, created, alias_of, alias_of_id) VALUES (?, ?, ?, ?) IF NOT EXISTS";
    RemoveAlias: Conditional = "DELETE FROM accounts WHERE address = ? IF alias_of_id = ? AND created = ?";
    AddToAccount: Write = "INSERT INTO account_aliases (id, address) VALUES (?, ?) USING TIMESTAMP ?";
    RemoveFromAccount: Write = "DELETE FROM account_aliases USING TIMESTAMP ? WHERE id = ? AND address = ?";
    OfAccount: Read = "SELECT address FROM account_aliases WHERE id = ? AND address > ? LIMIT ?";
    AddAliasToDomain: Write = "INSERT INTO domain_aliases (domain, shard, address) VALUES (?, ?, ?) USING TIMESTAMP ?";
    RemoveAliasFromDomain: Write = "DELETE FROM domain_aliases USING TIMESTAMP ? WHERE domain = ? AND shard = ? AND address = ?";
    AliasesOfDomain: Read = "SELECT address FROM domain_aliases WHERE domain = ? AND shard = ? AND address > ? LIMIT ?";
    AddName: Write = "INSERT INTO account_names (head, address) VALUES (?, ?) USING TIMESTAMP ?";
    RemoveName: Write = "DELETE FROM account_names USING TIMESTAMP ? WHERE head = ? AND address = ?";
    Names: Read = "SELECT address FROM account_names WHERE head = ? AND address > ? LIMIT ?";
    AddToDomain: Write = "INSERT INTO domain_accounts (domain, shard, address, id) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    RemoveFromDomain: Write = "DELETE FROM domain_accounts USING TIMESTAMP ? WHERE domain = ? AND shard = ? AND address = ?";
    OfDomain: Read = "SELECT address, id FROM domain_accounts WHERE domain = ? AND shard = ? AND address > ? LIMIT ?";
    AddWithoutScram: Write = "INSERT INTO accounts_without_scram (shard, address) VALUES (?, ?) USING TIMESTAMP ?";
    RemoveWithoutScram: Write = "DELETE FROM accounts_without_scram USING TIMESTAMP ? WHERE shard = ? AND address = ?";
    WithoutScram: Read = "SELECT address FROM accounts_without_scram WHERE shard = ? LIMIT ?";
    AddRemoved: Write = "INSERT INTO removed_accounts (part, address, id, created, stamp, argon2id, scram_salt, scram_iterations, scram_stored_key, scram_server_key, app_passwords) VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    ForgetRemoved: Write = "DELETE FROM removed_accounts USING TIMESTAMP ? WHERE part = 0 AND id = ?";
    Removed: Read = "SELECT address, id, created, stamp, argon2id, scram_salt, scram_iterations, scram_stored_key, scram_server_key, app_passwords FROM removed_accounts WHERE part = 0";
    Secret: Read = "SELECT secret FROM installation WHERE part = 0";
    MakeSecret: Conditional = "INSERT INTO installation (part, secret) VALUES (0, ?) IF NOT EXISTS";
    Domain: Read = "SELECT domain, alias_of, catch_all, catch_all_id FROM domains WHERE part = 0 AND domain = ?";
    Domains: Read = "SELECT domain, alias_of, catch_all, catch_all_id FROM domains WHERE part = 0 AND domain > ? LIMIT ?";
    AddDomain: Conditional = "INSERT INTO domains (part, domain, alias_of) VALUES (0, ?, ?) IF NOT EXISTS";
    SetCatchAll: Conditional = "UPDATE domains SET catch_all = ?, catch_all_id = ? WHERE part = 0 AND domain = ? IF EXISTS";
    RemoveDomain: Conditional = "DELETE FROM domains WHERE part = 0 AND domain = ? IF EXISTS";

    // Bans.
    PutBan: Write = "INSERT INTO bans (part, network, reason, since, until, kept_until, node, stamp) VALUES (0, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    BanAt: Read = "SELECT stamp FROM bans WHERE part = 0 AND network = ?";
    LiftBan: Write = "DELETE FROM bans USING TIMESTAMP ? WHERE part = 0 AND network = ?";
    Bans: Read = "SELECT network, reason, since, until, kept_until, node FROM bans WHERE part = 0 AND network > ? LIMIT ?";
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::schema;

    /// The columns of every table's primary key.
    fn keys() -> BTreeMap<&'static str, Vec<&'static str>> {
        let files = schema::VERSIONS.iter().map(|(_, file)| *file);
        let tables = files.flat_map(|file| file.split("CREATE TABLE IF NOT EXISTS ").skip(1));
        let key = |table: &'static str| {
            let name = table.split([' ', '(']).next().unwrap();
            let columns = match table.split_once("PRIMARY KEY (") {
                Some((_, key)) => key.split(") WITH").next().unwrap().split(';').next().unwrap(),
                // Of one column, and said at it.
                None => {
                    let before = table.split_once(" PRIMARY KEY").unwrap().0;
                    let line = before.rsplit(['\n', '(']).next().unwrap();
                    line.trim().split(' ').next().unwrap()
                }
            };
            let columns = columns
                .split([',', '(', ')', '\n'])
                .map(str::trim)
                .filter(|column| !column.is_empty());
            (name, columns.collect())
        };
        tables.map(key).collect()
    }

    /// The table that a mutation is of.
    fn written(statement: Statement) -> Option<&'static str> {
        ["INSERT INTO ", "UPDATE ", "DELETE FROM "]
            .iter()
            .find_map(|verb| statement.cql().strip_prefix(verb))
            .and_then(|rest| rest.split(' ').next())
    }

    #[test]
    fn a_mutation_carries_its_stamp_and_asks_no_condition() {
        for statement in Statement::ALL {
            let cql = statement.cql();
            let (is_stamped, has_condition) = (cql.contains(" USING TIMESTAMP ?"), cql.contains(" IF "));
            match statement.class() {
                Class::Write => assert!(is_stamped && !has_condition, "{statement:?}"),
                Class::Conditional => assert!(has_condition && !is_stamped, "{statement:?}"),
                Class::Read | Class::ReadAll => {
                    assert!(cql.starts_with("SELECT ") && !has_condition, "{statement:?}");
                }
            }
            assert_eq!(
                written(*statement).is_some(),
                matches!(statement.class(), Class::Write | Class::Conditional),
                "{statement:?}"
            );
        }
    }

    #[test]
    fn what_is_deleted_is_named_row_by_row() {
        let keys = keys();
        for statement in Statement::ALL {
            let Some(rest) = statement.cql().strip_prefix("DELETE FROM ") else {
                continue;
            };
            let table = rest.split(' ').next().unwrap();
            let (_, wanted) = rest.split_once(" WHERE ").unwrap();
            assert!(!wanted.contains(['<', '>']), "{statement:?}");
            let named: BTreeSet<&str> = wanted
                .split(" AND ")
                .map(|one| one.split(' ').next().unwrap())
                .collect();
            for column in &keys[table] {
                assert!(
                    named.contains(column),
                    "{statement:?} leaves {column} of {table} open"
                );
            }
        }
    }

    #[test]
    fn a_table_is_written_with_conditions_always_or_never() {
        let mut classes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for statement in Statement::ALL {
            let class = match statement.class() {
                Class::Write => "plainly",
                Class::Conditional => "on a condition",
                Class::Read | Class::ReadAll => continue,
            };
            classes
                .entry(written(*statement).unwrap())
                .or_default()
                .insert(class);
        }
        for (table, classes) in classes {
            assert_eq!(classes.len(), 1, "{table} is written {classes:?}");
        }
    }
}
