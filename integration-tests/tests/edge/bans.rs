//! An address that guesses passwords is not served any more, over a restart, until it is let in again.

use mailhorn_integration_tests::{Node, NodeBuilder, add_users};

use crate::kit::{PATIENCE, Talk, command, done};

const NOTICE: &str = "-ERR [SYS/TEMP] too many failures from your address";

/// A node that bans after three failures, and trusts nobody here.
fn node(folder: &std::path::Path) -> NodeBuilder {
    Node::builder()
        .data_dir(folder)
        .setting("auth.trusted_networks", "192.0.2.0/24")
        .setting("bans.after_failed_log_ins", "3")
}

#[test]
fn who_fails_to_log_in_too_often_is_banned_over_a_restart_until_that_is_lifted() {
    let folder = tempfile::tempdir().unwrap();
    add_users(folder.path(), "example.org", &["ann"], "a-long-password");
    let builder = node(folder.path());
    let mut running = builder.start();
    let mut guesses = Talk::connect(running.pop3());
    assert!(guesses.line().starts_with("+OK"));
    for nth in 0..3 {
        assert!(guesses.ask("USER ann@example.org").starts_with("+OK"));
        assert!(
            guesses
                .ask(&format!("PASS guess-{nth}"))
                .starts_with("-ERR [AUTH]")
        );
    }
    drop(running.wait_for_log("an address is banned network=127.0.0.1/32", PATIENCE));
    let mut banned = Talk::connect(running.pop3());
    assert!(banned.line().starts_with(NOTICE));
    assert_eq!(banned.line(), "");
    assert!(Talk::connect(running.smtp()).line().starts_with("421 "));
    assert_eq!(
        Talk::connect(running.pop3s()).line(),
        "",
        "before TLS nothing is said"
    );
    let listed = done(folder.path(), "bans list");
    assert!(listed.starts_with("127.0.0.1/32\tuntil "), "{listed}");
    assert!(
        listed.ends_with("\t3 failed log-ins in 10 min\tmailhorn\n"),
        "{listed}"
    );

    assert!(running.terminate().success());
    let running = builder.start();
    assert!(Talk::connect(running.pop3()).line().starts_with(NOTICE));
    done(folder.path(), "bans lift 127.0.0.1");
    assert!(Talk::connect(running.pop3()).line().starts_with("+OK"));
    assert_eq!(done(folder.path(), "bans list"), "");
}

#[test]
fn an_operator_bans_a_network_and_none_that_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let builder = node(folder.path());
    let mut running = builder.start();
    let told = done(folder.path(), "bans add 127.0.0.0/8 --time 5m --reason spam");
    assert!(
        told.starts_with("127.0.0.0/8\tuntil ") && told.ends_with("\tspam\tmailhorn\n"),
        "{told}"
    );
    assert!(Talk::connect(running.lmtp()).line().starts_with("421 "));
    for (wrong, why) in [
        ("bans add 192.0.2.7", "never banned"),
        ("bans add nowhere", "no address and no network"),
        ("bans add 127.0.0.1 --time soon", "a duration"),
        ("bans lift 127.0.0.1", "it is banned by 127.0.0.0/8"),
    ] {
        let output = command(folder.path(), wrong);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && told.contains(why),
            "{wrong}: {told}"
        );
    }
    // What was answered is durable.
    running.kill();
    let running = builder.start();
    assert!(Talk::connect(running.lmtp()).line().starts_with("421 "));
    done(folder.path(), "bans lift 127.0.0.0/8");
    assert!(Talk::connect(running.lmtp()).line().starts_with("220 "));
}
