//! Rows as octets: one octet of version, then MessagePack. A field is never added without a new version.
//!
//! A row is written in the oldest version that has what it holds, so that whoever goes back to an earlier release loses
//! nothing but what that release doesn't know.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use mailhorn_events::{AccountId, EventId, Generation, Position, QuotaLimits, Stamp};
use mailhorn_ports::{
    Account, Alias, AppPassword, Ban, Credentials, Cursor, Letter, Name, ScramKeys, Target,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Fault;

const VERSION: u8 = 1;

/// The version of rows that hold what the first one had no place for: app passwords, a domain's alias and catch-all.
const VERSION_2: u8 = 2;

/// The version by which an alias is told from an account, whose table it shares.
const VERSION_ALIAS: u8 = 3;

/// The format of the store as a whole: keys, frames and which tables there are.
pub(crate) const FORMAT: u8 = 2;

/// The format before, which is read all the same: without groups and quotas. An earlier release must not write to a store
/// that has them, for it would let usage go stale and trim what groups have yet to see.
pub(crate) const FORMAT_WITHOUT_USAGE: u8 = 1;

/// Something with a row of its own.
pub(crate) trait Row: Serialize + DeserializeOwned {
    /// Versions in which it may be written.
    const VERSIONS: RangeInclusive<u8> = VERSION..=VERSION;

    /// The oldest version that has what this one holds.
    fn version(&self) -> u8 {
        *Self::VERSIONS.start()
    }
}

pub(crate) fn encode<R: Row>(row: &R) -> Vec<u8> {
    let mut octets = vec![row.version()];
    // Serialising plain fields into memory has no way to fail.
    if let Err(error) = row.serialize(&mut rmp_serde::Serializer::new(&mut octets)) {
        unreachable!("a row of plain fields was not serialisable: {error}");
    }
    octets
}

pub(crate) fn decode<R: Row>(octets: &[u8]) -> Result<R, Fault> {
    match octets {
        [version, row @ ..] if R::VERSIONS.contains(version) => {
            rmp_serde::from_slice(row).map_err(|error| Fault::Damaged(format!("a row is malformed: {error}")))
        }
        [version, ..] => Err(Fault::Damaged(format!(
            "a row has version {version} of a later release"
        ))),
        [] => Err(Fault::Damaged("a row is empty".into())),
    }
}

/// Where the store stands after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// Counts synced batches from 1.
    pub(crate) sequence: u64,
    /// The highest stamp in any row.
    pub(crate) stamp: u64,
    /// Whose log was written to last.
    pub(crate) generation: Uuid,
    /// The last record of that log.
    pub(crate) number: u64,
    /// Accounts without SCRAM keys.
    pub(crate) without_scram: u64,
}

/// A message in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) account: Uuid,
    pub(crate) stamp: u64,
    pub(crate) size: u64,
    pub(crate) received: u64,
    pub(crate) flags: Vec<String>,
    pub(crate) unique_id: Option<String>,
    pub(crate) prefix: Bytes,
}

/// A message's octets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Where its chunks are.
    pub(crate) segment: u64,
    pub(crate) chunks: u32,
    pub(crate) octets: u64,
    /// The mailboxes that have it.
    pub(crate) references: Vec<Uuid>,
}

/// How much a mailbox, an account or a domain holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct FigureRow {
    pub(crate) messages: u64,
    pub(crate) octets: u64,
}

/// A group that is known: when it was registered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownRow(pub(crate) u64);

/// How far a group is in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CursorRow {
    taken: u64,
    open: Vec<u64>,
}

/// A parked event or a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LetterRow {
    id: Uuid,
    generation: Uuid,
    number: u64,
    octets: Bytes,
    why: String,
    attempts: u32,
    since: u64,
    last: u64,
}

/// How many dead letters a group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct DeadCount(pub(crate) u64);

/// What an owner may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LimitsRow {
    messages: Option<u64>,
    octets: Option<u64>,
}

