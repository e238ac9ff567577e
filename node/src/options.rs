//! Settings as the parts of the node take them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use mailhorn_core::auth::{Argon2Cost, AuthOptions, FailureLimits, ScramOffer};
use mailhorn_core::bans::{BanLimits, BanOptions};
use mailhorn_core::events::FeedOptions;
use mailhorn_core::quota::QuotaOptions;
use mailhorn_core::recipients::RecipientOptions;
use mailhorn_embedded::Options as StoreOptions;
use mailhorn_events::QuotaLimits;
use mailhorn_pop3::Announced;
use mailhorn_ports::{ListenerOptions, QuotaDefaults};
use mailhorn_smtp::Address;

use crate::settings::value::ByteSize;
use crate::settings::{Scram, Settings};

/// The operation log's file in the data folder.
const OPERATION_LOG_FILE: &str = "operations.jsonl";

impl Settings {
    /// The folder of the embedded store.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.node.data_dir.clone()
    }

    /// Of the embedded store.
    #[must_use]
    pub fn embedded_options(&self) -> StoreOptions {
        let store = &self.store;
        StoreOptions {
            segment_octets_max: store.segment_size.octets(),
            journal_octets_max: store.journal_size.octets(),
            cache_octets: store.cache_size.octets(),
            workers: count(store.workers),
            reads_max: count(store.reads),
            accounts_cached_max: count(store.accounts_cached),
            reopen_after: store.reopen_after,
        }
    }

    /// Of the authenticator.
    #[must_use]
    pub fn auth_options(&self) -> AuthOptions {
        let auth = &self.auth;
        AuthOptions {
            scram: match auth.scram {
                Scram::Auto => ScramOffer::Auto,
                Scram::On => ScramOffer::On,
                Scram::Off => ScramOffer::Off,
            },
            scram_iterations: auth.scram_iterations,
            trusted_networks: auth.trusted_networks.clone(),
            argon2: Argon2Cost {
                memory_kib: u32::try_from(auth.argon2_memory.octets() / 1_024).unwrap_or(u32::MAX),
                passes: auth.argon2_passes,
                lanes: auth.argon2_lanes,
            },
            waiting_max: count(auth.hash_queue),
            remembered_max: count(auth.remembered),
            failures: FailureLimits {
                of_pair_max: auth.max_failures_per_pair,
                of_address_max: auth.max_failures_per_address,
                counted_for: auth.failure_time,
                entries_max: NonZeroUsize::new(count(auth.failure_entries)).unwrap_or(NonZeroUsize::MIN),
            },
            ..AuthOptions::default()
        }
    }

    /// Of bans.
    #[must_use]
    pub fn ban_options(&self) -> BanOptions {
        let bans = &self.bans;
        let spared = self.auth.trusted_networks.iter().chain(&self.net.proxy_networks);
        BanOptions {
            limits: BanLimits {
                failed_log_ins_max: bans.after_failed_log_ins,
                abuses_max: bans.after_abuse,
                within: bans.within,
                time: bans.time,
                time_max: bans.time_max,
                entries_max: NonZeroUsize::new(count(bans.max_entries)).unwrap_or(NonZeroUsize::MIN),
            },
            spared: spared.copied().collect(),
            refresh: bans.refresh,
            node: self.node.name.as_str().to_owned(),
        }
    }

    /// The limits of owners for whom none were set.
    #[must_use]
    pub fn quota_defaults(&self) -> QuotaDefaults {
        QuotaDefaults {
            user: self.user_limits(),
            domain: self.domain_limits(),
        }
    }

    /// Of whoever asks whether mail fits.
    #[must_use]
    pub fn quota_options(&self) -> QuotaOptions {
        QuotaOptions {
            defaults: self.quota_defaults(),
            refresh: self.quota.refresh,
            cached_max: count(self.store.accounts_cached),
        }
    }

    /// How listeners in groups are run.
    #[must_use]
    pub fn listener_options(&self) -> ListenerOptions {
        ListenerOptions {
            concurrency: count(self.events.concurrency),
            execution_timeout: self.events.execution_timeout,
            ..ListenerOptions::default()
        }
    }

    /// What a user may hold that has no limits of its own.
    #[must_use]
    pub fn user_limits(&self) -> QuotaLimits {
        QuotaLimits {
            messages: self.quota.user_messages,
            octets: self.quota.user_size.map(ByteSize::octets),
        }
    }

    /// What a domain may hold that has no limits of its own.
    #[must_use]
    pub fn domain_limits(&self) -> QuotaLimits {
        QuotaLimits {
            messages: self.quota.domain_messages,
            octets: self.quota.domain_size.map(ByteSize::octets),
        }
    }

    /// Of the live feed.
    #[must_use]
    pub fn feed_options(&self) -> FeedOptions {
        FeedOptions {
            memory_octets: usize::try_from(self.feed.memory.octets()).unwrap_or(usize::MAX),
            linger: self.feed.linger,
            clients_max: count(self.feed.max_clients),
        }
    }

    /// What POP3 announces in CAPA. A delay that isn't of whole seconds is announced as the next longer one that is.
    #[must_use]
    pub fn announced(&self) -> Announced {
        let delay = self.pop3.login_delay;
        let seconds = delay
            .as_secs()
            .saturating_add(u64::from(delay.subsec_nanos() > 0));
        Announced {
            expire: self.pop3.announce_expire,
            login_delay_seconds: NonZeroU32::new(u32::try_from(seconds).unwrap_or(u32::MAX)),
            implementation: self.pop3.implementation.clone(),
        }
    }

    /// Where the operation log is written.
    #[must_use]
    pub fn operation_log_path(&self) -> PathBuf {
        let path = self.operation_log.path.clone();
        path.unwrap_or_else(|| self.node.data_dir.join(OPERATION_LOG_FILE))
    }

    /// Events that may be on their way to the webhook at a time.
    #[must_use]
    pub fn webhook_concurrency(&self) -> usize {
        count(self.webhook.concurrency)
    }

    /// Dead letters of a group that are given out at a time.
    #[must_use]
    pub fn redeliver_limit(&self) -> usize {
        count(self.events.redeliver_limit)
    }

    /// How recipients are found.
    #[must_use]
    pub fn recipient_options(&self) -> RecipientOptions {
        RecipientOptions {
            detail_separator: self.smtp.detail_separator.map(|separator| separator.0),
            postmaster: self.postmaster(),
        }
    }

    /// Who gets the mail for `Postmaster`, without a domain or at one that has no such address.
    #[must_use]
    pub fn postmaster(&self) -> Address {
        self.smtp.postmaster.clone().unwrap_or_else(|| {
            let postmaster = Address::new("postmaster", self.smtp.hostname.clone());
            postmaster.expect("a host name that leaves no room for it is not allowed")
        })
    }
}

