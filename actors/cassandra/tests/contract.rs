//! The contract suites, on a real Cassandra.

#![expect(clippy::unwrap_used, reason = "a test fails where the store does")]

mod support;

#[tokio::test]
async fn probe() {
    use mailhorn_ports::MailStore;
    let begun = std::time::Instant::now();
    let store = support::empty().await;
    eprintln!("opened in {:?}", begun.elapsed());
    assert!(store.logs().await.unwrap().is_empty());
    let begun = std::time::Instant::now();
    let (a, b) = tokio::join!(support::empty(), support::empty());
    eprintln!("two in {:?}", begun.elapsed());
    let keyspace = "test_twice";
    let (c, d) = tokio::join!(
        CassandraStore::open(support::options(keyspace), support::surroundings()),
        CassandraStore::open(support::options(keyspace), support::surroundings())
    );
    c.unwrap();
    d.unwrap();
}
use mailhorn_cassandra::CassandraStore;
