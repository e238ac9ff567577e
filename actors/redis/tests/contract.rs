//! One server passes every contract suite.

mod common;

mod registry {
    use crate::common::Place;

    mailhorn_ports::registry_contract!((Place::one(), ()));
}

mod transport {
    use crate::common::Place;

    mailhorn_ports::transport_contract!((Place::one(), ()));
}

mod maildrop_locks {
    use crate::common::Place;

    mailhorn_ports::maildrop_locks_contract!((Place::one(), ()));
}
