//! The table of settings. Each line is key, kind, default and range; the text above it is its documentation
//! everywhere: here, in the reference, and in the file that `mailhorn config default` prints.
//!
//! Zero never means unlimited. Where it is allowed, its meaning is stated.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use mailhorn_events::wire::Format;
use mailhorn_pop3::{Expire, Implementation};
use mailhorn_ports::GroupName;
use mailhorn_smtp::{Address, Domain};

use super::table::section;
use super::value::{
    Backend, ByteSize, Centre, EventKind, HostPort, HttpUrl, Keyspace, Levels, LocalSenders, Lock, LogFormat,
    NodeName, Percent, Plaintext, RedisTarget, Replicas, Scram, Separator, SuiteName, Threads, TlsVersion,
    Transport,
};

section!(
    /// Which node this is, and where it keeps what it has.
    Node {
        /// The name of this node in logs and metrics.
        name: NodeName = "mailhorn";
        /// The data folder: mail, accounts, the token of the admin API, the self-signed certificate. Made at the
        /// first start, for its owner alone. A relative path counts from the folder in which the node is started.
        data_dir: PathBuf = "./mailhorn-data";
        /// How long a stop waits for transactions and sessions that are under way, before it closes their
        /// connections. What was acknowledged is durable in any case.
        shutdown_deadline: Duration = "30s", "1s" to "10m";
        /// How many threads run sessions.
        threads: Threads = "cores";
    }
);

section!(
    /// The store of mail and accounts.
    Store {
        /// Where mail is kept: `embedded` is the data folder, without any other service and for one node; `cassandra` is a
        /// cluster of Apache Cassandra (`[cassandra]`), for as many nodes as one likes, which need a Redis (`[redis]`). The
        /// settings of this section, `store.backend` and `store.commit_timeout` aside, are for `embedded`.
        backend: Backend = "embedded";
        /// Memory for parts of the store's tables that are read often. It fills as it is used.
        cache_size: ByteSize = "32MiB", "1MiB" to "64GiB";
        /// How many accounts, and how many domains, are kept in memory.
        accounts_cached: u32 = "10000", "1" to "10000000";
        /// How large the store's journal may grow on disk before its oldest part is written to tables. A larger one
        /// makes the start after a crash slower.
        journal_size: ByteSize = "128MiB", "64MiB" to "4GiB";
        /// The size of the files that hold mail. Disk space comes back a file at a time.
        segment_size: ByteSize = "128MiB", "1MiB" to "4GiB";
        /// How many threads may read from the disk for sessions at a time.
        reads: u32 = "32", "1" to "1024";
        /// How many threads write tables and merge them.
        workers: u32 = "2", "1" to "64";
        /// How long a change may take to become durable before its sender is told that the outcome is unknown: 451,
        /// `-ERR [SYS/TEMP]`.
        commit_timeout: Duration = "30s", "1s" to "5m";
        /// How long the store waits, after a fault, between two tries to open it again.
        reopen_after: Duration = "1s", "100ms" to "1m";
    }
);

section!(
    /// Apache Cassandra 5, where `store.backend` is `cassandra`. What a `250` means then: a quorum of the replicas in the
    /// local data centre has the message in its commit log.
    Cassandra {
        /// Servers to ask first; all others are learnt from them. Name several: a node that begins while one is away needs
        /// another.
        contact_points: Vec<HostPort> = "127.0.0.1:9042";
        /// The data centre that is near. Only its servers are asked.
        datacenter: Centre = "dc1";
        /// The keyspace. It is made at the first start.
        keyspace: Keyspace = "mailhorn";
        /// On how many replicas mail lies: a number is that of the local data centre, `dc1:3,dc2:3` says it for each. It
        /// counts when the keyspace is made. With fewer than 3 mail can't be taken while a server is away.
        replication: Replicas = "3";
        /// Who logs in. Empty: nobody.
        user: Option<String> = "";
        /// A file with the password; a line end behind it isn't part of it. Needed where `cassandra.user` is set.
        password_file: Option<PathBuf> = "";
        /// A PEM file with the certificates by which the servers' are known. Set: TLS is spoken. Empty: it is not.
        ca_file: Option<PathBuf> = "";
        /// The name that every server's certificate has. Needed where `cassandra.ca_file` is set.
        server_name: Option<Domain> = "";
        /// Whether what goes over the wire is compressed (LZ4).
        compression: bool = "true";
        /// How long a statement may take, its repetitions included. Past it its outcome is unknown.
        request_timeout: Duration = "5s", "100ms" to "1m";
        /// How many statements may be under way at a time; others wait for their turn.
        max_requests: u32 = "512", "16" to "16384";
    }
);

