//! Keys. All rows share one keyspace; the first octet says which table a row is of.

use ipnet::IpNet;
use mailhorn_events::{AccountId, EventId, Generation, MailboxId, MessageId, Stamp};
use mailhorn_ports::{GroupName, NoteKey, QuotaOwner};
use uuid::Uuid;

/// The tables. Never change one that has been shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Table {
    /// Address → account or alias.
    Names = b'a',
    /// Network → from where nobody is served.
    Bans = b'w',
    /// Group, event → a letter that was given up.
    Dead = b'b',
    /// Group, generation → how far the group is in that log.
    Cursors = b'c',
    /// Domain → how many addresses, and what it is.
    Domains = b'd',
    /// Group → that it is known.
    Groups = b'e',
    /// Mailbox → figure.
    Figures = b'f',
    /// Generation → the node whose log it is.
    Logs = b'g',
    /// Owner → the threshold that was announced last.
    Thresholds = b'h',
    /// Account id → address.
    AccountIds = b'i',
    /// Group → how many dead letters it has.
    DeadCounts = b'k',
    /// Generation, number → record.
    Log = b'l',
    /// Message → where its octets are, who refers to it.
    Messages = b'm',
    /// Note key → when.
    Notes = b'n',
    /// Segment, message → nothing: which messages a segment holds.
    Held = b'o',
    /// Group, generation, event → a letter that is tried again.
    Parked = b'p',
    /// Account id, alias → nothing: the aliases of an account.
    Aliases = b'j',
    /// Owner → limits.
    Limits = b'q',
    /// Account id → an account that was removed and may still have mail.
    Removed = b'r',
    /// Segment → how much was written, how much is live.
    Segments = b's',
    /// When, note key → nothing: notes by age.
    NoteTimes = b't',
    /// Owner → what it holds.
    Usage = b'u',
    /// Mailbox, message → row.
    View = b'v',
    /// Single rows.
    Meta = b'x',
}

pub(crate) fn key(table: Table, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(table as u8);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

pub(crate) fn name(address: &str) -> Vec<u8> {
    key(Table::Names, &[address.as_bytes()])
}

pub(crate) fn aliases(account: AccountId) -> Vec<u8> {
    key(Table::Aliases, &[account.as_bytes()])
}

pub(crate) fn alias(account: AccountId, address: &str) -> Vec<u8> {
    key(Table::Aliases, &[account.as_bytes(), address.as_bytes()])
}

/// The address that the key of an account's alias stands for.
pub(crate) fn alias_address(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(17..)?).ok()
}

pub(crate) fn domain(domain: &str) -> Vec<u8> {
    key(Table::Domains, &[domain.as_bytes()])
}

pub(crate) fn ban(network: IpNet) -> Vec<u8> {
    key(Table::Bans, &[network.to_string().as_bytes()])
}

pub(crate) fn figure(mailbox: MailboxId) -> Vec<u8> {
    key(Table::Figures, &[mailbox.as_bytes()])
}

pub(crate) fn account_id(id: AccountId) -> Vec<u8> {
    key(Table::AccountIds, &[id.as_bytes()])
}

pub(crate) fn removed(id: AccountId) -> Vec<u8> {
    key(Table::Removed, &[id.as_bytes()])
}

pub(crate) fn log(generation: Generation) -> Vec<u8> {
    key(Table::Log, &[generation.as_bytes()])
}

pub(crate) fn log_owner(generation: Generation) -> Vec<u8> {
    key(Table::Logs, &[generation.as_bytes()])
}

/// The generation that the key of a log's owner stands for.
pub(crate) fn owned_log(key: &[u8]) -> Option<Generation> {
    Some(Generation::from_bytes(key.get(1..)?.try_into().ok()?))
}

pub(crate) fn record(generation: Generation, number: u64) -> Vec<u8> {
    key(Table::Log, &[generation.as_bytes(), &number.to_be_bytes()])
}

/// The position that the key of a record stands for.
pub(crate) fn position(key: &[u8]) -> Option<(Generation, u64)> {
    let (generation, number) = key.get(1..)?.split_first_chunk::<16>()?;
    Some((
        Generation::from_bytes(*generation),
        u64::from_be_bytes(number.try_into().ok()?),
    ))
}

pub(crate) fn message(message: MessageId) -> Vec<u8> {
    key(Table::Messages, &[message.as_bytes()])
}

pub(crate) fn note(note: &NoteKey) -> Vec<u8> {
    key(Table::Notes, &[&note.0])
}

pub(crate) fn note_time(time: Stamp, note: &NoteKey) -> Vec<u8> {
    key(Table::NoteTimes, &[&time.0.to_be_bytes(), &note.0])
}

/// Where the keys by age begin of notes that were made at `time` or later.
pub(crate) fn notes_from(time: Stamp) -> Vec<u8> {
    key(Table::NoteTimes, &[&time.0.to_be_bytes()])
}

/// The time and the note that a key by age stands for.
pub(crate) fn timed_note(key: &[u8]) -> Option<(Stamp, NoteKey)> {
    let (time, note) = key.get(1..)?.split_first_chunk::<8>()?;
    Some((Stamp(u64::from_be_bytes(*time)), NoteKey(note.try_into().ok()?)))
}

