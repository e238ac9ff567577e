//! All cases, by what they try.
//!
//! Each file has a table of rows and a function for each. A row says what holds when the case passes, and cites the words that decide.

mod pop3_session;

use crate::case::{Case, Checked, Need, Rule, Run};
use crate::world::World;

/// All cases, in the order in which they run and are shown.
pub(crate) fn all() -> Vec<Case> {
    [pop3_session::CASES].concat()
}

/// A case of POP3.
const fn pop3(
    name: &'static str,
    rule: Rule,
    title: &'static str,
    needs: &'static [Need],
    run: fn(&mut World) -> Checked,
) -> Case {
    Case {
        name,
        rule,
        title,
        needs,
        run: Run::Pop3(run),
    }
}
