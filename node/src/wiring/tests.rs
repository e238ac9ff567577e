//! A node with its edge, on the store in memory.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use mailhorn_events::{AccountId, Generation, MailboxId, Stamp};
use mailhorn_ports::memory::MemoryStore;
use mailhorn_ports::{Credentials, Directory, Forever, MailStore, Membership, NewAccount};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::stores::Stores;
use super::{live, run_on};
use crate::clock::SystemClock;
use crate::listeners::{Listeners, Taken};
use crate::settings::{Settings, Sources};
use crate::tls::Tls;

const ALICE: &str = "alice@example.org";

fn stores(store: &MemoryStore) -> Stores {
    let store = Arc::new(store.clone());
    Stores {
        shared: None,
        mail: store.clone(),
        groups: store.clone(),
        quota: store.clone(),
        bans: store.clone(),
        directory: store,
        secret: [7; 32],
        lease: Arc::new(Forever),
    }
}

async fn with_alice() -> (MemoryStore, AccountId) {
    let store = MemoryStore::new();
    store.add_domain("example.org").await.unwrap();
    let account = NewAccount {
        id: AccountId::from_bytes([1; 16]),
        address: ALICE.into(),
        credentials: Credentials {
            stamp: Stamp(1),
            hash: String::new(),
            scram: None,
            app_passwords: Vec::new(),
        },
        created: Stamp(1),
    };
    let id = store.add_account(account).await.unwrap().id;
    (store, id)
}

/// Settings of a node that takes mail over LMTP alone.
fn settings(data_dir: &std::path::Path) -> Settings {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut settings = Sources::default().load().unwrap();
    settings.node.data_dir = data_dir.to_path_buf();
    settings.smtp.listen = vec![];
    settings.lmtp.listen = vec![any];
    settings.pop3.listen = vec![];
    settings.pop3.listen_tls = vec![];
    settings.admin.listen = vec![any];
    settings
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let mut client = Self(BufReader::new(TcpStream::connect(address).await.unwrap()));
        client.reply().await;
        client.ask("LHLO client.example.org").await;
        client
    }

    /// The code of the next reply.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.chars().take(3).collect();
            }
        }
    }

    async fn ask(&mut self, line: &str) -> String {
        let line = format!("{line}\r\n");
        self.0.get_mut().write_all(line.as_bytes()).await.unwrap();
        self.reply().await
    }

    /// The code of the reply after the data.
    async fn deliver(&mut self, subject: &str) -> String {
        self.ask("MAIL FROM:<bob@example.org>").await;
        self.ask(&format!("RCPT TO:<{ALICE}>")).await;
        assert_eq!(self.ask("DATA").await, "354");
        self.ask(&format!("Subject: {subject}\r\n\r\nx\r\n.")).await
    }
}

/// A log that another process has ended is not written to: its client is told so, and the node goes on with another log on
/// the same address, in the same process, until it is asked to stop.
#[actix::test]
async fn a_node_whose_log_was_ended_refuses_and_goes_on_with_another() {
    let (store, alice) = with_alice().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path());
    let tls = Tls::load(&settings, Arc::new(SystemClock)).unwrap();
    let settings = Mutex::new(settings);
    let (stop, stopped) = watch::channel(false);
    let mut asked = stopped.clone();
    let shutdown = async move { drop(asked.wait_for(|stop| *stop).await) };
    let shutdown = shutdown.boxed_local().shared();
    let (told, mut lives) = tokio::sync::mpsc::channel(4);
    let (begin, on) = (shutdown.clone(), store.clone());
    let ended = actix_rt::spawn(async move {
        live(shutdown, async |ended: &BTreeSet<Generation>| {
            let listeners = Listeners::bind(&settings.lock(), Taken::Refuse)?;
            let lmtp = listeners.addresses()?.lmtp;
            // The next life is to have the same address.
            settings.lock().lmtp.listen.clone_from(&lmtp);
            let life = Arc::new(settings.lock().clone());
            let node = run_on(stores(&on), life, tls.clone(), listeners, ended, begin.clone()).await?;
            told.try_send((lmtp[0], ended.clone())).unwrap();
            Ok(node)
        })
        .await
    });
    let (first, before) = lives.recv().await.unwrap();
    assert!(before.is_empty());
    let mut client = Client::connect(first).await;
    assert_eq!(client.deliver("one").await, "250");
    let [(log, _)] = store.logs().await.unwrap()[..] else {
        panic!("one log has begun");
    };
    store.adopt(log).await.unwrap();
    assert_eq!(client.deliver("two").await, "451");
    let (second, before) = lives.recv().await.unwrap();
    assert_eq!((second, before), (first, [log].into()));
    assert_eq!(Client::connect(second).await.deliver("two").await, "250");
    assert_eq!(
        store.list(MailboxId::inbox(alice), None, 9).await.unwrap().len(),
        2
    );
    stop.send_replace(true);
    ended.await.unwrap().unwrap();
}