section!(
    /// Redis 7, where `store.backend` is `cassandra`: it tells nodes at once of what others did, and keeps two clients of
    /// one user apart. Nothing is lost with it: while it is away events come later, and a maildrop's lock holds for one
    /// node.
    Redis {
        /// Where it is: `redis://[[user]:password@]host[:6379][/db]`; several of these, separated by commas, for a Redis
        /// Cluster; `redis+sentinel://host[:26379],host/service` for Sentinels. `rediss` in place of `redis` for TLS. It is
        /// shown without its password.
        url: RedisTarget = "redis://127.0.0.1:6379";
        /// A PEM file with the certificates by which the server's is known. Empty: the system's.
        ca_file: Option<PathBuf> = "";
        /// What its keys begin with, the same on all nodes: another for each cluster that shares a Redis.
        namespace: Keyspace = "mailhorn";
        /// How long a call may take. A log-in waits for one.
        timeout: Duration = "100ms", "10ms" to "5s";
    }
);

section!(
    /// Mail comes in by SMTP (RFC 5321), for local domains alone.
    Smtp {
        /// Addresses to listen on; a client may turn to TLS there by STARTTLS (RFC 3207). An empty list: no such listener.
        listen: Vec<SocketAddr> = "127.0.0.1:2525";
        /// Addresses to listen on with TLS from the first octet (`submissions`, RFC 8314 §3.3). An empty list: no such
        /// listener.
        listen_tls: Vec<SocketAddr> = "";
        /// The name by which the node greets and which its Received lines carry, on LMTP too. Other servers expect
        /// a name that leads to this machine.
        hostname: Domain = "localhost";
        /// Who gets the mail for `Postmaster` without a domain, and at local domains that have no such address
        /// (RFC 5321 §4.5.1), on LMTP too: the address of an account. Empty: `postmaster@` followed by `smtp.hostname`.
        postmaster: Option<Address> = "";
        /// What parts an address from its detail (RFC 5233), on LMTP too: mail to `ann+lists@` is that of `ann@`, where
        /// there is no such address. Empty: nothing does.
        detail_separator: Option<Separator> = "+";
        /// The largest message that is taken, in octets as sent, on LMTP too. A larger one is refused with 552.
        max_message_size: ByteSize = "50MiB", "64KiB" to "4GiB";
        /// How many recipients a message may have, on LMTP too; the rest are answered with 452 (RFC 5321
        /// §4.5.3.1.8 asks for at least 100).
        max_recipients: u32 = "1000", "100" to "100000";
        /// For how long a retry of a message whose reply was lost is known, so that it is answered with 250 and no
        /// second copy is made; on LMTP too. 0 is off: every retry makes a copy.
        duplicate_window: Duration = "24h", "0" to "30d";
        /// After how many bad commands a connection is closed, on LMTP too.
        max_bad_commands: u32 = "20", "1" to "1000";
        /// Whether users may log in (AUTH, RFC 4954), where `auth.allow_plaintext` and `auth.scram` let them. They may send to
        /// local domains as anyone may; for what a log-in is good, see `smtp.local_senders`. LMTP has none.
        auth: bool = "true";
        /// After how many failed log-ins a connection is closed.
        max_log_in_failures: u32 = "3", "1" to "255";
        /// Who may send with an address of a local domain in the envelope: `anyone`, or, so that nobody else passes for a
        /// user, `authenticated`: who has logged in, and then with an address of their own alone. Networks of
        /// `auth.trusted_networks` may send with any, and so may LMTP.
        local_senders: LocalSenders = "anyone";
        /// How long a client may take to its next command, or be silent within a message (RFC 5321 §4.5.3.2 asks for at
        /// least 5 minutes).
        idle_timeout: Duration = "5m", "5m" to "1h";
        /// How long a transaction may take, from MAIL to the end of its content, however busy its client is; on LMTP too.
        /// Past it the client is told 421 and its connection is closed.
        transaction_timeout: Duration = "30m", "5m" to "24h";
        /// How many messages may be sent over one connection, those that were refused among them. The MAIL after them is
        /// answered with 421. LMTP has no such limit: the server in front keeps its connections.
        max_messages: u32 = "1000", "1" to "1000000";
        /// How many connections may be open. Further ones are greeted with 421 and closed.
        max_connections: u32 = "1000", "1" to "1000000";
        /// How many connections may be open from one address, `auth.trusted_networks` aside.
        max_connections_per_address: u32 = "20", "1" to "1000000";
    }
);

