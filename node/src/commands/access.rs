//! The way to what a command works on: through the running node, or the store itself while no node runs.
//!
//! Never both at once: the lock of an embedded store decides. A store that nodes of a cluster share needs no such choice.

mod addresses;

use std::sync::Arc;

use anyhow::Context;
use mailhorn_embedded::OpenError;
use mailhorn_ports::Forever;
use mailhorn_sasl::Secret;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::admin::IMPORT_USERS_MAX;
use crate::client::{self, Client};
use crate::operations::offline::{Offline, open_store};
use crate::operations::views::{Domain, Imported, Mailbox, Message, NewUser, Page, Removed, User};
use crate::operations::{OperationError, Operations, PAGE_ENTRIES_MAX};
use crate::settings::Settings;
use crate::settings::value::Backend;
use crate::wiring::open_cassandra;

/// A password as it was typed.
pub(super) struct Password(String);

impl Password {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    fn secret(&self) -> Secret {
        Secret::new(self.0.as_bytes())
    }
}

/// An open way.
#[derive(Debug)]
pub(super) enum Access {
    Running(Client),
    Stopped(Box<Stopped>),
}

#[derive(Debug)]
pub(super) struct Stopped {
    runtime: Runtime,
    offline: Offline,
}

impl Stopped {
    pub(super) fn run<T>(
        &self,
        operation: impl AsyncFnOnce(&Operations) -> Result<T, OperationError>,
    ) -> anyhow::Result<T> {
        Ok(self.runtime.block_on(operation(&self.offline.operations))?)
    }
}

