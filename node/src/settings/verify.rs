//! What settings must be together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::value::{Plaintext, Replicas, SuiteName, TlsVersion, Value};
use super::{Problem, Problems, Settings};

/// Within this time a peer that is gone is found out, whatever the single settings are.
const GONE_PEER_TIME_MAX: Duration = Duration::from_secs(90);
/// Dead letters that are given out again come back after the pauses of their tries, so that more often is no use.
const REDELIVER_EVERY_MIN: Duration = Duration::from_secs(10);
/// Files are read that often at most.
const CERTIFICATES_CHECK_MIN: Duration = Duration::from_secs(1);
/// Connections of the admin server that feeds leave for commands, metrics and probes.
const ADMIN_CONNECTIONS_FREE_MIN: u32 = 16;

impl Settings {
    /// Checks the combinations.
    ///
    /// # Errors
    ///
    /// All that is wrong, each with the setting to change and what to do.
    pub fn verify(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        self.verify_certificate(&mut problems);
        self.verify_tls(&mut problems);
        self.verify_listeners(&mut problems);
        self.verify_smtp(&mut problems);
        self.verify_times(&mut problems);
        self.verify_events(&mut problems);
        self.verify_cassandra(&mut problems);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Problems(problems))
        }
    }

    /// Whether TLS is offered to clients of a listener at `address`: always with a certificate of the operator's,
    /// else (the self-signed one) only on this machine.
    #[must_use]
    pub fn offers_tls(&self, address: SocketAddr) -> bool {
        self.tls.certificate.is_some() || address.ip().to_canonical().is_loopback()
    }

    /// Every listener's setting with its addresses.
    fn listeners(&self) -> [(&'static str, &[SocketAddr]); 6] {
        [
            ("smtp.listen", &self.smtp.listen),
            ("smtp.listen_tls", &self.smtp.listen_tls),
            ("lmtp.listen", &self.lmtp.listen),
            ("pop3.listen", &self.pop3.listen),
            ("pop3.listen_tls", &self.pop3.listen_tls),
            ("admin.listen", &self.admin.listen),
        ]
    }

    fn verify_certificate(&self, problems: &mut Vec<Problem>) {
        match (&self.tls.certificate, &self.tls.key) {
            (Some(_), None) => {
                let why = "tls.certificate is set without it; set it to the file with the certificate's private key";
                problems.push(combination("tls.key", self.tls.key.to_toml(), why));
            }
            (None, Some(_)) => {
                let why = "tls.key is set without it; set it to the file with the key's certificate";
                problems.push(combination(
                    "tls.certificate",
                    self.tls.certificate.to_toml(),
                    why,
                ));
            }
            _ => {}
        }
        for (key, listeners) in [
            ("pop3.listen_tls", &self.pop3.listen_tls),
            ("smtp.listen_tls", &self.smtp.listen_tls),
        ] {
            if let Some(address) = listeners.iter().find(|address| !self.offers_tls(**address)) {
                let why = "the self-signed certificate is for loopback addresses alone; set tls.certificate and \
                           tls.key, or listen on a loopback address";
                problems.push(combination(key, address.to_toml(), why));
            }
        }
        let in_clear = self.auth.allow_plaintext == Plaintext::Always;
        let without_tls = self
            .pop3
            .listen
            .iter()
            .find(|address| !self.offers_tls(**address));
        if let Some(address) = without_tls.filter(|_| !in_clear) {
            let why = "clients from elsewhere need STLS to log in, and the self-signed certificate is for loopback \
                       addresses alone; set tls.certificate and tls.key, or listen on a loopback address, or (where \
                       something in front of the node does TLS) set auth.allow_plaintext to \"always\"";
            problems.push(combination("pop3.listen", address.to_toml(), why));
        }
    }

    fn verify_tls(&self, problems: &mut Vec<Problem>) {
        let tls = &self.tls;
        if tls.folder.is_some() && tls.certificate.is_none() {
            let why = "clients that ask for no name, or for one that no certificate has, are shown tls.certificate; set it \
                       and tls.key";
            problems.push(combination("tls.folder", tls.folder.to_toml(), why));
        }
        let can_do_13 = tls.suites.is_empty() || tls.suites.iter().any(SuiteName::is_of_tls13);
        if tls.min_version == TlsVersion::Tls13 && !can_do_13 {
            let why = "all of them are for TLS 1.2, and tls.min_version is 1.3; add some of TLS 1.3 (TLS_AES_…, \
                       TLS_CHACHA20_…), or set tls.min_version to \"1.2\"";
            problems.push(combination("tls.suites", tls.suites.to_toml(), why));
        }
        if !tls.check_every.is_zero() && tls.check_every < CERTIFICATES_CHECK_MIN {
            let why = format!(
                "set at least {}, or 0 for never",
                CERTIFICATES_CHECK_MIN.to_toml()
            );
            problems.push(combination("tls.check_every", tls.check_every.to_toml(), why));
        }
    }

    fn verify_cassandra(&self, problems: &mut Vec<Problem>) {
        let cassandra = &self.cassandra;
        if cassandra.user.is_some() != cassandra.password_file.is_some() {
            let why = "cassandra.user and cassandra.password_file need each other; set both or neither";
            problems.push(combination(
                "cassandra.password_file",
                cassandra.password_file.to_toml(),
                why,
            ));
        }
        if cassandra.ca_file.is_some() != cassandra.server_name.is_some() {
            let why =
                "cassandra.ca_file and cassandra.server_name need each other; set both for TLS, or neither";
            problems.push(combination(
                "cassandra.server_name",
                cassandra.server_name.to_toml(),
                why,
            ));
        }
        if let Replicas::Centres(centres) = &cassandra.replication
            && !centres.contains_key(cassandra.datacenter.as_str())
        {
            let why = "it names no replicas in cassandra.datacenter: nothing could be acknowledged there";
            problems.push(combination(
                "cassandra.replication",
                cassandra.replication.to_toml(),
                why,
            ));
        }
    }

    fn verify_listeners(&self, problems: &mut Vec<Problem>) {
        let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
        for (key, addresses) in self.listeners() {
            // Port 0 stands for any that is free, so it may be there more than once.
            for address in addresses.iter().filter(|address| address.port() != 0) {
                if let Some(other) = taken.insert(*address, key) {
                    let why = format!("{other} has the same address; give each listener its own");
                    problems.push(combination(key, address.to_toml(), why));
                }
            }
        }
    }

    fn verify_smtp(&self, problems: &mut Vec<Problem>) {
        if let Some(postmaster) = self
            .smtp
            .postmaster
            .as_ref()
            .filter(|address| address.needs_smtputf8())
        {
            let why = "mail that came without SMTPUTF8 goes to it too, and can't name it in its header; set an address \
                       with an ASCII local part";
            problems.push(combination("smtp.postmaster", postmaster.to_toml(), why));
        }
    }

    fn verify_times(&self, problems: &mut Vec<Problem>) {
        if self.bans.time_max < self.bans.time {
            let why = "it is shorter than bans.time; set it to at least as much";
            problems.push(combination("bans.time_max", self.bans.time_max.to_toml(), why));
        }
        let net = &self.net;
        // The system looks when a probe is due, and ends nothing that it has not probed.
        let idle = ("net.keepalive_idle", net.keepalive_idle);
        let user = ("net.user_timeout", net.user_timeout);
        let (key, longest) = if user.1 > idle.1 { user } else { idle };
        let found_out = longest.saturating_add(net.keepalive_interval);
        if found_out > GONE_PEER_TIME_MAX {
            let why = format!(
                "with net.keepalive_interval a peer that is gone is found out after up to {}; keep it within {}",
                found_out.to_toml(),
                GONE_PEER_TIME_MAX.to_toml(),
            );
            problems.push(combination(key, longest.to_toml(), why));
        }
    }
}