section!(
    /// Mail comes in by LMTP (RFC 2033), from a mail server that took it before. That one must not add `Delivered-To`: it
    /// says where mail was delivered already, and to bring it there again is a loop, answered with 554.
    Lmtp {
        /// Addresses to listen on. An empty list: LMTP is off.
        listen: Vec<SocketAddr> = "127.0.0.1:2424";
        /// How long a client may take to its next command, or be silent within a message.
        idle_timeout: Duration = "5m", "5m" to "1h";
        /// How many connections may be open. Further ones are greeted with 421 and closed.
        max_connections: u32 = "1000", "1" to "1000000";
        /// How many connections may be open from one address, `auth.trusted_networks` aside.
        max_connections_per_address: u32 = "100", "1" to "1000000";
    }
);

section!(
    /// Mail goes out by POP3 (RFC 1939).
    Pop3 {
        /// Addresses to listen on; a client may turn to TLS there by STLS (RFC 2595). An empty list: no such
        /// listener.
        listen: Vec<SocketAddr> = "127.0.0.1:2110";
        /// Addresses to listen on with TLS from the first octet (RFC 8314 §3.1). An empty list: no such listener.
        listen_tls: Vec<SocketAddr> = "127.0.0.1:2995";
        /// How many sessions may have one maildrop open: `exclusive` is one, as RFC 1939 §4 has it, and the next is
        /// answered with `-ERR [IN-USE]`; `shared` is as many as `pop3.max_sessions_per_user`.
        lock: Lock = "exclusive";
        /// How long a log-in waits for a maildrop that another session holds, before it is answered with
        /// `-ERR [IN-USE]`. 0: it does not wait.
        lock_wait: Duration = "2s", "0" to "30s";
        /// How long a client that is logged in may take to its next command before its connection is closed, without
        /// deleting anything (RFC 1939 §3 asks for at least 10 minutes).
        idle_timeout: Duration = "10m", "10m" to "24h";
        /// The same for a client that isn't logged in yet.
        log_in_timeout: Duration = "3m", "10s" to "24h";
        /// How many connections may be open. Further ones are answered with `-ERR [SYS/TEMP]` and closed.
        max_connections: u32 = "10000", "1" to "1000000";
        /// How many connections may be open from one address, `auth.trusted_networks` aside.
        max_connections_per_address: u32 = "100", "1" to "1000000";
        /// How many sessions one user may have at a time where `pop3.lock` is `shared`.
        max_sessions_per_user: u32 = "10", "1" to "1000";
        /// After how many failed log-ins a connection is closed.
        max_log_in_failures: u32 = "3", "1" to "255";
        /// How long after a log-in the same user may log in again. Sooner is answered with `-ERR [LOGIN-DELAY]`, once the
        /// password was right; it counts from the `+OK` of the last log-in (RFC 2449 §6.5), and CAPA says so in whole
        /// seconds, rounded up. Each node of a cluster counts its own log-ins alone, and a start forgets them. 0: off.
        login_delay: Duration = "0", "0" to "24h";
        /// What CAPA says of how long mail may be left on the server (RFC 2449 §6.7): `NEVER` (to be deleted), or the
        /// fewest days that it stays. The node deletes nothing by itself, so this tells what whoever runs it does. Empty:
        /// it isn't announced.
        announce_expire: Option<Expire> = "";
        /// What CAPA says that the server is (RFC 2449 §6.9), such as `Mailhorn`. Empty: it isn't announced.
        implementation: Option<Implementation> = "";
    }
);

