//! The contract suite of the event bus: one test for each rule, on every transport.
//!
//! It follows the suites of Apache James' event bus (Group, Key, ErrorHandling, Concurrent); each clause is named after its
//! rule. Where this design decides otherwise, the clause says so. What is added is in `own`.
//!
//! A transport stamps the clauses with [`event_bus_contract!`](crate::event_bus_contract) and an expression that makes a
//! [`World`]. Clauses that need several nodes are stamped by
//! [`event_bus_cluster_contract!`](crate::event_bus_cluster_contract).

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "a clause is a test: it fails where the bus does, and its name says its rule"
)]

pub mod cluster;
pub mod concurrent;
pub mod faults;
pub mod group;
pub mod key;
mod node;
pub mod own;
mod recorder;
mod world;

pub use node::{Crashed, Node};
pub use recorder::{Behaviour, Recorder};
pub use world::{ClusterPorts, Ground, Grounds, Options, Ports, World, in_real_time, paused};

/// Stamps one test for each clause.
#[doc(hidden)]
#[macro_export]
macro_rules! event_bus_clauses {
    ($run:path, $world:expr; $module:ident; $($clause:ident)*) => {
        $(
            #[test]
            fn $clause() {
                $run(async {
                    let world = $world;
                    $crate::events::contract::$module::$clause(&world).await;
                });
            }
        )*
    };
}

/// Stamps the clauses that one node can keep, each in a module of its suite. `$run` runs a future: with time that stands
/// still ([`paused`]) where no real server takes part, else [`in_real_time`].
#[macro_export]
macro_rules! event_bus_contract {
    ($run:path, $world:expr) => {
        mod group {
            #[allow(unused_imports)]
            use super::*;
            $crate::event_bus_clauses!($run, $world; group;
                calls_do_not_exceed_the_concurrency
                groups_have_an_event_at_the_same_time
                a_listener_may_announce
                a_group_is_not_shown_what_was_before_it
                a_group_is_shown_events
                noops_are_dropped
                only_what_it_handles_is_shown
                a_failing_group_does_not_reach_the_announcer
                every_group_has_every_event_whatever_its_name_begins_with
                an_unregistered_group_is_shown_nothing
                a_group_is_registered_once
                a_group_may_be_registered_after_it_was_unregistered
                unregistering_twice_is_unregistering_once
                a_group_that_comes_back_goes_on_where_it_was
                a_sync_group_has_the_event_when_it_is_announced
                a_failure_does_not_hold_up_the_next_event
                a_failing_group_does_not_hold_up_another
                a_redelivered_event_is_shown
                redelivery_needs_the_group
                redelivery_needs_the_group_to_be_registered_still
                redelivery_is_for_the_named_group
                a_redelivered_noop_is_dropped
            );
        }
        mod key {
            #[allow(unused_imports)]
            use super::*;
            $crate::event_bus_clauses!($run, $world; key;
                calls_do_not_exceed_the_concurrency
                listeners_of_a_key_have_an_event_at_the_same_time
                noops_are_dropped
                only_what_it_handles_is_shown
                a_failing_listener_does_not_reach_the_announcer
                an_event_without_its_key_is_not_shown
                an_event_of_another_key_is_not_shown
                an_event_of_its_key_is_shown
                a_sync_listener_has_the_event_when_it_is_announced
                only_the_listener_of_the_key_is_shown
                all_listeners_of_a_key_are_shown
                registering_twice_is_being_told_once
                unregistering_once_undoes_registering_twice
                a_listener_is_not_shown_what_was_before_it
                unregistering_every_registration_leaves_none
                unregistering_one_key_leaves_the_others
                unregistering_twice_is_unregistering_once
                one_change_reaches_several_keys
                a_listener_of_several_keys_that_match_is_called_once
                an_unregistered_listener_is_shown_nothing
                an_async_listener_is_shown
                a_blocked_async_listener_does_not_hold_up_the_announcer
                a_failure_does_not_hold_up_the_next_event
                a_failing_listener_does_not_hold_up_another
                a_batch_comes_in_order
            );
        }
        mod faults {
            #[allow(unused_imports)]
            use super::*;
            $crate::event_bus_clauses!($run, $world; faults;
                a_key_listener_is_not_tried_again_and_leaves_no_dead_letter
                fewer_failures_than_retries_end_well_and_leave_no_dead_letter
                as_many_failures_as_retries_end_well
                more_failures_than_retries_end_in_a_dead_letter
                an_event_that_died_is_not_tried_again
                retries_wait_for_times_drawn_from_ranges_that_double
                a_retried_listener_may_announce
                a_dead_letter_holds_the_event
                a_failed_redelivery_is_a_dead_letter_again
                a_redelivery_has_as_many_attempts_as_the_first_delivery
                a_redelivery_is_not_shown_to_key_listeners
            );
        }
        mod concurrent {
            #[allow(unused_imports)]
            use super::*;
            $crate::event_bus_clauses!($run, $world; concurrent;
                concurrent_announcements_reach_groups
                concurrent_announcements_reach_key_listeners
                concurrent_announcements_reach_both
                concurrent_registrations_are_all_told
            );
        }
        mod own {
            #[allow(unused_imports)]
            use super::*;
            $crate::event_bus_clauses!($run, $world; own;
                events_of_a_mailbox_come_in_order
                a_group_registered_while_events_flow_misses_none_after_it
                a_key_listener_registered_while_events_flow_misses_none_after_it
                a_crash_between_change_and_dispatch_loses_nothing
                a_crash_in_a_handler_runs_it_again
                a_crash_with_parked_events_loses_none
                a_parked_event_does_not_hold_the_line
                a_back_end_away_for_10_000_events_leaves_no_dead_letter
                too_many_parked_events_stop_the_line_and_none_dies
                a_group_that_falls_out_of_the_retention_is_rebuilt
                a_gap_that_nobody_rebuilds_is_a_dead_letter
                a_gap_that_cannot_be_written_down_now_is_not_passed
                a_record_that_cannot_be_read_is_a_dead_letter
                a_handler_that_hangs_is_given_up
                a_handler_that_panics_is_tried_again
                a_batch_that_panics_goes_one_by_one
                a_late_sync_listener_does_not_hold_the_reply
                a_stopped_sync_listener_does_not_hold_the_reply
                a_key_listener_that_does_not_keep_up_is_told_so
                what_comes_while_records_gather_is_not_forgotten
                a_clean_stop_shows_nothing_twice
                nothing_changes_for_others_when_a_listener_misbehaves
            );
        }
    };
}