impl Settings {
    fn verify_events(&self, problems: &mut Vec<Problem>) {
        let (events, webhook) = (&self.events, &self.webhook);
        if !events.redeliver_every.is_zero() && events.redeliver_every < REDELIVER_EVERY_MIN {
            let why = format!(
                "letters that can't be delivered come back later than that; set at least {}, or 0 for never",
                REDELIVER_EVERY_MIN.to_toml()
            );
            let value = events.redeliver_every.to_toml();
            problems.push(combination("events.redeliver_every", value, why));
        }
        match (&webhook.url, &webhook.secret_file) {
            (Some(_), None) => {
                let why =
                    "webhook.url is set without it; set it to a file with the secret that signs what is sent";
                problems.push(combination(
                    "webhook.secret_file",
                    webhook.secret_file.to_toml(),
                    why,
                ));
            }
            (None, Some(_)) => {
                let why = "webhook.secret_file is set without it; set it to where events are to be sent";
                problems.push(combination("webhook.url", webhook.url.to_toml(), why));
            }
            _ => {}
        }
        if webhook.url.is_some() && webhook.timeout >= events.execution_timeout {
            // Else a receiver that is away would look like an event that can't be handled, and end in a dead letter.
            let why = "events.execution_timeout gives the call up before it; set it below that";
            problems.push(combination("webhook.timeout", webhook.timeout.to_toml(), why));
        }
        let free = self.admin.max_connections.saturating_sub(self.feed.max_clients);
        if !self.admin.listen.is_empty() && free < ADMIN_CONNECTIONS_FREE_MIN {
            let why = format!(
                "each client has a connection of admin.max_connections; leave {ADMIN_CONNECTIONS_FREE_MIN} of them for \
                 commands, metrics and probes"
            );
            let value = self.feed.max_clients.to_toml();
            problems.push(combination("feed.max_clients", value, why));
        }
    }
}

fn combination(key: &str, value: String, why: impl Into<String>) -> Problem {
    Problem::Combination {
        key: key.to_owned(),
        value,
        why: why.into(),
    }
}
