//! The contract suite of the event bus, in one process and over simulated transports; the live feed; membership; and probes.

mod feed;
mod membership;
mod probe;

use mailhorn_core::events::Fanout;
use mailhorn_core::events::contract::{World, paused};
use mailhorn_events::wire::Format;

mod in_process {
    use super::*;
    mailhorn_core::event_bus_contract!(paused, World::alone());
}

mod registered {
    use super::*;
    mailhorn_core::event_bus_contract!(paused, World::cluster(Fanout::Registered, 1));
    mailhorn_core::event_bus_cluster_contract!(paused, World::cluster(Fanout::Registered, 2));
}

mod broadcast {
    use super::*;
    mailhorn_core::event_bus_contract!(paused, World::cluster(Fanout::Broadcast, 3));
    mailhorn_core::event_bus_cluster_contract!(paused, World::cluster(Fanout::Broadcast, 4));
}

mod registered_in_json {
    use super::*;
    mailhorn_core::event_bus_cluster_contract!(
        paused,
        World::cluster(Fanout::Registered, 5).speaking(Format::Json)
    );
}

mod broadcast_in_bincode {
    use super::*;
    mailhorn_core::event_bus_cluster_contract!(
        paused,
        World::cluster(Fanout::Broadcast, 6).speaking(Format::Bincode)
    );
}

/// `MAILHORN_EVENTS=1000000` is the long half.
#[test]
fn many_events_through_three_groups() {
    let events = std::env::var("MAILHORN_EVENTS").ok();
    let events = events.and_then(|events| events.parse().ok()).unwrap_or(30_000);
    paused(async move {
        mailhorn_core::events::contract::own::many_events_through_three_groups(&World::alone(), events).await;
    });
}
