//! The driver by itself, with the statements that a delivery and a poll come to.

use anyhow::Context as _;
use bytes::Bytes;
use cassandra_protocol::compression::Compression;
use cassandra_protocol::consistency::Consistency;
use cassandra_protocol::frame::Version;
use cassandra_protocol::query::{PreparedQuery, QueryValues};
use cassandra_protocol::types::value::Value;
use cdrs_tokio::cluster::session::{Session, SessionBuilder as _, TcpSessionBuilder};
use cdrs_tokio::cluster::{NodeTcpConfigBuilder, TcpConnectionManager};
use cdrs_tokio::load_balancing::RoundRobinLoadBalancingStrategy;
use cdrs_tokio::statement::StatementParamsBuilder;
use cdrs_tokio::transport::TransportTcp;
use mailhorn_events::{MessageId, Stamp};
use uuid::Uuid;

use crate::nodes::Nodes;

type Tcp = Session<
    TransportTcp,
    TcpConnectionManager,
    RoundRobinLoadBalancingStrategy<TransportTcp, TcpConnectionManager>,
>;

/// Deliveries that share one append to the log, and one list of what is coming: about what a node's groups hold under this
/// load.
const GROUP: u64 = 32;

pub(crate) struct Bare {
    session: Tcp,
    lives: PreparedQuery,
    note: PreparedQuery,
    upload: PreparedQuery,
    chunk: PreparedQuery,
    reference: PreparedQuery,
    append: PreparedQuery,
    row: PreparedQuery,
    account: PreparedQuery,
    start: PreparedQuery,
    list: PreparedQuery,
}

impl Bare {
    pub(crate) async fn connect(nodes: &Nodes) -> anyhow::Result<Self> {
        let config = NodeTcpConfigBuilder::new()
            .with_contact_point(nodes.cassandra.as_str().into())
            .with_version(Version::V5)
            .build()
            .await?;
        let session = TcpSessionBuilder::new(RoundRobinLoadBalancingStrategy::new(), config)
            .with_compression(Compression::Lz4)
            .with_keyspace(nodes.keyspace.clone())
            .build()
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let prepare = |cql: &'static str| {
            let session = &session;
            async move { session.prepare(cql).await.with_context(|| cql) }
        };
        Ok(Self {
            lives: prepare("SELECT address FROM account_ids WHERE id = ?").await?,
            note: prepare("SELECT taken FROM notes WHERE mailbox_id = ? AND day IN ? AND note = ?").await?,
            upload: prepare("INSERT INTO seals (generation, last) VALUES (?, ?)").await?,
            chunk: prepare("INSERT INTO chunks (message_id, chunk, octets) VALUES (?, ?, ?) USING TIMESTAMP ?").await?,
            reference: prepare("INSERT INTO message_references (message_id, mailbox_id) VALUES (?, ?) USING TIMESTAMP ?").await?,
            append: prepare("INSERT INTO log_records (generation, part, first, last, records, notes, appended, previous) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?").await?,
            row: prepare("INSERT INTO mailbox_view (mailbox_id, message_id, account_id, stamp, size, received, flags, unique_id, prefix, chunks) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?").await?,
            account: prepare("SELECT address, id, created, stamp, argon2id, scram_salt, scram_iterations, scram_stored_key, scram_server_key FROM accounts WHERE address = ?").await?,
            start: prepare("SELECT start, below FROM mailbox_start WHERE mailbox_id = ? LIMIT ?").await?,
            list: prepare("SELECT message_id, size, received, stamp, unique_id FROM mailbox_view WHERE mailbox_id = ? AND message_id > ? LIMIT ?").await?,
            session,
        })
    }

    async fn run(&self, statement: &PreparedQuery, values: Vec<Value>) -> anyhow::Result<()> {
        let parameters = StatementParamsBuilder::new()
            .with_consistency(Consistency::LocalQuorum)
            .with_values(QueryValues::SimpleValues(values))
            .build();
        self.session.exec_with_params(statement, &parameters).await?;
        Ok(())
    }

    /// What one delivery of `octets` to one mailbox comes to.
    pub(crate) async fn deliver(
        &self,
        number: u64,
        mailbox: Uuid,
        log: Uuid,
        octets: &Bytes,
    ) -> anyhow::Result<()> {
        let stamp = Stamp(1_800_000_000_000_000 + number);
        let message = MessageId::new(stamp, number.to_be_bytes()).0;
        let (id, time) = (value(mailbox.as_bytes()), bigint(stamp.0));
        let shares = number.is_multiple_of(GROUP);
        // Two days, as the default window of a retry reaches from yesterday to today.
        let (length, yesterday, today) = (
            4u32.to_be_bytes(),
            20_000u32.to_be_bytes(),
            20_001u32.to_be_bytes(),
        );
        let days = [2u32.to_be_bytes(), length, yesterday, length, today].concat();
        // At RCPT.
        self.run(&self.account, vec![value(b"u00050@example.org")])
            .await?;
        let coming = async {
            match shares {
                true => {
                    self.run(&self.upload, vec![value(message.as_bytes()), bigint(number)])
                        .await
                }
                false => Ok(()),
            }
        };
        tokio::try_join!(
            self.run(&self.lives, vec![id.clone()]),
            self.run(&self.note, vec![id.clone(), value(&days), value(&[7; 32])]),
            coming,
        )?;
        tokio::try_join!(
            self.run(
                &self.chunk,
                vec![value(message.as_bytes()), int(0), value(octets), time.clone()]
            ),
            self.run(
                &self.reference,
                vec![value(message.as_bytes()), id.clone(), time.clone()]
            ),
        )?;
        if shares {
            let records = vec![b'r'; 300 * GROUP as usize];
            let numbers = [bigint(number), bigint(number + GROUP)];
            let mut values = vec![value(log.as_bytes()), int(0)];
            values.extend(numbers);
            values.extend([
                value(&records),
                value(&[]),
                time.clone(),
                time.clone(),
                time.clone(),
                int(604_800),
            ]);
            self.run(&self.append, values).await?;
        }
        let values = vec![
            id.clone(),
            value(message.as_bytes()),
            id,
            time.clone(),
            bigint(10_240),
            time.clone(),
            Value::Null,
            Value::Null,
            value(&[b'p'; 80]),
            int(1),
            time,
        ];
        self.run(&self.row, values).await
    }

    /// What one log-in with a listing comes to.
    pub(crate) async fn poll(&self, address: &str, mailbox: Uuid) -> anyhow::Result<()> {
        self.run(&self.account, vec![value(address.as_bytes())]).await?;
        self.run(&self.start, vec![value(mailbox.as_bytes()), int(100_000)])
            .await?;
        let first = MessageId::new(Stamp(0), [0; 8]).0;
        self.run(
            &self.list,
            vec![value(mailbox.as_bytes()), value(first.as_bytes()), int(1_000)],
        )
        .await
    }
}

fn value(octets: &[u8]) -> Value {
    Value::Some(octets.to_vec())
}

fn bigint(number: u64) -> Value {
    value(&number.to_be_bytes())
}

fn int(number: i32) -> Value {
    value(&number.to_be_bytes())
}
