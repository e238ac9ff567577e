//! [`Directory`] on Cassandra.
//!
//! Whether a domain or an address exists is decided by lightweight transactions on one row; no mail takes that way. What
//! else speaks of an account or an alias (its id, its place among others) is written before it exists and removed after it
//! does not, so whoever reads those looks at the address's own row before he believes them.

mod aliases;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::{try_join_all, try_join4};
use mailhorn_events::{AccountId, Stamp};
use mailhorn_ports::{
    Account, Alias, AppPassword, Credentials, Directory, DirectoryError, LocalDomain, Name, NewAccount,
    QuotaOwner, ScramKeys, StoreError, Target, domain_of,
};

use crate::quota;
use crate::session::Cql;
use crate::statements::Statement;
use crate::store::CassandraStore;
use crate::values::{Bind, Row, bigint, blob, int, list, text, uuid};

/// Partitions that what belongs together is spread over, where it may be much.
pub(crate) const SHARDS: i32 = 16;
/// Accounts without SCRAM keys that are counted in each shard: who asks wants to know whether there are any.
const WITHOUT_SCRAM_COUNTED_MAX: i32 = 1_000;
/// Domains that are read in one go.
const DOMAINS_PAGE: usize = 1_000;
/// First octets that an ordered listing looks at in one go.
const HEADS_AT_ONCE: usize = 16;

/// The shard of a name.
pub(crate) fn shard(name: &str) -> i32 {
    let sum = name
        .bytes()
        .fold(0u32, |sum, octet| sum.wrapping_mul(31).wrapping_add(octet.into()));
    i32::try_from(sum % SHARDS.unsigned_abs()).unwrap_or(0)
}

fn head(address: &str) -> i32 {
    address.bytes().next().map_or(0, i32::from)
}

/// The columns of an account's row, in the order of every statement that has them.
fn columns(account: &Account) -> Vec<Bind> {
    let mut values = vec![
        text(&account.address),
        uuid(account.id.0),
        bigint(account.created.0),
    ];
    values.extend(credentials_columns(&account.credentials));
    values
}

fn credentials_columns(credentials: &Credentials) -> [Bind; 7] {
    let scram = credentials.scram.as_ref();
    let app_passwords: Vec<String> = credentials
        .app_passwords
        .iter()
        .map(ToString::to_string)
        .collect();
    [
        bigint(credentials.stamp.0),
        text(&credentials.hash),
        scram.and_then(|keys| blob(&keys.salt)),
        scram.and_then(|keys| int(i32::try_from(keys.iterations).unwrap_or(i32::MAX))),
        scram.and_then(|keys| blob(&keys.stored_key)),
        scram.and_then(|keys| blob(&keys.server_key)),
        // Most have none, and null takes no room.
        (!app_passwords.is_empty())
            .then(|| list(app_passwords.iter().map(String::as_bytes)))
            .flatten(),
    ]
}

fn app_passwords(row: &Row) -> Result<Vec<AppPassword>, StoreError> {
    let parse = |text: &[u8]| {
        let text = std::str::from_utf8(text).map_err(|error| StoreError::Damaged(error.to_string()))?;
        text.parse()
            .map_err(|error| StoreError::Damaged(format!("{error}")))
    };
    row.list(9)?.iter().map(|text| parse(text)).collect()
}

fn account_of(row: &Row) -> Result<Arc<Account>, StoreError> {
    let key = |column| {
        let octets = row.blob(column);
        <[u8; 32]>::try_from(&octets[..])
            .map_err(|_| StoreError::Damaged("a SCRAM key has another length".into()))
    };
    let scram = match row.octets(5) {
        None => None,
        Some(salt) => Some(ScramKeys {
            salt: salt.to_vec(),
            iterations: u32::try_from(row.small(6)?).unwrap_or(0),
            stored_key: key(7)?,
            server_key: key(8)?,
        }),
    };
    Ok(Arc::new(Account {
        address: row.text(0)?,
        id: AccountId(row.uuid(1)?),
        created: Stamp(row.number(2)?),
        credentials: Credentials {
            stamp: Stamp(row.number(3)?),
            // The column has the name of the only kind of hash that the first release knew.
            hash: row.text(4)?,
            scram,
            app_passwords: app_passwords(row)?,
        },
    }))
}

fn name_of(row: &Row) -> Result<Name, StoreError> {
    let Some(of) = row.maybe_text(10)? else {
        return Ok(Name::Account(account_of(row)?));
    };
    Ok(Name::Alias(Arc::new(Alias {
        address: row.text(0)?,
        target: Target {
            address: of,
            account: AccountId(row.uuid(11)?),
        },
        created: Stamp(row.number(2)?),
    })))
}