impl Access {
    /// Opens the store, or finds the node that has it open.
    pub(super) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        if settings.store.backend == Backend::Cassandra {
            return Self::shared(settings, runtime);
        }
        match open_store(settings, runtime.handle().clone()) {
            Ok(store) => {
                let offline = runtime.block_on(Offline::new(settings, store))?;
                Ok(Self::Stopped(Box::new(Stopped { runtime, offline })))
            }
            Err(OpenError::InUse { .. }) => running(settings).map(Self::Running),
            Err(error) => Err(error.into()),
        }
    }

    /// The node that runs on this data folder, or else the keyspace, where other nodes may be at work meanwhile.
    fn shared(settings: &Settings, runtime: Runtime) -> anyhow::Result<Self> {
        if let Ok(client) = running_node(settings) {
            return Ok(Self::Running(client));
        }
        // A command writes what it writes within moments, and has no heartbeat.
        let store = runtime.block_on(open_cassandra(
            settings,
            Arc::new(Forever),
            runtime.handle().clone(),
        ))?;
        let offline = runtime.block_on(Offline::new(settings, store))?;
        Ok(Self::Stopped(Box::new(Stopped { runtime, offline })))
    }

    /// Ends it well.
    pub(super) fn close(self) -> anyhow::Result<()> {
        if let Self::Stopped(stopped) = self {
            let Stopped { runtime, offline } = *stopped;
            runtime.block_on(offline.close())?;
        }
        Ok(())
    }

    pub(super) fn add_domain(&self, name: &str, alias_of: Option<&str>) -> anyhow::Result<Domain> {
        match self {
            Self::Running(client) => {
                client.post(&["domains"], &json!({ "name": name, "alias_of": alias_of }))
            }
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.add_domain(name, alias_of).await)
            }
        }
    }

    pub(super) fn remove_domain(&self, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Running(client) => client.delete(&["domains", name]).map(drop),
            Self::Stopped(stopped) => stopped.run(async |operations| operations.remove_domain(name).await),
        }
    }

    pub(super) fn domains(&self) -> anyhow::Result<Vec<Domain>> {
        all_pages(|after| match self {
            Self::Running(client) => client.get(&["domains"], &query(after)),
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.domains(after, PAGE_ENTRIES_MAX).await)
            }
        })
    }

    pub(super) fn add_user(&self, address: &str, password: &Password) -> anyhow::Result<User> {
        match self {
            Self::Running(client) => {
                client.post(&["users"], &json!({ "address": address, "password": password.0 }))
            }
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.add_user(address, &password.secret()).await)
            }
        }
    }

    pub(super) fn set_password(&self, address: &str, password: &Password) -> anyhow::Result<()> {
        match self {
            Self::Running(client) => client
                .put(
                    &["users", address, "password"],
                    &json!({ "password": password.0 }),
                )
                .map(drop),
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.set_password(address, &password.secret()).await)
            }
        }
    }

    pub(super) fn remove_user(&self, address: &str) -> anyhow::Result<Removed> {
        match self {
            Self::Running(client) => client::read(client.delete(&["users", address])?),
            Self::Stopped(stopped) => stopped.run(async |operations| operations.remove_user(address).await),
        }
    }

    pub(super) fn users(&self) -> anyhow::Result<Vec<User>> {
        all_pages(|after| match self {
            Self::Running(client) => client.get(&["users"], &query(after)),
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.users(after, PAGE_ENTRIES_MAX).await)
            }
        })
    }

    /// Makes accounts, as many at a time as the API takes.
    pub(super) fn import_users(&self, users: &[NewUser]) -> anyhow::Result<Vec<Imported>> {
        let mut imported = Vec::with_capacity(users.len());
        for part in users.chunks(IMPORT_USERS_MAX) {
            imported.extend(match self {
                Self::Running(client) => client.post::<Vec<Imported>>(&["users", "import"], &part)?,
                Self::Stopped(stopped) => {
                    stopped.run(async |operations| Ok(operations.import_users(part).await))?
                }
            });
        }
        Ok(imported)
    }

    pub(super) fn mailboxes(&self) -> anyhow::Result<Vec<Mailbox>> {
        all_pages(|after| match self {
            Self::Running(client) => client.get(&["mailboxes"], &query(after)),
            Self::Stopped(stopped) => {
                stopped.run(async |operations| operations.mailboxes(after, PAGE_ENTRIES_MAX).await)
            }
        })
    }

    pub(super) fn mailboxes_of(&self, address: &str) -> anyhow::Result<Vec<Mailbox>> {
        match self {
            Self::Running(client) => client.get(&["users", address, "mailboxes"], &[]),
            Self::Stopped(stopped) => stopped.run(async |operations| operations.mailboxes_of(address).await),
        }
    }

    pub(super) fn messages(&self, address: &str, mailbox: &str) -> anyhow::Result<Vec<Message>> {
        all_pages(|after| match self {
            Self::Running(client) => client.get(
                &["users", address, "mailboxes", mailbox, "messages"],
                &query(after),
            ),
            Self::Stopped(stopped) => stopped.run(async |operations| {
                operations
                    .messages(address, mailbox, after, PAGE_ENTRIES_MAX)
                    .await
            }),
        })
    }
}

/// The node that has the store open.
fn running(settings: &Settings) -> anyhow::Result<Client> {
    let data_dir = settings.node.data_dir.display();
    let client = Client::of_folder(&settings.node.data_dir)
        .with_context(|| format!("{data_dir} is in use by a running node, and the node can't be asked"))?;
    client.check().with_context(|| {
        format!(
            "{data_dir} is in use by another process, and no node answers at {}; if another mailhorn command runs \
             there, wait until it has ended",
            client.address()
        )
    })?;
    Ok(client)
}

/// The node that runs on this data folder, for what only a running node can do.
pub(super) fn running_node(settings: &Settings) -> anyhow::Result<Client> {
    let data_dir = &settings.node.data_dir;
    let client = Client::of_folder(data_dir)
        .and_then(|client| client.check().map(|()| client))
        .with_context(|| {
            format!(
                "no node runs on {}: only a running one can do this",
                data_dir.display()
            )
        })?;
    Ok(client)
}

pub(super) fn all_pages<T>(page: impl Fn(Option<&str>) -> anyhow::Result<Page<T>>) -> anyhow::Result<Vec<T>> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let Page { items, next } = page(after.as_deref())?;
        all.extend(items);
        match next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

pub(super) fn query(after: Option<&str>) -> Vec<(&'static str, &str)> {
    after.map(|after| ("after", after)).into_iter().collect()
}
