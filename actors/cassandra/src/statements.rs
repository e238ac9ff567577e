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

    // What this process is about to write, for whoever adopts its log.
    Upload: Write = "INSERT INTO uploads (generation, first, messages) VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?";

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

    // The quota threshold that was announced last.
    Announced: Read = "SELECT percent FROM quota_announced WHERE owner = ?";
    SetAnnounced: Write = "INSERT INTO quota_announced (owner, percent) VALUES (?, ?) USING TIMESTAMP ?";

    // The directory.
    AccountLives: Read = "SELECT address FROM account_ids WHERE id = ?";
    AddAccountId: Write = "INSERT INTO account_ids (id, address) VALUES (?, ?) USING TIMESTAMP ?";
    RemoveAccountId: Write = "DELETE FROM account_ids USING TIMESTAMP ? WHERE id = ?";
    Account: Read = "SELECT address, id, created, stamp, argon2id, scram_salt, scram_iterations, scram_stored_key, scram_server_key FROM accounts WHERE address = ?";
    AddAccount: Conditional = "INSERT INTO accounts (address, id, created, stamp, argon2id, scram_salt, scram_iterations, scram_stored_key, scram_server_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS";
    SetCredentials: Conditional = "UPDATE accounts SET stamp = ?, argon2id = ?, scram_salt = ?, scram_iterations = ?, scram_stored_key = ?, scram_server_key = ? WHERE address = ? IF id = ? AND stamp = ?";
    RemoveAccount: Conditional = "DELETE FROM accounts WHERE address = ? IF id = ?";
    AddName: Write = "INSERT INTO account_names (head, address) VALUES (?, ?) USING TIMESTAMP ?";
    RemoveName: Write = "DELETE FROM account_names USING TIMESTAMP ? WHERE head = ? AND address = ?";
    Names: Read = "SELECT address FROM account_names WHERE head = ? AND address > ? LIMIT ?";
    AddToDomain: Write = "INSERT INTO domain_accounts (domain, shard, address, id) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    RemoveFromDomain: Write = "DELETE FROM domain_accounts USING TIMESTAMP ? WHERE domain = ? AND shard = ? AND address = ?";
    OfDomain: Read = "SELECT address, id FROM domain_accounts WHERE domain = ? AND shard = ? AND address > ? LIMIT ?";
    AddWithoutScram: Write = "INSERT INTO accounts_without_scram (shard, address) VALUES (?, ?) USING TIMESTAMP ?";
    RemoveWithoutScram: Write = "DELETE FROM accounts_without_scram USING TIMESTAMP ? WHERE shard = ? AND address = ?";
    WithoutScram: Read = "SELECT address FROM accounts_without_scram WHERE shard = ? LIMIT ?";
    AddRemoved: Write = "INSERT INTO removed_accounts (part, address, id, created, stamp, argon2id, scram_salt, scram_iterations, scram_stored_key, scram_server_key) VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    ForgetRemoved: Write = "DELETE FROM removed_accounts USING TIMESTAMP ? WHERE part = 0 AND id = ?";
    Removed: Read = "SELECT address, id, created, stamp, argon2id, scram_salt, scram_iterations, scram_stored_key, scram_server_key FROM removed_accounts WHERE part = 0";
    Domain: Read = "SELECT domain FROM domains WHERE part = 0 AND domain = ?";
    Domains: Read = "SELECT domain FROM domains WHERE part = 0 AND domain > ? LIMIT ?";
    AddDomain: Conditional = "INSERT INTO domains (part, domain) VALUES (0, ?) IF NOT EXISTS";
    RemoveDomain: Conditional = "DELETE FROM domains WHERE part = 0 AND domain = ? IF EXISTS";
}