fn domain_row(row: &Row) -> Result<Arc<LocalDomain>, StoreError> {
    let catch_all = row.maybe_text(2)?.zip(row.maybe_uuid(3)?);
    Ok(Arc::new(LocalDomain {
        name: row.text(0)?,
        alias_of: row.maybe_text(1)?,
        catch_all: catch_all.map(|(address, id)| Target {
            address,
            account: AccountId(id),
        }),
    }))
}

fn is_applied(rows: &[Row]) -> bool {
    rows.first().is_some_and(|row| row.flag(0))
}

/// The id and the address are known; when it was made orders this against the removal.
async fn add_names(cql: &dyn Cql, account: &Account) -> Result<(), StoreError> {
    let (address, stamp) = (&account.address, bigint(account.created.0));
    let id = cql.run(
        Statement::AddAccountId,
        vec![uuid(account.id.0), text(address), stamp.clone()],
    );
    let name = cql.run(
        Statement::AddName,
        vec![int(head(address)), text(address), stamp.clone()],
    );
    let (domain, shard) = (text(domain_of(address)), int(shard(address)));
    let values = vec![domain, shard, text(address), uuid(account.id.0), stamp];
    let domain = cql.run(Statement::AddToDomain, values);
    try_join4(id, name, domain, note_scram(cql, address, &account.credentials)).await?;
    Ok(())
}

async fn remove_names(cql: &dyn Cql, account: &Account) -> Result<(), StoreError> {
    // Just above what was written when it was made, so that an account made later under this address keeps its own.
    let (address, stamp) = (&account.address, bigint(account.created.next().0));
    let id = cql.run(
        Statement::RemoveAccountId,
        vec![stamp.clone(), uuid(account.id.0)],
    );
    let name = cql.run(
        Statement::RemoveName,
        vec![stamp.clone(), int(head(address)), text(address)],
    );
    let (domain, in_shard) = (text(domain_of(address)), int(shard(address)));
    let domain = cql.run(
        Statement::RemoveFromDomain,
        vec![stamp, domain, in_shard, text(address)],
    );
    let last = bigint(account.credentials.stamp.next().0);
    let scram = cql.run(
        Statement::RemoveWithoutScram,
        vec![last, int(shard(address)), text(address)],
    );
    try_join4(id, name, domain, scram).await?;
    Ok(())
}

/// Notes whether SCRAM keys are there. Of two changes of a password the later one counts.
async fn note_scram(cql: &dyn Cql, address: &str, credentials: &Credentials) -> Result<(), StoreError> {
    let (shard, address, stamp) = (int(shard(address)), text(address), bigint(credentials.stamp.0));
    match credentials.scram {
        None => {
            cql.run(Statement::AddWithoutScram, vec![shard, address, stamp])
                .await?
        }
        Some(_) => {
            cql.run(Statement::RemoveWithoutScram, vec![stamp, shard, address])
                .await?
        }
    };
    Ok(())
}

impl CassandraStore {
    fn cql(&self) -> &dyn Cql {
        &*self.0.cql
    }

    async fn present(&self, address: &str) -> Result<Arc<Account>, DirectoryError> {
        let account = self.account(address).await?;
        account.ok_or_else(|| DirectoryError::NotFound(address.to_owned()))
    }

