//! The embedded store passes every contract suite.

mod common;

mod mail_store {
    use crate::common::Place;
    use mailhorn_ports::contract::Reopen;

    mailhorn_ports::mail_store_contract!({
        let place = Place::default();
        (place.open(), place)
    });
    mailhorn_ports::clean_up_contract!({
        let place = Place::default();
        (place.open(), place)
    });
}

/// The same with segments so small that housekeeping has something to do all the time.
mod small_segments {
    use crate::common::Place;
    use mailhorn_ports::contract::Reopen;

    mailhorn_ports::mail_store_contract!({
        let mut place = Place::default();
        place.options.segment_octets_max = 100_000;
        (place.open(), place)
    });
    mailhorn_ports::clean_up_contract!({
        let mut place = Place::default();
        place.options.segment_octets_max = 100_000;
        (place.open(), place)
    });
}

mod directory {
    use crate::common::Place;
    use mailhorn_ports::contract::Reopen;

    mailhorn_ports::directory_contract!({
        let place = Place::default();
        (place.open(), place)
    });
}

mod group_store {
    use crate::common::Place;
    use mailhorn_ports::contract::Reopen;

    mailhorn_ports::group_store_contract!({
        let place = Place::default();
        (place.open(), place)
    });
}

mod trimming {
    use crate::common::Place;
    use mailhorn_ports::contract::Reopen;

    mailhorn_ports::trimming_contract!({
        let place = Place::default();
        (place.open(), place)
    });
}

mod quota_store {
    use crate::common::Place;
    use mailhorn_ports::contract::Reopen;

    mailhorn_ports::quota_store_contract!({
        let place = Place::default();
        (place.open(), place)
    });
}

mod ban_store {
    use crate::common::Place;
    use mailhorn_ports::contract::Reopen;

    mailhorn_ports::ban_store_contract!({
        let place = Place::default();
        (place.open(), place)
    });
}

mod reopen {
    use crate::common::Place;

    mailhorn_ports::reopen_contract!((Place::default(), ()));
    mailhorn_ports::listening_reopen_contract!((Place::default(), ()));
    mailhorn_ports::bans_reopen_contract!((Place::default(), ()));
}