section!(
    /// TLS for POP3, SMTP and LMTP. Clients are never asked for certificates of their own. Certificates are read again
    /// without a restart, by themselves (`tls.check_every`), at SIGHUP and at `mailhorn tls reload`: one that can't be used
    /// leaves the former one in use, sessions that run go on, and tickets for resumption from before are void.
    Tls {
        /// A PEM file with the certificate and those between it and its root, the certificate first. Empty: a
        /// self-signed one is made in the data folder at the first start, for use on this machine alone. It is
        /// offered to nobody on an address that isn't a loopback address.
        certificate: Option<PathBuf> = "";
        /// A PEM file with the certificate's private key. Needed where `tls.certificate` is set.
        key: Option<PathBuf> = "";
        /// A folder with further certificates, each in a folder of its own with its key: `tls.crt` and `tls.key`, or
        /// `fullchain.pem` and `privkey.pem` (so it may be certbot's `live`). A client that asks for a name (SNI) is shown the
        /// certificate that has it, `*` standing for one label; all others are shown `tls.certificate`, which is needed. Where
        /// two have a name, the first counts: `tls.certificate`, then by the names of the folders. Folders that come later
        /// are found, too; at most 1000 are read.
        folder: Option<PathBuf> = "";
        /// How often the files are looked at for something new. 0: never.
        check_every: Duration = "1m", "0" to "24h";
        /// The oldest version of TLS that is spoken. 1.1 and older ones are not (RFC 8996).
        min_version: TlsVersion = "1.2";
        /// The cipher suites that may be used, by their names in IANA's registry; of those that a client has, the one counts
        /// that it names first. An empty list: all that are allowed here, none of which is known to be weak.
        suites: Vec<SuiteName> = "";
        /// How long a TLS handshake may take.
        handshake_timeout: Duration = "30s", "1s" to "5m";
    }
);

section!(
    /// TCP connections of clients. The first three settings find out a client that is gone without a word, together
    /// within 90 seconds.
    Net {
        /// After how much silence a peer is probed (TCP keep-alive).
        keepalive_idle: Duration = "30s", "1s" to "80s";
        /// How far the probes are apart.
        keepalive_interval: Duration = "10s", "1s" to "30s";
        /// How long what was sent, and probes, may stay without an answer before the connection ends (TCP_USER_TIMEOUT). The
        /// silence before the first probe counts.
        user_timeout: Duration = "60s", "10s" to "89s";
        /// How long a client that is there may take none of what is sent to it, before its connection is closed.
        write_timeout: Duration = "5m", "10s" to "1h";
        /// Networks of proxies (haproxy, a load balancer) that say by the PROXY protocol, version 1 or 2, for whom they
        /// speak. From there a header is required on every listener for mail, before TLS; a connection without one is
        /// closed. Whom it names is the client everywhere: in limits, log and Received fields. From elsewhere no header is
        /// read, so that nobody can pass for somebody else. An empty list: there are no proxies.
        proxy_networks: Vec<IpNet> = "";
        /// How long the header may take.
        proxy_timeout: Duration = "5s", "100ms" to "1m";
        /// How many connections the system may keep waiting for the node to take them.
        backlog: u32 = "1024", "1" to "65535";
    }
);

section!(
    /// Who may log in to POP3 and SMTP, and how.
    Auth {
        /// From where a password may come in clear: `loopback` is this machine, by the client's address; `never`:
        /// only inside TLS; `always`: from everywhere. SCRAM shows no password and is taken in any case.
        allow_plaintext: Plaintext = "loopback";
        /// Networks whose clients are spared the limits and delays per address, and may send with any address
        /// (`smtp.local_senders`): webmail, a proxy, this machine.
        trusted_networks: Vec<IpNet> = "127.0.0.0/8,::1/128";
        /// When SCRAM-SHA-256 (RFC 7677) is offered: `auto` while every account has keys for it. Some clients take
        /// it wherever it is offered and don't fall back.
        scram: Scram = "auto";
        /// PBKDF2 iterations of the SCRAM keys that are made from now on (RFC 7677 §4 asks for at least 4096).
        /// The client has to do as many.
        scram_iterations: u32 = "15000", "4096" to "1000000";
        /// Memory that one argon2id hash takes. This and the two that follow hold for hashes made from now on.
        argon2_memory: ByteSize = "19MiB", "8MiB" to "256MiB";
        /// Passes of one argon2id hash over its memory.
        argon2_passes: u32 = "2", "1" to "32";
        /// Lanes of one argon2id hash. They are computed one after the other.
        argon2_lanes: u32 = "1", "1" to "16";
        /// How many log-ins may wait for their hash: one a core is made at a time. Further ones are answered with
        /// `-ERR [SYS/TEMP]`, on SMTP with 454.
        hash_queue: u32 = "256", "1" to "65536";
        /// For how many accounts a verified password is remembered (as a keyed hash, never the password itself), so
        /// that a client that polls doesn't cost an argon2id hash each time. A change of the password voids it at
        /// once. 0: none.
        remembered: u32 = "65536", "0" to "10000000";
        /// After how many failures an address's log-ins are refused without a look, until `auth.failure_time` is
        /// over; `auth.trusted_networks` aside. The answer to a failure is held back by 1 s and more, 15 s at most.
        max_failures_per_address: u32 = "100", "1" to "100000";
        /// The same for one address with one user name. Nobody can lock a user out from elsewhere.
        max_failures_per_pair: u32 = "10", "1" to "100000";
        /// How long failures count, from the first of them.
        failure_time: Duration = "15m", "1m" to "24h";
        /// How many addresses, and how many pairs, are counted; past that those that began first are forgotten.
        failure_entries: u32 = "65536", "100" to "10000000";
    }
);

