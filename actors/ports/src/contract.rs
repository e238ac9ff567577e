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

pub mod directory;
pub mod mail_store;
pub mod model;
pub mod reopen;
mod world;

pub use reopen::Reopen;
pub use world::World;

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
            a_repeated_group_is_not_made_twice
            a_group_can_be_repeated_after_housekeeping
            a_note_makes_its_delivery_a_duplicate_within_the_window
            a_forgotten_note_makes_no_duplicate
            no_note_is_left_where_nothing_was_stored
            a_removed_account_gets_nothing
            an_expunge_passes_over_what_is_not_there
            octets_stay_until_the_last_reference_goes
            chunks_are_invisible_before_their_change
            a_log_says_which_node_it_belongs_to
            log_numbers_have_no_holes
            a_group_that_would_leave_a_hole_is_not_made
            a_record_holds_all_that_its_change_needs
            changes_of_one_group_see_each_other
            the_highest_stamp_is_above_every_row
            housekeeping_takes_nothing_that_counts
        );
        $crate::contract_clauses!($setup; model; random_changes_leave_what_a_model_says);
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
            accounts_without_scram_are_counted
            removed_accounts_are_listed_until_they_are_forgotten
            an_address_made_again_is_another_account
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
