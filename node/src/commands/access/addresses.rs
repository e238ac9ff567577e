//! Aliases, catch-alls and app passwords.

use serde_json::json;

use super::{Access, all_pages, query};
use crate::operations::PAGE_ENTRIES_MAX;
use crate::operations::views::{Alias, AppPassword, NewAppPassword, Recipient};

impl Access {
    pub(in crate::commands) fn set_catch_all(&self, domain: &str, of: Option<&str>) -> anyhow::Result<()> {
        let path = ["domains", domain, "catch-all"];
        match (self, of) {
            (Self::Running(client), Some(of)) => client.put(&path, &json!({ "address": of })).map(drop),
            (Self::Running(client), None) => client.delete(&path).map(drop),
            (Self::Stopped(stopped), of) => {
                stopped.run(async |operations| operations.set_catch_all(domain, of).await)
            }
        }
    }

    pub(in crate::commands) fn recipient(&self, address: &str) -> anyhow::Result<Recipient> {
        match self {
            Self::Running(client) => client.get(&["recipients", address], &[]),
            Self::Stopped(stopped) => stopped.run(async |operations| operations.recipient(address).await),
        }
    }

    pub(in crate::commands) fn add_alias(&self, alias: &str, address: &str) -> anyhow::Result<Alias> {
        match self {
            Self::Running(client) => {
                client.post(&["aliases"], &json!({ "alias": alias, "address": address }))
            }
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.add_alias(alias, address).await)
            }
        }
    }

    pub(in crate::commands) fn remove_alias(&self, alias: &str) -> anyhow::Result<()> {
        match self {
            Self::Running(client) => client.delete(&["aliases", alias]).map(drop),
            Self::Stopped(stopped) => stopped.run(async |operations| operations.remove_alias(alias).await),
        }
    }

    pub(in crate::commands) fn aliases(&self) -> anyhow::Result<Vec<Alias>> {
        all_pages(|after| match self {
            Self::Running(client) => client.get(&["aliases"], &query(after)),
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.aliases(after, PAGE_ENTRIES_MAX).await)
            }
        })
    }

    pub(in crate::commands) fn aliases_of(&self, address: &str) -> anyhow::Result<Vec<Alias>> {
        all_pages(|after| match self {
            Self::Running(client) => client.get(&["users", address, "aliases"], &query(after)),
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.aliases_of(address, after, PAGE_ENTRIES_MAX).await)
            }
        })
    }

    pub(in crate::commands) fn add_app_password(
        &self,
        address: &str,
        name: &str,
        services: &[String],
    ) -> anyhow::Result<NewAppPassword> {
        match self {
            Self::Running(client) => client.post(
                &["users", address, "app-passwords"],
                &json!({ "name": name, "services": services }),
            ),
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.add_app_password(address, name, services).await)
            }
        }
    }

    pub(in crate::commands) fn remove_app_password(&self, address: &str, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Running(client) => client
                .delete(&["users", address, "app-passwords", name])
                .map(drop),
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.remove_app_password(address, name).await)
            }
        }
    }

    pub(in crate::commands) fn app_passwords(&self, address: &str) -> anyhow::Result<Vec<AppPassword>> {
        match self {
            Self::Running(client) => client.get(&["users", address, "app-passwords"], &[]),
            Self::Stopped(stopped) => stopped.run(async |operations| operations.app_passwords(address).await),
        }
    }
}
