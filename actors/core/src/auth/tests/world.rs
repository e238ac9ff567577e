//! The world of these tests: a directory that can fail, and ids that repeat.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

use async_trait::async_trait;
use mailhorn_events::{AccountId, Stamp};
use mailhorn_ports::store::StoreError;
use mailhorn_ports::{
    Account, Alias, Clock, Credentials, Directory, DirectoryError, Ids, LocalDomain, Name, NewAccount,
    Random, Service, Target,
};
use mailhorn_sasl::Secret;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::{Argon2Cost, AuthOptions, Authenticator, Login, passwords};

pub(super) const CHEAP: Argon2Cost = Argon2Cost {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};
pub(super) const ITERATIONS: u32 = mailhorn_sasl::ITERATIONS_MIN;
pub(super) const INSTALLATION_SECRET: [u8; 32] = [3; 32];

/// Somebody far away.
pub(super) const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
pub(super) const OTHER_PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// Accounts in memory, and the faults of a store.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub(super) rows: Mutex<BTreeMap<String, Arc<Account>>>,
    /// Nothing can be read.
    pub(super) is_away: AtomicBool,
    /// Nothing can be written.
    pub(super) is_full: AtomicBool,
    pub(super) times_counted: AtomicU64,
    /// Who holds this holds back whoever sets credentials.
    pub(super) setting: tokio::sync::Mutex<()>,
    /// Who holds this holds back the answer of how many have no SCRAM keys.
    pub(super) counting: tokio::sync::Mutex<()>,
}

impl Accounts {
    fn readable(&self) -> Result<(), StoreError> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("it is away".to_owned()));
        }
        Ok(())
    }

    pub(super) fn get(&self, address: &str) -> Arc<Account> {
        Arc::clone(&self.rows.lock()[address])
    }

    pub(super) fn put(&self, address: &str, credentials: Credentials) {
        let id = AccountId::from_bytes([u8::try_from(address.len()).unwrap(); 16]);
        let account = Account {
            id,
            address: address.to_owned(),
            credentials,
            created: Stamp(1),
        };
        self.rows.lock().insert(address.to_owned(), Arc::new(account));
    }
}

#[async_trait]
impl Directory for Accounts {
    async fn name(&self, address: &str) -> Result<Option<Name>, StoreError> {
        self.readable()?;
        Ok(self.rows.lock().get(address).cloned().map(Name::Account))
    }

    async fn accounts_without_scram(&self) -> Result<u64, StoreError> {
        self.times_counted.fetch_add(1, Ordering::Relaxed);
        self.readable()?;
        let is_without = |account: &&Arc<Account>| account.credentials.scram.is_none();
        let without = self.rows.lock().values().filter(is_without).count();
        let _answer_may_go = self.counting.lock().await;
        Ok(without.try_into().unwrap())
    }

    async fn set_credentials(
        &self,
        address: &str,
        credentials: Credentials,
        expected: Option<Stamp>,
    ) -> Result<(), DirectoryError> {
        let _may_be_set = self.setting.lock().await;
        if self.is_full.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the disk is full".to_owned()).into());
        }
        let old = self.get(address);
        if expected.is_some_and(|expected| expected != old.credentials.stamp) {
            return Err(DirectoryError::Changed(address.to_owned()));
        }
        self.put(address, credentials);
        Ok(())
    }

    async fn domain(&self, _: &str) -> Result<Option<Arc<LocalDomain>>, StoreError> {
        unreachable!("a log-in does not ask this")
    }

    async fn domains(&self, _: Option<&str>, _: usize) -> Result<Vec<Arc<LocalDomain>>, StoreError> {
        unreachable!("a log-in does not ask this")
    }

    async fn aliases(&self, _: AccountId, _: Option<&str>, _: usize) -> Result<Vec<Arc<Alias>>, StoreError> {
        unreachable!("a log-in does not ask this")
    }

    async fn accounts(&self, _: Option<&str>, _: usize) -> Result<Vec<Arc<Account>>, StoreError> {
        unreachable!("a log-in does not ask this")
    }

    async fn add_domain(&self, _: &str) -> Result<(), DirectoryError> {
        unreachable!("a log-in does not do this")
    }

    async fn add_alias_domain(&self, _: &str, _: &str) -> Result<(), DirectoryError> {
        unreachable!("a log-in does not do this")
    }

    async fn set_catch_all(&self, _: &str, _: Option<Target>) -> Result<(), DirectoryError> {
        unreachable!("a log-in does not do this")
    }

    async fn add_alias(&self, _: Alias) -> Result<(), DirectoryError> {
        unreachable!("a log-in does not do this")
    }

    async fn remove_alias(&self, _: &str) -> Result<Arc<Alias>, DirectoryError> {
        unreachable!("a log-in does not do this")
    }

    async fn remove_domain(&self, _: &str) -> Result<(), DirectoryError> {
        unreachable!("a log-in does not do this")
    }

    async fn add_account(&self, _: NewAccount) -> Result<Arc<Account>, DirectoryError> {
        unreachable!("a log-in does not do this")
    }

    async fn remove_account(&self, _: &str) -> Result<Arc<Account>, DirectoryError> {
        unreachable!("a log-in does not do this")
    }

    async fn removed_accounts(&self) -> Result<Vec<Arc<Account>>, StoreError> {
        unreachable!("a log-in does not ask this")
    }

    async fn forget_removed(&self, _: AccountId) -> Result<(), StoreError> {
        unreachable!("a log-in does not do this")
    }
}