pub(crate) fn held_in(segment: u64) -> Vec<u8> {
    key(Table::Held, &[&segment.to_be_bytes()])
}

pub(crate) fn held(segment: u64, message: MessageId) -> Vec<u8> {
    key(Table::Held, &[&segment.to_be_bytes(), message.as_bytes()])
}

pub(crate) fn segment(segment: u64) -> Vec<u8> {
    key(Table::Segments, &[&segment.to_be_bytes()])
}

pub(crate) fn view_of(mailbox: MailboxId) -> Vec<u8> {
    key(Table::View, &[mailbox.as_bytes()])
}

pub(crate) fn view(mailbox: MailboxId, message: MessageId) -> Vec<u8> {
    key(Table::View, &[mailbox.as_bytes(), message.as_bytes()])
}

/// The message that the last sixteen octets of a key stand for.
pub(crate) fn message_at_end(key: &[u8]) -> Option<MessageId> {
    key.last_chunk::<16>().map(|id| MessageId::from_bytes(*id))
}

/// A group's row in a table that has one for each group.
pub(crate) fn group_row(table: Table, group: &GroupName) -> Vec<u8> {
    key(table, &[group.as_str().as_bytes()])
}

/// What keys of a group begin with, in tables with several rows a group. No name has the octet that ends it.
pub(crate) fn of_group(table: Table, group: &GroupName) -> Vec<u8> {
    key(table, &[group.as_str().as_bytes(), &[0]])
}

/// The group that a key of such a table, or of one with a row for each group, is of.
pub(crate) fn group_of(key: &[u8]) -> Option<GroupName> {
    let name = key.get(1..)?.split(|octet| *octet == 0).next()?;
    std::str::from_utf8(name).ok()?.parse().ok()
}

pub(crate) fn cursor(group: &GroupName, generation: Generation) -> Vec<u8> {
    let mut key = of_group(Table::Cursors, group);
    key.extend_from_slice(generation.as_bytes());
    key
}

/// The log that the last sixteen octets of a cursor's key stand for.
pub(crate) fn log_of_cursor(key: &[u8]) -> Option<Generation> {
    key.last_chunk::<16>().map(|id| Generation::from_bytes(*id))
}

pub(crate) fn parked_of(group: &GroupName, generation: Generation) -> Vec<u8> {
    let mut key = of_group(Table::Parked, group);
    key.extend_from_slice(generation.as_bytes());
    key
}

pub(crate) fn parked(group: &GroupName, generation: Generation, id: EventId) -> Vec<u8> {
    let mut key = parked_of(group, generation);
    key.extend_from_slice(id.as_bytes());
    key
}

/// The log that a parked event's key stands for.
pub(crate) fn log_of_parked(key: &[u8]) -> Option<Generation> {
    let (log, _) = key.last_chunk::<32>()?.split_first_chunk::<16>()?;
    Some(Generation::from_bytes(*log))
}

/// The event that a parked event's key stands for.
pub(crate) fn id_of_parked(key: &[u8]) -> Option<EventId> {
    key.last_chunk::<16>().map(|id| EventId::from_bytes(*id))
}

pub(crate) fn dead(group: &GroupName, id: EventId) -> Vec<u8> {
    let mut key = of_group(Table::Dead, group);
    key.extend_from_slice(id.as_bytes());
    key
}

/// A quota owner's row in one of its tables.
pub(crate) fn of_owner(table: Table, owner: &QuotaOwner) -> Vec<u8> {
    match owner {
        QuotaOwner::Account(id) => of_account(table, id.0),
        QuotaOwner::Domain(domain) => of_domain(table, domain),
    }
}

pub(crate) fn of_account(table: Table, account: Uuid) -> Vec<u8> {
    key(table, &[b"a", account.as_bytes()])
}

pub(crate) fn of_domain(table: Table, domain: &str) -> Vec<u8> {
    key(table, &[b"d", domain.as_bytes()])
}

/// The format of all rows.
pub(crate) fn format() -> Vec<u8> {
    key(Table::Meta, &[b"format"])
}

/// Where the store stands.
pub(crate) fn state() -> Vec<u8> {
    key(Table::Meta, &[b"state"])
}

/// The last group that was committed.
pub(crate) fn group() -> Vec<u8> {
    key(Table::Meta, &[b"group"])
}

/// The last change of the directory.
pub(crate) fn directory() -> Vec<u8> {
    key(Table::Meta, &[b"directory"])
}

/// The installation's secret.
pub(crate) fn secret() -> Vec<u8> {
    key(Table::Meta, &[b"secret"])
}

/// In a segment: a chunk.
pub(crate) fn chunk(message: MessageId, index: u32) -> [u8; 20] {
    let mut key = [0; 20];
    let (id, rest) = key.split_at_mut(16);
    id.copy_from_slice(message.as_bytes());
    rest.copy_from_slice(&index.to_be_bytes());
    key
}

/// In a segment: the last batch that wrote to it. Shorter than any chunk's key.
pub(crate) const POSITION: [u8; 1] = [0];
