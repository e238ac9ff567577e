//! The store for many nodes, on Apache Cassandra.
mod apply;
mod bans;
mod commit;
mod content;
mod directory;
mod groups;
mod letters;
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
mod sweep;
mod uploads;
mod usage;
mod values;
mod view;

pub use content::ContentSweeper;
pub use options::{
    Login, Options, REQUEST_TIMEOUT_DEFAULT, REQUESTS_MAX_DEFAULT, Replication, Tls, USAGE_REFRESH_DEFAULT,
};
pub use session::{Health, OpenError};
pub use store::{CassandraStore, Surroundings};