#[derive(Debug)]
struct StandingClock;

impl Clock for StandingClock {
    fn now_micros(&self) -> u64 {
        1
    }
}

/// Different octets at each call.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, octets: &mut [u8]) {
        let next = self.0.fetch_add(1, Ordering::Relaxed);
        octets
            .iter_mut()
            .zip(next.to_be_bytes().into_iter().rev().cycle())
            .for_each(|(octet, new)| *octet = new);
    }
}

/// An authenticator and what it stands on.
#[derive(Debug)]
pub(super) struct World {
    pub(super) accounts: Arc<Accounts>,
    pub(super) ids: Ids,
    pub(super) auth: Authenticator,
}

/// Cheap hashes, two at a time, otherwise the defaults.
pub(super) fn options() -> AuthOptions {
    AuthOptions {
        scram_iterations: ITERATIONS,
        argon2: CHEAP,
        hashes_at_once: NonZeroUsize::new(2).unwrap(),
        ..AuthOptions::default()
    }
}

impl World {
    /// `ann@example.org` has SCRAM keys, `bo@example.org` has none; the password of both is `tanstaaf`.
    pub(super) fn new(options: AuthOptions) -> Self {
        let ids = Ids::new(Arc::new(StandingClock), Arc::new(Counting::default()), Stamp(0));
        let accounts = Arc::new(Accounts::default());
        let directory: Arc<dyn Directory> = Arc::clone(&accounts) as _;
        let auth = Authenticator::new(options, directory, ids.clone(), INSTALLATION_SECRET).unwrap();
        let world = Self { accounts, ids, auth };
        world.set_password("ann@example.org", "tanstaaf");
        world.import("bo@example.org", "tanstaaf");
        world
    }

    pub(super) fn set_password(&self, address: &str, password: &str) {
        self.accounts.put(address, self.credentials(password));
    }

    /// As an account that came from a server which kept argon2id alone.
    pub(super) fn import(&self, address: &str, password: &str) {
        self.accounts.put(
            address,
            Credentials {
                scram: None,
                ..self.credentials(password)
            },
        );
    }

    fn credentials(&self, password: &str) -> Credentials {
        passwords::make_credentials(&self.ids, &Secret::new(password), CHEAP, ITERATIONS).unwrap()
    }

    /// Logs in with a password from [`PEER`].
    pub(super) async fn try_password(&self, name: &str, password: &str) -> Login {
        self.auth
            .password(Service::Pop3, PEER, name, &Secret::new(password))
            .await
    }

    /// The same, in words, with the seconds that it took and how often argon2 ran.
    pub(super) async fn measure(&self, name: &str, password: &str) -> (&'static str, u64, u64) {
        let (began, runs) = (Instant::now(), self.auth.counts().hash_runs);
        let login = self.try_password(name, password).await;
        let runs = self.auth.counts().hash_runs - runs;
        (word(&login), began.elapsed().as_secs(), runs)
    }
}

pub(super) fn word(login: &Login) -> &'static str {
    match login {
        Login::Accepted(_) => "accepted",
        Login::Refused => "refused",
        Login::TooManyFailures => "too many",
        Login::Unavailable => "unavailable",
    }
}

/// Polls a future once, as a session does whose client hangs up while it waits.
pub(super) async fn start_and_drop<F: Future>(future: F) {
    tokio::select! {
        biased;
        _ = future => panic!("it was to wait for something"),
        () = std::future::ready(()) => {}
    }
}

/// Runs `during` while one hash is being computed from its first poll to its last.
pub(super) async fn while_hashing<F: Future>(world: &World, during: F) -> F::Output {
    let (finish, finished) = sync_channel::<()>(1);
    let hashing = world.auth.hashers.run(move || finished.recv());
    let during = async move {
        let output = during.await;
        finish.send(()).unwrap();
        output
    };
    let (hashed, output) = tokio::join!(biased; hashing, during);
    assert_eq!(hashed, Ok(Ok(())));
    output
}