section!(
    /// An address (IPv4, or an IPv6 /64) that keeps failing to log in, or whose sessions say what makes no sense, is not
    /// served for a while: its connections are closed at once, on all nodes of a cluster. `auth.trusted_networks` and
    /// `net.proxy_networks` are never banned. `mailhorn bans` lists, adds and lifts bans.
    Bans {
        /// Whether there are bans.
        enabled: bool = "true";
        /// After how many failed log-ins an address is banned. Many users may stand behind one: a branch office belongs to
        /// `auth.trusted_networks`, or wants a larger number here.
        after_failed_log_ins: u32 = "20", "1" to "100000";
        /// After how many sessions an address is banned that ended because of too many bad commands, or of a line without an
        /// end, without a log-in.
        after_abuse: u32 = "5", "1" to "100000";
        /// How long that counts, from the first time on.
        within: Duration = "10m", "1m" to "24h";
        /// How long an address is banned. The next time it is twice as long, and so on up to `bans.time_max`, while the ban
        /// before is remembered, which is for `bans.time_max`.
        time: Duration = "1h", "1m" to "30d";
        /// The longest ban.
        time_max: Duration = "1d", "1m" to "30d";
        /// How many bans are known; past that those that end first are forgotten. Of as many addresses is counted what
        /// leads to a ban.
        max_entries: u32 = "10000", "100" to "100000";
        /// After how much time a ban that another node made or lifted is known here.
        refresh: Duration = "10s", "1s" to "10m";
    }
);

section!(
    /// Mailboxes in use.
    Mailbox {
        /// After how much idle time what is held in memory of a mailbox is given up.
        passivate_after: Duration = "1m", "1s" to "24h";
    }
);

section!(
    /// Events: the log of what happened in mailboxes, and how listeners get it.
    Events {
        /// How long the log keeps what somebody has not read yet. What everybody has read goes at once.
        retention: Duration = "7d", "1h" to "365d";
        /// Which nodes of a cluster hear at once of an event: `registered` are those that have registered for its mailbox or
        /// user; `broadcast` are all, with fewer moving parts, for small clusters. Without a meaning for a node alone.
        transport: Transport = "registered";
        /// How an event goes from node to node: `msgpack`, `bincode` or `json`. Nodes understand each other whatever each
        /// of them says here.
        format: Format = "msgpack";
        /// How long a reply waits for listeners that want to have an event before it leaves (mode `sync`). None of those
        /// that ship does.
        sync_timeout: Duration = "250ms", "1ms" to "10s";
        /// How many calls of one listener may be under way at a time. Of those that ship it holds for the quota thresholds,
        /// which get up to 256 events in a call: the operation log has one call at a time, the webhook
        /// `webhook.concurrency`.
        concurrency: u32 = "10", "1" to "1000";
        /// How long a listener may take over an event before that counts as a failure.
        execution_timeout: Duration = "1m", "1s" to "1h";
        /// How often dead letters are given to their groups again by themselves. 0: never, an operator does it.
        redeliver_every: Duration = "0", "0" to "30d";
        /// How many dead letters of a group are given to it again each time, also by hand where no limit is named. Of
        /// more than 100, those that fail again hold up the group's new events.
        redeliver_limit: u32 = "100", "1" to "1000000";
        /// Groups whose dead letters leave the node healthy in `/api/v1/health`.
        ignored_groups: Vec<GroupName> = "";
    }
);

