//! The contract suites: what every backend of a port must do, one test for each clause.
//!
//! A backend stamps the tests with a macro and an expression that makes an empty store and whatever must live as long as
//! it (a folder, a server):
//!
//! ```text
//! mailhorn_ports::mail_store_contract!((MemoryStore::new(), ()));
//! ```
//!
//! The expression is evaluated within an async function and may await.

#![expect(
    clippy::unwrap_used,
    reason = "a clause is a test: it fails where the store does"
)]

pub mod bans;
pub mod dead_letters;
pub mod directory;
pub mod groups;
pub mod locks;
pub mod log;
pub mod mail_store;
pub mod membership;
pub mod model;
pub mod quota;
pub mod registry;
pub mod reopen;
pub mod transport;
pub mod trimming;
mod world;

use std::time::Duration;

use crate::listener::GroupName;

pub use locks::LocksPlace;
pub use registry::RegistryPlace;
pub use reopen::Reopen;
pub use transport::TransportPlace;
pub use world::World;

/// A group's name.
fn group(name: &str) -> GroupName {
    name.parse().unwrap()
}
/// How long a clause waits for what must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Stamps one test for each clause, each with an empty store.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_clauses {
    ($setup:expr; $module:ident; $($clause:ident)*) => {
        $(
            #[tokio::test]
            async fn $clause() {
                #[allow(unused_variables, clippy::let_unit_value)]
                let (store, held) = $setup;
                $crate::contract::$module::$clause(&store).await;
            }
        )*
    };
}

/// Stamps the clauses of [`MailStore`](crate::MailStore) for a backend that is a [`Directory`](crate::Directory) too.
#[macro_export]
macro_rules! mail_store_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; mail_store;
            listings_are_ordered_by_id_and_paged
            mailboxes_are_apart
            a_delivery_to_two_has_one_content_and_two_prefixes
            the_size_listed_is_what_reading_gives
            contents_of_every_length_around_a_chunk_come_back
            reading_ahead_gives_first_parts_in_order_until_the_limit
            two_recipients_with_one_mailbox_get_one_copy
            a_note_makes_its_delivery_a_duplicate_within_the_window
            a_delivery_without_octets_asks_for_its_note_and_stores_nothing
            a_forgotten_note_makes_no_duplicate
            a_kept_note_makes_a_duplicate_only_of_what_was_stored
            no_note_is_left_where_nothing_was_stored
            a_removed_account_gets_nothing
            an_expunge_passes_over_what_is_not_there
            octets_stay_until_the_last_reference_goes
            chunks_are_invisible_before_their_change
        );
        $crate::contract_clauses!($setup; log;
            a_repeated_group_is_not_made_twice
            a_group_can_be_repeated_after_housekeeping
            an_announcement_is_a_record_and_nothing_else
            a_log_says_which_node_it_belongs_to
            log_numbers_have_no_holes
            a_group_that_would_leave_a_hole_is_not_made
            a_record_holds_all_that_its_change_needs
            changes_of_one_group_see_each_other
            the_highest_stamp_is_above_every_row
        );
        $crate::contract_clauses!($setup; model; random_changes_leave_what_a_model_says);
    };
}

/// Stamps the clauses of [`MailStore`](crate::MailStore) for a backend that cleans up by itself, in its own steps: where
/// octets go with the last reference to them, and notes with [`MailStore::maintain`](crate::MailStore::maintain).
#[macro_export]
macro_rules! clean_up_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; mail_store; housekeeping_takes_nothing_that_counts);
        $crate::contract_clauses!($setup; log; the_end_of_a_content_is_told_once);
    };
}

/// Stamps the clauses of [`Directory`](crate::Directory).
#[macro_export]
macro_rules! directory_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; directory;
            domains_are_local_while_they_are_there
            an_account_needs_its_domain_and_holds_it
            nothing_is_made_twice
            what_is_not_there_is_not_changed
            listings_are_ordered_and_paged
            credentials_are_set_only_where_they_are_as_expected
            a_replacement_just_above_is_made_once_and_never_over_a_change
            accounts_without_scram_are_counted
            removed_accounts_are_listed_until_they_are_forgotten
            an_address_made_again_is_another_account
            an_alias_is_there_until_it_is_removed
            an_address_is_an_account_or_an_alias_and_never_both
            an_alias_points_to_one_account_for_ever
            a_domain_may_be_an_alias_of_another
            a_domain_stays_while_something_is_left_of_it
            a_catch_all_is_set_and_taken_back
            app_passwords_are_kept_with_the_credentials
        );
    };
}