fn count(setting: u32) -> usize {
    usize::try_from(setting).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;

    #[test]
    fn the_defaults_of_the_settings_are_those_of_the_parts() {
        let settings = Sources::default().load().unwrap();
        assert_eq!(settings.auth_options(), AuthOptions::default());
        assert_eq!(settings.embedded_options(), StoreOptions::default());
        assert_eq!(settings.quota_options(), QuotaOptions::default());
        assert_eq!(settings.listener_options(), ListenerOptions::default());
    }

    #[test]
    fn the_longest_host_name_that_is_allowed_has_a_postmaster() {
        let of_length = |length: usize| {
            let name: String = "abcdefghi.".chars().cycle().take(length).collect();
            let environment = [("MAILHORN__SMTP__HOSTNAME".to_owned(), name)].into();
            Sources {
                environment,
                ..Sources::default()
            }
            .load()
        };
        let longest = (1..=255).rev().find_map(|length| of_length(length).ok()).unwrap();
        assert_eq!(longest.postmaster().local_part(), "postmaster");
        assert!(of_length(252).is_err());
    }

    #[test]
    fn whatever_the_settings_allow_the_authenticator_takes() {
        for (memory, passes, lanes, iterations) in [
            ("8MiB", "1", "1", "4096"),
            ("256MiB", "32", "16", "1000000"),
            ("8MiB", "1", "16", "15000"),
        ] {
            let environment = [
                ("MAILHORN__AUTH__ARGON2_MEMORY", memory),
                ("MAILHORN__AUTH__ARGON2_PASSES", passes),
                ("MAILHORN__AUTH__ARGON2_LANES", lanes),
                ("MAILHORN__AUTH__SCRAM_ITERATIONS", iterations),
            ];
            let environment = environment
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
            let settings = Sources {
                environment,
                ..Sources::default()
            }
            .load()
            .unwrap();
            assert_eq!(settings.auth_options().validate(), Ok(()));
        }
    }
}