/// From where nobody is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BanRow {
    network: String,
    reason: String,
    since: u64,
    until: u64,
    pub(crate) kept_until: u64,
    node: String,
}

/// The threshold that was announced last, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Threshold(pub(crate) u8);

/// How much a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// Octets of chunks ever written, as far as was known at the last batch.
    pub(crate) written: u64,
    /// Octets of messages that have a row.
    pub(crate) live: u64,
    /// The last batch that relied on it; the segment has the same under [`crate::keys::POSITION`].
    pub(crate) sequence: u64,
}

/// Whose log a generation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogOwner {
    pub(crate) node: String,
}

/// When a note was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note(pub(crate) u64);

/// A row that says all by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Present;

/// The last group, so that a repetition is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupRow {
    pub(crate) generation: Uuid,
    pub(crate) first: u64,
    pub(crate) records: u64,
    /// Over the names of its changes.
    pub(crate) digest: u64,
    /// For each change its verdict: nothing, or a number for each recipient's outcome.
    pub(crate) verdicts: Vec<Option<Vec<u8>>>,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Domain {
    /// How many addresses there are: accounts and aliases.
    pub(crate) addresses: u64,
    /// From here on [`VERSION_2`].
    #[serde(default, skip_serializing_if = "DomainMore::is_nothing")]
    pub(crate) more: DomainMore,
}

/// What most domains have not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct DomainMore {
    pub(crate) alias_of: Option<String>,
    pub(crate) catch_all: Option<TargetRow>,
}

impl DomainMore {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// An account that something points to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetRow {
    address: String,
    pub(crate) account: Uuid,
}

/// Another address of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AliasRow {
    pub(crate) address: String,
    pub(crate) target: TargetRow,
    pub(crate) created: u64,
}

/// An account id's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address(pub(crate) String);

/// The installation's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secret(pub(crate) [u8; 32]);

/// An account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountRow {
    pub(crate) id: Uuid,
    pub(crate) address: String,
    pub(crate) created: u64,
    pub(crate) stamp: u64,
    pub(crate) hash: String,
    pub(crate) scram: Option<ScramRow>,
    /// As [`AppPassword`] writes itself. From here on [`VERSION_2`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    app_passwords: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScramRow {
    salt: Vec<u8>,
    iterations: u32,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

/// A change of the directory, whole.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DirectoryRow {
    AddDomain(String),
    RemoveDomain(String),
    /// Makes the account or replaces it.
    PutAccount(AccountRow),
    RemoveAccount(AccountRow),
    ForgetRemoved(Uuid),
    /// From here on [`VERSION_2`].
    AddAliasDomain(String, String),
    SetCatchAll(String, Option<TargetRow>),
    AddAlias(AliasRow),
    RemoveAlias(AliasRow),
}

impl Row for State {}
impl Row for View {}
impl Row for Message {}
impl Row for FigureRow {}
impl Row for KnownRow {}
impl Row for CursorRow {}
impl Row for LetterRow {}
impl Row for DeadCount {}
impl Row for LimitsRow {}
impl Row for BanRow {}
impl Row for Threshold {}
impl Row for Segment {}
impl Row for Note {}
impl Row for LogOwner {}
impl Row for Present {}
impl Row for GroupRow {}

impl Row for Domain {
    const VERSIONS: RangeInclusive<u8> = VERSION..=VERSION_2;

    fn version(&self) -> u8 {
        if self.more.is_nothing() {
            VERSION
        } else {
            VERSION_2
        }
    }
}

impl Row for AccountRow {
    const VERSIONS: RangeInclusive<u8> = VERSION..=VERSION_2;

    fn version(&self) -> u8 {
        if self.app_passwords.is_empty() {
            VERSION
        } else {
            VERSION_2
        }
    }
}

impl Row for AliasRow {
    const VERSIONS: RangeInclusive<u8> = VERSION_ALIAS..=VERSION_ALIAS;
}

impl Row for DirectoryRow {
    const VERSIONS: RangeInclusive<u8> = VERSION..=VERSION_2;