/// Stamps the clauses of [`GroupStore`](crate::GroupStore) for a backend that is a [`MailStore`](crate::MailStore) and a
/// [`Directory`](crate::Directory) too.
#[macro_export]
macro_rules! group_store_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; groups;
            a_group_is_known_from_its_first_registration
            a_new_group_starts_at_the_end_of_every_log
            a_log_begun_later_is_seen_from_its_start
            registering_again_moves_no_cursor
            a_cursor_never_goes_back
            groups_are_apart
            nothing_is_kept_of_a_group_that_is_not_known
            a_forgotten_group_leaves_dead_letters_only
            a_letter_parked_twice_is_one_letter
            parked_letters_are_told_by_log
            a_letter_is_parked_until_it_is_handled_or_dead
        );
        $crate::contract_clauses!($setup; dead_letters;
            a_buried_letter_is_found_by_group_and_id
            letters_buried_at_once_are_all_kept
            a_removed_letter_is_gone
            removing_the_last_letter_removes_the_group
            removing_all_letters_of_a_group_leaves_it_none
            removing_all_letters_of_a_group_removes_the_group
            removing_all_letters_of_a_group_does_not_remove_another_group
            removing_a_letter_keeps_the_others
            removing_all_letters_of_a_group_keeps_those_of_others
            removing_a_letter_that_is_not_there_is_no_error
            removing_a_letter_of_a_group_without_any_is_no_error
            removing_all_letters_of_a_group_without_any_is_no_error
            letters_removed_at_once_are_all_gone
            removing_all_letters_at_once_from_several_sides_leaves_none
            a_letter_that_is_not_there_is_not_found
            a_letter_that_is_there_is_found
            looking_at_a_letter_does_not_remove_it
            looking_for_a_letter_in_a_group_without_any_is_no_error
            letters_of_a_group_without_any_are_none
            all_letters_of_a_group_are_listed_and_no_others
            listing_letters_does_not_remove_them
            all_groups_with_letters_are_listed
            no_group_is_listed_where_nothing_was_buried
            there_are_no_dead_letters_at_first
            there_are_dead_letters_once_one_is_buried
            there_are_none_left_when_all_were_removed
            there_are_some_left_when_some_were_removed
            a_letter_buried_twice_is_one_letter
            octets_that_nobody_can_read_come_back_as_they_were
        );
    };
}

/// Stamps the clauses of trimming for such a backend that keeps its logs for groups: housekeeping takes what every group's
/// cursor has passed.
#[macro_export]
macro_rules! trimming_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; trimming;
            a_lagging_cursor_holds_the_log_back
            the_slowest_group_counts
            retention_trims_past_a_cursor_and_the_gap_shows
            the_last_record_of_a_log_stays_until_every_group_has_passed_it
            a_forgotten_group_frees_the_log
            a_group_that_no_node_registers_is_forgotten
            a_log_that_no_group_follows_is_trimmed
            a_log_that_begins_later_is_trimmed_too
            a_log_without_records_is_forgotten_with_its_cursors
            what_is_parked_of_a_forgotten_log_is_found
        );
    };
}

/// Stamps the clauses of [`QuotaStore`](crate::QuotaStore) for a backend that is a [`MailStore`](crate::MailStore) and a
/// [`Directory`](crate::Directory) too.
#[macro_export]
macro_rules! quota_store_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; quota;
            usage_is_the_sum_over_the_rows
            two_recipients_of_one_transaction_are_each_counted
            two_recipients_with_one_mailbox_are_counted_once
            a_duplicate_costs_nothing
            an_expunge_frees_what_it_took
            a_domain_holds_what_its_accounts_hold
            a_removed_account_counts_until_its_mail_is_gone
            limits_are_set_and_taken_back
            limits_and_thresholds_go_with_their_owner
            a_crossing_is_announced_once
            many_owners_are_looked_at_in_one_go
            counting_anew_finds_nothing_wrong
            random_changes_leave_the_sums_over_the_rows
        );
    };
}