    /// At most `limit` accounts of one first octet.
    async fn accounts_of_head(
        &self,
        head: i32,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Arc<Account>>, StoreError> {
        let (mut after, mut found) = (after.to_owned(), Vec::new());
        loop {
            let left = i32::try_from(limit - found.len()).unwrap_or(i32::MAX);
            let rows = self
                .cql()
                .run(Statement::Names, vec![int(head), text(&after), int(left)])
                .await?;
            let names = rows
                .iter()
                .map(|row| row.text(0))
                .collect::<Result<Vec<_>, _>>()?;
            let accounts = try_join_all(names.iter().map(|name| self.account(name))).await?;
            found.extend(accounts.into_iter().flatten());
            match names.last() {
                Some(last) if found.len() < limit => after.clone_from(last),
                _ => return Ok(found),
            }
        }
    }

    /// Whether an address is free, at a domain that has addresses of its own.
    async fn free(&self, address: &str) -> Result<(), DirectoryError> {
        if self.name(address).await?.is_some() {
            return Err(DirectoryError::Exists(address.to_owned()));
        }
        self.own_addresses(domain_of(address)).await
    }

    /// Whether a domain is local and no alias.
    async fn own_addresses(&self, domain: &str) -> Result<(), DirectoryError> {
        match self.domain(domain).await? {
            None => Err(DirectoryError::NoSuchDomain(domain.to_owned())),
            Some(row) if row.alias_of.is_some() => Err(DirectoryError::AliasDomain(domain.to_owned())),
            Some(_) => Ok(()),
        }
    }

    /// Makes a domain, or an alias of one.
    async fn make_domain(&self, domain: &str, alias_of: Option<&str>) -> Result<(), DirectoryError> {
        let values = vec![text(domain), alias_of.and_then(text)];
        match is_applied(&self.cql().run(Statement::AddDomain, values).await?) {
            true => Ok(()),
            false => Err(DirectoryError::Exists(domain.to_owned())),
        }
    }

    /// Whether a domain has accounts, by `OfDomain`, or aliases, by `AliasesOfDomain`.
    async fn has_addresses(&self, domain: &str, listing: Statement) -> Result<bool, StoreError> {
        let any = |shard| async move {
            let mut after = String::new();
            loop {
                let values = vec![text(domain), int(shard), text(&after), int(1)];
                let rows = self.cql().run(listing, values).await?;
                let Some(row) = rows.first() else {
                    return Ok::<_, StoreError>(false);
                };
                after = row.text(0)?;
                if self.name(&after).await?.is_some() {
                    return Ok(true);
                }
            }
        };
        Ok(try_join_all((0..SHARDS).map(any)).await?.contains(&true))
    }

    /// Whether other domains are aliases of this one. There are few domains beside accounts, and they are removed rarely.
    async fn has_alias_domains(&self, domain: &str) -> Result<bool, StoreError> {
        let mut after = None;
        loop {
            let page = self.domains(after.as_deref(), DOMAINS_PAGE).await?;
            if page.iter().any(|other| other.alias_of.as_deref() == Some(domain)) {
                return Ok(true);
            }
            match page.last() {
                Some(last) if page.len() == DOMAINS_PAGE => after = Some(last.name.clone()),
                _ => return Ok(false),
            }
        }
    }
}

#[async_trait]
impl Directory for CassandraStore {
    async fn name(&self, address: &str) -> Result<Option<Name>, StoreError> {
        let rows = self.cql().run(Statement::Name, vec![text(address)]).await?;
        rows.first().map(name_of).transpose()
    }

    async fn domain(&self, domain: &str) -> Result<Option<Arc<LocalDomain>>, StoreError> {
        let rows = self.cql().run(Statement::Domain, vec![text(domain)]).await?;
        rows.first().map(domain_row).transpose()
    }

    async fn domains(&self, after: Option<&str>, limit: usize) -> Result<Vec<Arc<LocalDomain>>, StoreError> {
        let limit = int(i32::try_from(limit).unwrap_or(i32::MAX));
        let rows = self
            .cql()
            .run(Statement::Domains, vec![text(after.unwrap_or_default()), limit])
            .await?;
        rows.iter().map(domain_row).collect()
    }