    fn version(&self) -> u8 {
        match self {
            Self::AddDomain(_) | Self::RemoveDomain(_) | Self::ForgetRemoved(_) => VERSION,
            Self::PutAccount(account) | Self::RemoveAccount(account) => account.version(),
            Self::AddAliasDomain(..) | Self::SetCatchAll(..) | Self::AddAlias(_) | Self::RemoveAlias(_) => {
                VERSION_2
            }
        }
    }
}

impl Row for Address {}
impl Row for Secret {}

impl From<&Cursor> for CursorRow {
    fn from(cursor: &Cursor) -> Self {
        Self {
            taken: cursor.taken,
            open: cursor.open.iter().copied().collect(),
        }
    }
}

impl From<CursorRow> for Cursor {
    fn from(row: CursorRow) -> Self {
        Self {
            taken: row.taken,
            open: row.open.into_iter().collect(),
        }
    }
}

impl From<&Letter> for LetterRow {
    fn from(letter: &Letter) -> Self {
        Self {
            id: letter.id.0,
            generation: letter.position.generation.0,
            number: letter.position.number,
            octets: letter.octets.clone(),
            why: letter.why.clone(),
            attempts: letter.attempts,
            since: letter.since.0,
            last: letter.last.0,
        }
    }
}

impl From<LetterRow> for Letter {
    fn from(row: LetterRow) -> Self {
        Self {
            id: EventId(row.id),
            position: Position {
                generation: Generation(row.generation),
                number: row.number,
            },
            octets: row.octets,
            why: row.why,
            attempts: row.attempts,
            since: Stamp(row.since),
            last: Stamp(row.last),
        }
    }
}

impl From<&Ban> for BanRow {
    fn from(ban: &Ban) -> Self {
        Self {
            network: ban.network.to_string(),
            reason: ban.reason.clone(),
            since: ban.since.0,
            until: ban.until.0,
            kept_until: ban.kept_until.0,
            node: ban.node.clone(),
        }
    }
}

impl TryFrom<BanRow> for Ban {
    type Error = Fault;

    fn try_from(row: BanRow) -> Result<Self, Fault> {
        let network = row.network.parse();
        Ok(Self {
            network: network.map_err(|_| Fault::Damaged(format!("a ban is of {:?}", row.network)))?,
            reason: row.reason,
            since: Stamp(row.since),
            until: Stamp(row.until),
            kept_until: Stamp(row.kept_until),
            node: row.node,
        })
    }
}

impl From<QuotaLimits> for LimitsRow {
    fn from(limits: QuotaLimits) -> Self {
        let QuotaLimits { messages, octets } = limits;
        Self { messages, octets }
    }
}

impl From<LimitsRow> for QuotaLimits {
    fn from(row: LimitsRow) -> Self {
        let LimitsRow { messages, octets } = row;
        Self { messages, octets }
    }
}

/// An address: an account's or an alias's.
pub(crate) fn decode_name(octets: &[u8]) -> Result<Name, Fault> {
    match octets.first() {
        Some(&VERSION_ALIAS) => Ok(Name::Alias(Arc::new(Alias::from(decode::<AliasRow>(octets)?)))),
        _ => Ok(Name::Account(Arc::new(decode::<AccountRow>(octets)?.try_into()?))),
    }
}

impl From<&Target> for TargetRow {
    fn from(target: &Target) -> Self {
        Self {
            address: target.address.clone(),
            account: target.account.0,
        }
    }
}

impl From<TargetRow> for Target {
    fn from(row: TargetRow) -> Self {
        Self {
            address: row.address,
            account: AccountId(row.account),
        }
    }
}

impl From<&Alias> for AliasRow {
    fn from(alias: &Alias) -> Self {
        Self {
            address: alias.address.clone(),
            target: TargetRow::from(&alias.target),
            created: alias.created.0,
        }
    }
}

impl From<AliasRow> for Alias {
    fn from(row: AliasRow) -> Self {
        Self {
            address: row.address,
            target: row.target.into(),
            created: Stamp(row.created),
        }
    }
}