/// Stamps the clauses of [`BanStore`](crate::BanStore).
#[macro_export]
macro_rules! ban_store_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; bans;
            a_ban_is_listed_as_it_was_put
            a_ban_replaces_the_one_before
            a_ban_that_was_lifted_is_gone
            a_ban_is_remembered_for_its_time
            a_listing_is_bounded
        );
    };
}

/// Stamps the clauses of [`Membership`](crate::Membership) for a backend that is a [`MailStore`](crate::MailStore) and a
/// [`Directory`](crate::Directory) too. What the backend's lease says must hold in all of them.
#[macro_export]
macro_rules! membership_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; membership;
            nobody_is_a_member_before_a_heartbeat
            a_heartbeat_is_seen_with_its_number_and_groups
            members_are_listed_by_generation
            who_left_is_no_member
            leaving_twice_is_leaving_once
            a_log_that_was_left_stays_readable
            an_adopted_process_is_no_member
            an_adopted_log_ends_at_its_last_record
            a_log_without_records_ends_at_nothing
            adopting_twice_is_adopting_once
            two_who_adopt_at_once_end_in_the_same
            every_change_of_an_adopted_log_is_whole
            what_is_appended_behind_a_seal_is_shown_to_nobody
            adopting_one_log_ends_no_other
            a_log_says_where_it_was_ended_and_one_that_goes_on_says_nothing
        );
    };
}

/// Stamps the clauses of durability for a backend whose stores can be opened again ([`Reopen`]).
#[macro_export]
macro_rules! reopen_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; reopen;
            everything_done_is_there_after_a_clean_stop
            everything_done_is_there_after_a_crash
            a_note_outlives_a_crash
            the_log_goes_on_where_it_ended
            a_group_that_was_done_before_a_crash_is_not_made_again
        );
    };
}

/// Stamps the clauses of durability for what groups of listeners and quotas leave in such a store.
#[macro_export]
macro_rules! listening_reopen_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; reopen;
            parked_and_dead_letters_outlive_a_crash
            what_groups_are_known_outlives_a_crash
            cursors_are_where_they_were_after_a_clean_stop
            a_crash_takes_a_cursor_back_and_makes_no_gap
            quotas_outlive_a_crash
        );
    };
}

/// Stamps the clause of durability for bans in such a store.
#[macro_export]
macro_rules! bans_reopen_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; reopen; bans_outlive_a_crash);
    };
}

/// Stamps the clauses of [`Registry`](crate::Registry) for a place with one ([`RegistryPlace`]).
#[macro_export]
macro_rules! registry_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; registry;
            registered_is_found
            registering_again_is_registering_once
            unregistered_is_not_found
            unregister_all_leaves_others
            each_member_is_told_once_and_in_order
            many_keys_are_all_registered
            the_epoch_stays_while_nothing_is_lost
            a_wipe_changes_the_epoch
            a_lease_ends_unless_it_is_renewed
        );
    };
}

/// Stamps the clauses of [`Transport`](crate::Transport) for a place with one ([`TransportPlace`]).
#[macro_export]
macro_rules! transport_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; transport;
            frames_come_in_order
            frames_wait_for_their_receiver
            a_wait_ends_when_a_frame_comes
            receivers_are_apart
            large_frames_come_whole
            what_waits_is_bounded
        );
    };
}

/// Stamps the clauses of [`MaildropLocks`](crate::MaildropLocks) for a place with some ([`LocksPlace`]).
#[macro_export]
macro_rules! maildrop_locks_contract {
    ($setup:expr) => {
        $crate::contract_clauses!($setup; locks;
            a_lock_is_taken_once
            of_many_at_once_one_gets_it
            a_refusal_leaves_the_holders_time
            the_holder_renews
            only_the_holder_releases
            a_lock_ends_by_itself
            a_lock_that_vanished_is_taken_again
        );
    };
}
