//! The event system of a node: the bus, the listeners that ship with it, and how they end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use anyhow::Context as _;
use mailhorn_cassandra::ContentSweeper;
use mailhorn_core::drain::DrainWatch;
use mailhorn_core::events::{BusDeps, EventBus, FeedHub, Members, Threads};
use mailhorn_core::supervisor::Supervisor;
use mailhorn_events::Happening;
use mailhorn_listeners::operation_log::OperationLog;
use mailhorn_listeners::quota::{QuotaThresholds, QuotaThresholdsDeps};
use mailhorn_listeners::webhook::{Webhook, WebhookError, WebhookOptions};
use mailhorn_ports::{GroupName, Listener, ListenerOptions, Scope};
use tokio::sync::watch;

use super::Parts;
use super::redelivery::Redelivery;
use crate::clock::SystemClock;
use crate::settings::Settings;

/// How long groups may take to end: their own grace for calls under way, and something to save cursors in.
const FINISH_DEADLINE: Duration = Duration::from_secs(10);

/// Events that the quota's listener is shown at once: of many for one user it looks once.
const QUOTA_BATCH_MAX: usize = 256;

/// Listeners that can't be made where a setting is wrong, so that they are made before anything begins.
#[derive(Debug)]
pub(super) struct Shipped {
    operation_log: Option<Arc<OperationLog>>,
    webhook: Option<Arc<Webhook>>,
}

impl Shipped {
    /// Those that the settings switch on. The data folder, where the operation log may lie, must be there.
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            operation_log: operation_log(settings)?.map(Arc::new),
            webhook: webhook(settings)?.map(Arc::new),
        })
    }
}

/// What listens in a node.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) bus: EventBus,
    pub(super) feed: FeedHub,
    /// Listeners' actors have a thread of their own, so that none of them holds up a session.
    arbiter: Arbiter,
    /// Who is there; groups watch it. A node that is alone has no reason to change it.
    pub(super) members: watch::Sender<Arc<Members>>,
}

impl Listening {
    /// Registers the listeners that the settings switch on. The log must have begun.
    pub(super) async fn start(
        parts: &Parts,
        settings: &Settings,
        supervisor: &Addr<Supervisor>,
        drain: &DrainWatch,
    ) -> anyhow::Result<Self> {
        let arbiter = Arbiter::new();
        let (members, watched) = watch::channel(Arc::new(Members::alone(parts.generation)));
        let bus = EventBus::new(BusDeps {
            mail: Arc::clone(&parts.store),
            store: Arc::clone(&parts.groups),
            dispatch: parts.dispatch.clone(),
            log: parts.log.clone(),
            ids: parts.ids.clone(),
            generation: parts.generation,
            node: part_of_a_group_name(settings.node.name.as_str())?,
            members: watched,
            supervisor: supervisor.clone(),
            home: arbiter.handle(),
            threads: Threads::Own,
            retention: settings.events.retention,
            metrics: Arc::clone(&parts.metrics),
            kinds: Arc::clone(&parts.kinds),
        });
        let listening = Self {
            feed: FeedHub::new(bus.clone(), parts.generation, settings.feed_options()),
            bus,
            arbiter,
            members,
        };
        listening.register(parts, settings).await?;
        listening.tell_of_the_rest(parts).await?;
        listening.redeliver(parts, settings, drain);
        Ok(listening)
    }

    /// The listeners that ship with the node. Their groups' names are for ever: cursors and letters are found by them.
    async fn register(&self, parts: &Parts, settings: &Settings) -> anyhow::Result<()> {
        let options = settings.listener_options();
        // The store in the data folder removes octets with the last reference, in one write.
        if let Some(cluster) = &parts.cluster {
            let sweeper = ContentSweeper::new(cluster.store.clone());
            self.group("content", Arc::new(sweeper), options).await?;
        }
        if settings.quota.enabled {
            let thresholds = QuotaThresholds::new(QuotaThresholdsDeps {
                quota: Arc::clone(&parts.quota),
                writer: parts.writer(),
                ids: parts.ids.clone(),
                defaults: settings.quota_defaults(),
                percents: settings
                    .quota
                    .thresholds
                    .iter()
                    .map(|percent| percent.get())
                    .collect(),
            });
            let options = ListenerOptions {
                batch_max: QUOTA_BATCH_MAX,
                ..options
            };
            self.group("quota", Arc::new(thresholds), options).await?;
        }
        if let Some(operations) = &parts.shipped.operation_log {
            let options = ListenerOptions {
                execution_timeout: options.execution_timeout,
                ..OperationLog::listener_options()
            };
            let listener: Arc<dyn Listener> = operations.clone();
            self.group("operation-log", listener, options).await?;
        }
        if let Some(webhook) = &parts.shipped.webhook {
            let options = ListenerOptions {
                concurrency: settings.webhook_concurrency(),
                ..options
            };
            let listener: Arc<dyn Listener> = webhook.clone();
            self.group("webhook", listener, options).await?;
        }
        Ok(())
    }