section!(
    /// The live feed: what happens in a mailbox or to a user, as server-sent events (`/api/v1/events`,
    /// `mailhorn events tail`).
    Feed {
        /// Memory for events of the recent past, with which a client that was away goes on where it was. All feeds
        /// share it.
        memory: ByteSize = "8MiB", "64KiB" to "4GiB";
        /// How long the past of a feed is kept after its last client has gone.
        linger: Duration = "1m", "0" to "24h";
        /// How many clients may follow feeds. Further ones are refused. Each is a connection of
        /// `admin.max_connections`.
        max_clients: u32 = "100", "1" to "9000";
    }
);

section!(
    /// How much users and domains may hold. What `mailhorn quota set` says of one of them goes before this. A message
    /// beyond is answered with 452, so that its sender tries again, or with 552 where it would never fit. On SMTP that is
    /// decided at RCPT, by the SIZE that MAIL declared: without one a message is taken while there is any room. On LMTP it
    /// is decided again by what came in.
    Quota {
        /// Whether quotas are looked at.
        enabled: bool = "true";
        /// How many messages a user may have. Empty: any number.
        user_messages: Option<u64> = "";
        /// How much the messages of a user may hold together. Empty: any size.
        user_size: Option<ByteSize> = "";
        /// How many messages the users of a domain may have together. Empty: any number.
        domain_messages: Option<u64> = "";
        /// How much the messages of a domain's users may hold together. Empty: any size.
        domain_size: Option<ByteSize> = "";
        /// At which parts of a limit, in percent, an event says that usage crossed it, in either direction. An empty
        /// list: none.
        thresholds: Vec<Percent> = "80,95,100";
        /// How long the limits of a user or a domain are remembered. A change made by this node holds at once, but for
        /// mail that comes in at that very moment.
        refresh: Duration = "5s", "100ms" to "1h";
    }
);

section!(
    /// A file that says who did what to which mailbox: a line of JSON for each event, and nothing of what messages hold.
    OperationLog {
        /// Whether it is written.
        enabled: bool = "false";
        /// The file. It is added to, and opened anew when it was moved away. Empty: `operations.jsonl` in the data
        /// folder.
        path: Option<PathBuf> = "";
    }
);

section!(
    /// Events are sent to another program by HTTP: each as a POST of JSON, as the live feed has it, signed with the
    /// secret. While the receiver is away (or answers 408, 429 or 5xx) they wait; what it refuses with another 4xx is a
    /// dead letter after some tries. An event may come twice: a receiver knows it by its id.
    Webhook {
        /// Where to, without a user in it. Empty: off.
        url: Option<HttpUrl> = "";
        /// A file with the secret that signs what is sent, at least 16 octets; a line end behind it isn't part of it.
        /// Needed where `webhook.url` is set.
        secret_file: Option<PathBuf> = "";
        /// Kinds of event that are sent. An empty list: all. Until there is IMAP these do not occur: FlagsUpdated,
        /// MailboxRenamed, MailboxAclUpdated, MailboxSubscribed, MailboxUnsubscribed, MessageMoved.
        events: Vec<EventKind> = "";
        /// How long the receiver may take to answer.
        timeout: Duration = "10s", "100ms" to "5m";
        /// How many events may be on their way at a time.
        concurrency: u32 = "10", "1" to "1000";
    }
);

section!(
    /// The HTTP server for the commands (`/api/v1`), metrics (`/metrics`), probes (`/livez`, `/readyz`) and the
    /// actors (`/actors`). It has no TLS: on an address that isn't a loopback address the token of `/api/v1` can be
    /// read on the way.
    Admin {
        /// Addresses to listen on. An empty list: off, and the commands work only while the node is stopped.
        listen: Vec<SocketAddr> = "127.0.0.1:2180";
        /// The largest request body that is taken.
        max_request_size: ByteSize = "1MiB", "64KiB" to "64MiB";
        /// How long a client may take to send the head of a request.
        request_timeout: Duration = "10s", "1s" to "5m";
        /// How many connections may be open. Further ones wait. Each client of a feed (`feed.max_clients`) has one.
        max_connections: u32 = "256", "1" to "10000";
    }
);

section!(
    /// The node's log, on the standard error output.
    Log {
        /// `text`, or `json` with one object a line.
        format: LogFormat = "text";
        /// What is logged: a level for everything, and after commas others for modules, such as
        /// `info,mailhorn_core=debug`.
        levels: Levels = "info,actix_server=warn";
    }
);