impl From<&Account> for AccountRow {
    fn from(account: &Account) -> Self {
        Self {
            id: account.id.0,
            address: account.address.clone(),
            created: account.created.0,
            stamp: account.credentials.stamp.0,
            hash: account.credentials.hash.clone(),
            scram: account.credentials.scram.as_ref().map(|keys| ScramRow {
                salt: keys.salt.clone(),
                iterations: keys.iterations,
                stored_key: keys.stored_key,
                server_key: keys.server_key,
            }),
            app_passwords: account
                .credentials
                .app_passwords
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}

impl TryFrom<AccountRow> for Account {
    type Error = Fault;

    fn try_from(row: AccountRow) -> Result<Self, Fault> {
        let app_passwords = row.app_passwords.iter().map(|text| text.parse::<AppPassword>());
        let app_passwords = app_passwords.collect::<Result<_, _>>();
        let scram = row.scram.map(|keys| ScramKeys {
            salt: keys.salt,
            iterations: keys.iterations,
            stored_key: keys.stored_key,
            server_key: keys.server_key,
        });
        Ok(Self {
            id: AccountId(row.id),
            address: row.address,
            credentials: Credentials {
                stamp: Stamp(row.stamp),
                hash: row.hash,
                scram,
                app_passwords: app_passwords.map_err(|error| Fault::Damaged(error.to_string()))?,
            },
            created: Stamp(row.created),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The row of an account as the first release wrote it: fields by their place, not by their name.
    #[test]
    fn an_account_that_the_first_release_wrote_is_read_as_it_was() {
        let mut written = vec![VERSION, 0x96, 0xC4, 16];
        written.extend([7; 16]);
        written.extend(b"\xA3a@b\x01\x02\xA9$argon2id\x94\x92\x05\x06\xCD\x10\x00");
        for key in [3, 4] {
            written.extend([0xDC, 0, 32]);
            written.extend([key; 32]);
        }
        let account = Account::try_from(decode::<AccountRow>(&written).unwrap()).unwrap();
        let expected = Account {
            id: AccountId::from_bytes([7; 16]),
            address: "a@b".into(),
            credentials: Credentials {
                stamp: Stamp(2),
                hash: "$argon2id".into(),
                scram: Some(ScramKeys {
                    salt: vec![5, 6],
                    iterations: 4_096,
                    stored_key: [3; 32],
                    server_key: [4; 32],
                }),
                app_passwords: Vec::new(),
            },
            created: Stamp(1),
        };
        assert_eq!(account, expected);
        assert_eq!(encode(&AccountRow::from(&account)), written);
    }

    /// A domain without what came later, too.
    #[test]
    fn a_domain_that_the_first_release_wrote_is_read_as_it_was() {
        let written = [VERSION, 0x91, 7];
        let domain: Domain = decode(&written).unwrap();
        let expected = Domain {
            addresses: 7,
            more: DomainMore::default(),
        };
        assert_eq!(domain, expected);
        assert_eq!(encode(&domain), written);
    }

    /// Whoever went back would take an alias for nobody, and refuse its mail for good: so the row can't be read as anything.
    #[test]
    fn what_the_first_release_does_not_know_has_a_version_that_it_does_not_know() {
        let alias = Alias {
            address: "info@example.org".into(),
            target: Target {
                address: "ann@example.org".into(),
                account: AccountId::from_bytes([7; 16]),
            },
            created: Stamp(5),
        };
        let row = encode(&AliasRow::from(&alias));
        assert!(row.first() > Some(&VERSION));
        assert!(matches!(decode::<AccountRow>(&row), Err(Fault::Damaged(_))));
        assert_eq!(decode_name(&row).unwrap(), Name::Alias(Arc::new(alias)));
        let domain = Domain {
            addresses: 1,
            more: DomainMore {
                alias_of: Some("example.com".into()),
                catch_all: None,
            },
        };
        assert!(encode(&domain).first() > Some(&VERSION));
        assert_eq!(decode::<Domain>(&encode(&domain)).unwrap(), domain);
    }
}
