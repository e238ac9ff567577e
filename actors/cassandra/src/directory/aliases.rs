//! Aliases: rows of the accounts' table that name an account, and where they are listed.

use std::sync::Arc;

use futures_util::future::{try_join, try_join_all};
use mailhorn_events::AccountId;
use mailhorn_ports::{Alias, Directory, DirectoryError, Name, StoreError, domain_of};

use super::{is_applied, shard};
use crate::session::Cql;
use crate::statements::Statement;
use crate::store::CassandraStore;
use crate::values::{bigint, int, text, uuid};

/// Makes an alias whose address was found free.
pub(super) async fn add(cql: &dyn Cql, alias: &Alias) -> Result<(), DirectoryError> {
    let Alias {
        address,
        target,
        created,
    } = alias;
    let (id, stamp) = (uuid(target.account.0), bigint(created.0));
    let account = cql.run(
        Statement::AddToAccount,
        vec![id.clone(), text(address), stamp.clone()],
    );
    let domain = vec![
        text(domain_of(address)),
        int(shard(address)),
        text(address),
        stamp.clone(),
    ];
    try_join(account, cql.run(Statement::AddAliasToDomain, domain)).await?;
    let values = vec![text(address), stamp, text(&target.address), id];
    match is_applied(&cql.run(Statement::AddAlias, values).await?) {
        true => Ok(()),
        // Where it is listed needs no mending: whoever reads that looks at the address itself.
        false => Err(DirectoryError::Exists(address.clone())),
    }
}

/// Removes an alias as it was found.
pub(super) async fn remove(cql: &dyn Cql, alias: &Alias) -> Result<(), DirectoryError> {
    let Alias {
        address,
        target,
        created,
    } = alias;
    let id = uuid(target.account.0);
    let values = vec![text(address), id.clone(), bigint(created.0)];
    if !is_applied(&cql.run(Statement::RemoveAlias, values).await?) {
        return Err(DirectoryError::NotFound(address.clone()));
    }
    // Just above what was written when it was made, so that one made later under this address keeps its own.
    let stamp = bigint(created.next().0);
    let account = cql.run(
        Statement::RemoveFromAccount,
        vec![stamp.clone(), id, text(address)],
    );
    let domain = vec![
        stamp,
        text(domain_of(address)),
        int(shard(address)),
        text(address),
    ];
    try_join(account, cql.run(Statement::RemoveAliasFromDomain, domain)).await?;
    Ok(())
}

/// At most `limit` aliases of an account.
pub(super) async fn of_account(
    store: &CassandraStore,
    account: AccountId,
    after: &str,
    limit: usize,
) -> Result<Vec<Arc<Alias>>, StoreError> {
    let (mut after, mut found) = (after.to_owned(), Vec::new());
    loop {
        let left = i32::try_from(limit - found.len()).unwrap_or(i32::MAX);
        let values = vec![uuid(account.0), text(&after), int(left)];
        let rows = store.cql().run(Statement::OfAccount, values).await?;
        let addresses = rows
            .iter()
            .map(|row| row.text(0))
            .collect::<Result<Vec<_>, _>>()?;
        let names = try_join_all(addresses.iter().map(|address| store.name(address))).await?;
        found.extend(names.into_iter().filter_map(|name| match name {
            Some(Name::Alias(alias)) if alias.target.account == account => Some(alias),
            _ => None,
        }));
        match addresses.last() {
            Some(last) if found.len() < limit => after.clone_from(last),
            _ => return Ok(found),
        }
    }
}
