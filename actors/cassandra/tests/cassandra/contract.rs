//! The contract suites, on a real Cassandra.

mod mail {
    mailhorn_ports::mail_store_contract!(crate::support::empty().await);
}

mod directory {
    mailhorn_ports::directory_contract!(crate::support::empty().await);
}

mod groups {
    mailhorn_ports::group_store_contract!(crate::support::empty().await);
}

mod quota {
    mailhorn_ports::quota_store_contract!(crate::support::empty().await);
}

mod bans {
    mailhorn_ports::ban_store_contract!(crate::support::empty().await);
}