/// Stamps the clauses that need several nodes.
#[macro_export]
macro_rules! event_bus_cluster_contract {
    ($run:path, $world:expr) => {
        mod cluster {
            #[allow(unused_imports)]
            use super::*;
            $crate::event_bus_clauses!($run, $world; cluster;
                a_group_that_runs_elsewhere_has_the_event
                redelivery_needs_the_group_on_this_node
                a_group_on_two_nodes_has_a_redelivery_once
                a_group_on_two_nodes_has_an_event_once
                a_group_unregistered_elsewhere_is_shown_nothing
                a_group_is_not_shown_what_was_before_it_elsewhere
                a_key_listener_elsewhere_is_told_once
                a_key_listener_unregistered_elsewhere_is_told_nothing
                key_listeners_on_all_nodes_are_told_once
                a_key_listener_is_not_shown_what_was_before_it_elsewhere
                a_sync_listener_here_has_it_at_once_and_one_elsewhere_later
                concurrent_announcements_on_three_nodes_reach_groups_once
                concurrent_announcements_on_three_nodes_reach_key_listeners_everywhere
                concurrent_announcements_on_three_nodes_reach_both
                a_listener_of_scope_cluster_has_every_event_on_every_node
                a_survivor_follows_the_log_of_a_node_that_died
                what_another_follower_finished_and_was_trimmed_is_no_gap
                a_registry_that_was_wiped_is_noticed
                what_happens_while_the_registry_is_away_is_told_all_the_same
                what_the_way_between_nodes_loses_is_made_up_for
                nodes_with_different_formats_understand_each_other
            );
        }
    };
}
