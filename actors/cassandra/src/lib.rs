//! The store for many nodes, on Apache Cassandra.
mod apply;
mod commit;
mod directory;
mod line;
mod log;
mod members;
mod notes;
mod options;
mod packed;
mod quota;
mod schema;
mod session;
mod statements;
mod store;
mod values;
mod view;

pub use options::{Login, Options, REQUEST_TIMEOUT_DEFAULT, REQUESTS_MAX_DEFAULT, Replication, Tls};
pub use session::{Health, OpenError};
pub use store::{CassandraStore, Surroundings};