    async fn group(
        &self,
        name: &str,
        listener: Arc<dyn Listener>,
        options: ListenerOptions,
    ) -> anyhow::Result<()> {
        let registered = self
            .bus
            .register_group(name.parse()?, Scope::Local, listener, options);
        registered
            .await
            .with_context(|| format!("the listener {name} can't be registered"))
    }

    /// The log is kept for a group that was known before, whether somebody runs it or not.
    async fn tell_of_the_rest(&self, parts: &Parts) -> anyhow::Result<()> {
        let registered = self.bus.groups().into_iter().map(|group| group.stored_as);
        let registered: Vec<GroupName> = registered.collect();
        let known = parts.groups.groups().await?.into_iter().map(|known| known.name);
        for group in known.filter(|name| !registered.contains(name)) {
            tracing::warn!(%group, "the log is kept for a group whose listener is switched off: \
                                    mailhorn events forget {group} ends that");
        }
        Ok(())
    }

    fn redeliver(&self, parts: &Parts, settings: &Settings, drain: &DrainWatch) {
        let every = settings.events.redeliver_every;
        if every.is_zero() {
            return;
        }
        let redelivery = Redelivery {
            bus: self.bus.clone(),
            store: Arc::clone(&parts.groups),
            every,
            limit: settings.redeliver_limit(),
        };
        self.arbiter.spawn(redelivery.run(drain.clone()));
    }

    /// Ends the groups: what is under way may end, cursors are saved.
    pub(super) async fn finish(&self) {
        self.bus.finish(FINISH_DEADLINE).await;
    }

    /// Ends their thread.
    pub(super) fn stop(&self) {
        self.arbiter.stop();
    }
}

/// The operation log, where it is switched on.
fn operation_log(settings: &Settings) -> anyhow::Result<Option<OperationLog>> {
    if !settings.operation_log.enabled {
        return Ok(None);
    }
    let path = settings.operation_log_path();
    let opened = OperationLog::open(&path)
        .with_context(|| format!("operation_log.path: {} can't be written", path.display()))?;
    Ok(Some(opened))
}

/// The webhook, where one is set.
fn webhook(settings: &Settings) -> anyhow::Result<Option<Webhook>> {
    let (Some(url), Some(secret_file)) = (&settings.webhook.url, &settings.webhook.secret_file) else {
        return Ok(None);
    };
    let secret = std::fs::read(secret_file)
        .with_context(|| format!("webhook.secret_file: {} can't be read", secret_file.display()))?;
    let chosen = settings.webhook.events.iter().map(|kind| kind.name());
    let kinds: BTreeSet<&'static str> = match chosen.collect::<BTreeSet<_>>() {
        // An empty list is every kind.
        none if none.is_empty() => Happening::NAMES.into(),
        chosen => chosen,
    };
    let options = WebhookOptions {
        url: url.as_str().to_owned(),
        // Editors end a file with a line end, which nobody means to be part of a secret.
        secret: secret.trim_ascii_end().to_vec(),
        kinds,
        timeout: settings.webhook.timeout,
    };
    let webhook = Webhook::new(options, Arc::new(SystemClock)).map_err(|error| {
        let setting = match error {
            WebhookError::Secret => "webhook.secret_file",
            WebhookError::Kind(_) | WebhookError::NoKinds => "webhook.events",
            WebhookError::Timeout => "webhook.timeout",
            WebhookError::Url(_) | WebhookError::Roots(_) => "webhook.url",
        };
        anyhow::Error::new(error).context(setting)
    })?;
    Ok(Some(webhook))
}

/// A node's name as it stands in the names of groups, which have fewer characters.
fn part_of_a_group_name(node: &str) -> anyhow::Result<GroupName> {
    let plain = node.to_ascii_lowercase().replace('_', "-");
    let begins_well = plain.starts_with(|first: char| first.is_ascii_lowercase());
    let name = if begins_well { plain } else { format!("n{plain}") };
    name.parse()
        .with_context(|| format!("node.name: {node} can't be a part of a group's name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_name_can_stand_in_a_groups_name() {
        for (node, expected) in [
            ("mailhorn", "mailhorn"),
            ("Node_1.a", "node-1.a"),
            ("7", "n7"),
            ("-x", "n-x"),
        ] {
            assert_eq!(part_of_a_group_name(node).unwrap().as_str(), expected);
        }
        assert!(part_of_a_group_name(&"9".repeat(63)).is_ok(), "the longest");
    }
}