    async fn aliases(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<Alias>>, StoreError> {
        aliases::of_account(self, account, after.unwrap_or_default(), limit).await
    }

    async fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<Arc<Account>>, StoreError> {
        let after = after.unwrap_or_default();
        let heads: Vec<i32> = (head(after)..=i32::from(u8::MAX)).collect();
        let mut found = Vec::new();
        for heads in heads.chunks(HEADS_AT_ONCE) {
            let of_each = heads
                .iter()
                .map(|head| self.accounts_of_head(*head, after, limit));
            found.extend(try_join_all(of_each).await?.into_iter().flatten());
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok(found)
    }

    async fn accounts_without_scram(&self) -> Result<u64, StoreError> {
        let of_shard = |shard| async move {
            let rows = self
                .cql()
                .run(
                    Statement::WithoutScram,
                    vec![int(shard), int(WITHOUT_SCRAM_COUNTED_MAX)],
                )
                .await?;
            Ok::<_, StoreError>(u64::try_from(rows.len()).unwrap_or(u64::MAX))
        };
        Ok(try_join_all((0..SHARDS).map(of_shard)).await?.into_iter().sum())
    }

    async fn add_domain(&self, domain: &str) -> Result<(), DirectoryError> {
        self.make_domain(domain, None).await
    }

    async fn add_alias_domain(&self, domain: &str, of: &str) -> Result<(), DirectoryError> {
        self.own_addresses(of).await?;
        self.make_domain(domain, Some(of)).await
    }

    async fn set_catch_all(&self, domain: &str, target: Option<Target>) -> Result<(), DirectoryError> {
        let found = self.domain(domain).await?;
        let not_found = || DirectoryError::NotFound(domain.to_owned());
        if found.ok_or_else(not_found)?.alias_of.is_some() {
            return Err(DirectoryError::AliasDomain(domain.to_owned()));
        }
        let (address, id) = target.map(|target| (target.address, target.account)).unzip();
        let values = vec![
            address.as_deref().and_then(text),
            id.and_then(|id| uuid(id.0)),
            text(domain),
        ];
        match is_applied(&self.cql().run(Statement::SetCatchAll, values).await?) {
            true => Ok(()),
            false => Err(not_found()),
        }
    }

    async fn remove_domain(&self, domain: &str) -> Result<(), DirectoryError> {
        if self.has_addresses(domain, Statement::OfDomain).await?
            || self.has_addresses(domain, Statement::AliasesOfDomain).await?
            || self.has_alias_domains(domain).await?
        {
            return Err(DirectoryError::NotEmpty(domain.to_owned()));
        }
        // Before it is gone: whoever is interrupted removes it once more.
        quota::forget(&self.0, &QuotaOwner::Domain(domain.to_owned())).await?;
        match is_applied(
            &self
                .cql()
                .run(Statement::RemoveDomain, vec![text(domain)])
                .await?,
        ) {
            true => Ok(()),
            false => Err(DirectoryError::NotFound(domain.to_owned())),
        }
    }

    async fn add_account(&self, account: NewAccount) -> Result<Arc<Account>, DirectoryError> {
        let NewAccount {
            id,
            address,
            credentials,
            created,
        } = account;
        self.free(&address).await?;
        let account = Account {
            id,
            address,
            credentials,
            created,
        };
        self.0.saw(created.max(account.credentials.stamp));
        add_names(self.cql(), &account).await?;
        if is_applied(&self.cql().run(Statement::AddAccount, columns(&account)).await?) {
            return Ok(Arc::new(account));
        }
        // Another one was made in between. Its names are there, for they don't depend on the id; this id is nobody's.
        let values = vec![bigint(account.created.next().0), uuid(account.id.0)];
        self.cql().run(Statement::RemoveAccountId, values).await?;
        if let Some(other) = self.account(&account.address).await? {
            add_names(self.cql(), &other).await?;
        }
        Err(DirectoryError::Exists(account.address))
    }

    async fn add_alias(&self, alias: Alias) -> Result<(), DirectoryError> {
        self.free(&alias.address).await?;
        self.0.saw(alias.created);
        aliases::add(self.cql(), &alias).await
    }

    async fn remove_alias(&self, address: &str) -> Result<Arc<Alias>, DirectoryError> {
        let Some(Name::Alias(alias)) = self.name(address).await? else {
            return Err(DirectoryError::NotFound(address.to_owned()));
        };
        aliases::remove(self.cql(), &alias).await?;
        Ok(alias)
    }

    async fn set_credentials(
        &self,
        address: &str,
        credentials: Credentials,
        expected: Option<Stamp>,
    ) -> Result<(), DirectoryError> {
        loop {
            let account = self.present(address).await?;
            let before = account.credentials.stamp;
            if expected.is_some_and(|expected| expected != before) {
                return Err(DirectoryError::Changed(address.to_owned()));
            }
            self.0.saw(credentials.stamp);
            if credentials.scram.is_none() {
                note_scram(self.cql(), address, &credentials).await?;
            }
            let mut values = Vec::from(credentials_columns(&credentials));
            values.extend([text(address), uuid(account.id.0), bigint(before.0)]);
            if is_applied(&self.cql().run(Statement::SetCredentials, values).await?) {
                return Ok(note_scram(self.cql(), address, &credentials).await?);
            }
            // Somebody changed them in between; whoever expects nothing wins over that.
        }
    }

    async fn remove_account(&self, address: &str) -> Result<Arc<Account>, DirectoryError> {
        let account = self.present(address).await?;
        // Before it is gone: a crash in between leaves a note of an account that lives, which is passed over.
        let mut values = columns(&account);
        values.push(bigint(account.credentials.stamp.0));
        self.cql().run(Statement::AddRemoved, values).await?;
        let values = vec![text(address), uuid(account.id.0)];
        if !is_applied(&self.cql().run(Statement::RemoveAccount, values).await?) {
            return Err(DirectoryError::NotFound(address.to_owned()));
        }
        remove_names(self.cql(), &account).await?;
        Ok(account)
    }

    async fn removed_accounts(&self) -> Result<Vec<Arc<Account>>, StoreError> {
        let rows = self.cql().run(Statement::Removed, Vec::new()).await?;
        let noted = rows.iter().map(account_of).collect::<Result<Vec<_>, _>>()?;
        let living = try_join_all(noted.iter().map(|account| self.account(&account.address))).await?;
        let is_gone = |(account, living): &(Arc<Account>, Option<Arc<Account>>)| {
            living.as_ref().is_none_or(|living| living.id != account.id)
        };
        let gone = noted.into_iter().zip(living).filter(is_gone);
        Ok(gone.map(|(account, _)| account).collect())
    }

    async fn forget_removed(&self, id: AccountId) -> Result<(), StoreError> {
        quota::forget(&self.0, &QuotaOwner::Account(id)).await?;
        let stamp = bigint(self.0.now().0);
        self.cql()
            .run(Statement::ForgetRemoved, vec![stamp, uuid(id.0)])
            .await?;
        Ok(())
    }
}
