//! What is wrong with the settings, or taken, stops the start with what is needed to mend it.

use std::net::TcpListener;

use mailhorn_integration_tests::{Node, add_users, mailhorn};

use super::{deliver, done, log_in};
use crate::kit::{private_file, said};

/// The exit status of settings that have to be mended.
const USAGE: i32 = 2;

#[test]
fn an_unknown_key_in_the_file_stops_every_command_with_the_key_its_value_and_what_was_meant() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = private_file(folder.path(), "mailhorn.toml", "[pop3]\nlokc = \"shared\"\n");
    let file = file.to_str().expect("a path");
    let data = folder.path().join("data");
    let data = data.to_str().expect("a path");
    for line in ["serve", "demo", "config check", "config show", "user list"] {
        let args: Vec<&str> = line
            .split(' ')
            .chain(["--config", file, "--data-dir", data])
            .collect();
        let output = mailhorn(&args, "");
        assert_eq!(output.status.code(), Some(USAGE), "{line}: {}", said(&output));
        let told = String::from_utf8_lossy(&output.stderr);
        for part in ["pop3.lokc", "shared", file, "did you mean pop3.lock?"] {
            assert!(told.contains(part), "{line}: {part} is not in: {told}");
        }
    }
    assert!(!std::path::Path::new(data).exists(), "nothing was begun");
}

#[test]
fn a_bad_value_in_the_environment_stops_the_start_with_the_variable_and_what_is_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = [
        ("pop3.lock", "sometimes", "exclusive"),
        ("smtp.max_message_size", "huge", "64KiB"),
        ("auth.trusted_networks", "10.0.0.0/33", "network"),
        ("smtp.listen", "127.0.0.1", "address"),
        ("events.retention", "0", "1h"),
        ("log.levels", "loud", "level"),
    ];
    for (key, value, allowed) in table {
        let node = Node::builder()
            .data_dir(folder.path().join("data"))
            .setting(key, value);
        let ended = node.try_start().expect_err("the value is refused");
        assert_eq!(ended.status.code(), Some(USAGE), "{key}: {ended}");
        let variable = format!("MAILHORN__{}", key.to_uppercase().replace('.', "__"));
        for part in [key, value, &variable, allowed] {
            assert!(ended.log.contains(part), "{key}: {part} is not in: {}", ended.log);
        }
    }
}

#[test]
fn a_port_that_is_taken_stops_the_start_with_its_setting_and_address() {
    let folder = tempfile::tempdir().expect("a folder");
    for key in [
        "smtp.listen",
        "smtp.listen_tls",
        "lmtp.listen",
        "pop3.listen",
        "pop3.listen_tls",
        "admin.listen",
    ] {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address");
        let node = Node::builder().data_dir(folder.path()).setting(key, address);
        let ended = node.try_start().expect_err("the port is taken");
        assert_eq!(ended.status.code(), Some(1), "{key}: {ended}");
        assert!(
            ended.log.contains(&format!("{key}: {address}")),
            "{key}: {}",
            ended.log
        );
    }
    // Nothing of it stands in the way of a start.
    drop(Node::builder().data_dir(folder.path()).start());
}

#[test]
fn a_listener_that_cannot_be_made_stops_the_start_and_leaves_the_store_as_after_a_clean_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(
        Node::builder()
            .data_dir(folder.path())
            .start()
            .terminate()
            .success()
    );
    let nowhere = folder.path().join("nowhere/file");
    let secret = private_file(folder.path(), "secret", "short");
    for (key, with) in [
        (
            "operation_log.path",
            vec![
                ("operation_log.enabled", "true".to_owned()),
                ("operation_log.path", nowhere.display().to_string()),
            ],
        ),
        (
            "webhook.secret_file",
            vec![
                ("webhook.url", "http://127.0.0.1:9/".to_owned()),
                ("webhook.secret_file", secret.display().to_string()),
            ],
        ),
    ] {
        let builder = Node::builder().data_dir(folder.path());
        let builder = with
            .into_iter()
            .fold(builder, |builder, (key, value)| builder.setting(key, value));
        let ended = builder.try_start().expect_err("it can't be made");
        assert_eq!(ended.status.code(), Some(1), "{key}: {ended}");
        assert!(ended.log.contains(key), "{}", ended.log);
        assert!(folder.path().join("clean").exists(), "{key}");
    }
}

#[test]
fn a_data_folder_in_use_by_another_node_stops_the_start_and_leaves_the_other_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    add_users(folder.path(), "example.org", &["reader"], "secret");
    let first = Node::builder().data_dir(folder.path()).start();
    let ended = Node::builder()
        .data_dir(folder.path())
        .try_start()
        .expect_err("in use");
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    let path = folder.path().to_string_lossy();
    assert!(
        ended.log.contains(&*path) && ended.log.contains("in use"),
        "{}",
        ended.log
    );
    assert_eq!(
        deliver(first.lmtp(), "reader@example.org", b"\r\nhello\r\n").code,
        250
    );
    assert!(log_in(first.pop3(), "reader@example.org", "secret").is_ok());
    // The second one's attempt did not lead the commands away from the first.
    assert_eq!(done(folder.path(), "user list", "").lines().count(), 1);
}

#[test]
fn the_file_that_config_default_prints_is_in_order_and_says_what_holds_without_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let default = done(folder.path(), "config default", "");
    let file = private_file(folder.path(), "mailhorn.toml", &default);
    let file = format!("--config {}", file.display());
    done(folder.path(), &format!("config check {file}"), "");
    let shown = done(folder.path(), "config show", "");
    assert_eq!(done(folder.path(), &format!("config show {file}"), ""), shown);
    assert!(shown.contains("[pop3]") && shown.contains("250"), "{shown}");
}

#[test]
fn flags_come_before_the_environment_and_the_environment_before_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let content =
        "[smtp]\nhostname = \"file.example\"\n[pop3]\nlock = \"shared\"\n[node]\ndata_dir = \"/nowhere\"\n";
    let file = private_file(folder.path(), "mailhorn.toml", content);
    let mut command = std::process::Command::new(mailhorn_integration_tests::binary());
    crate::kit::without_settings(&mut command);
    command
        .env("MAILHORN__SMTP__HOSTNAME", "environment.example")
        .env("MAILHORN__SMTP__LISTEN", "127.0.0.1:2526,[::1]:2526")
        .args(["config", "show", "--data-dir", "/flag", "--config"])
        .arg(file);
    let shown = String::from_utf8(crate::kit::run(command)).expect("text");
    for part in [
        "hostname = \"environment.example\"",
        "lock = \"shared\"",
        "data_dir = \"/flag\"",
        "listen = [\"127.0.0.1:2526\", \"[::1]:2526\"]",
    ] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
}

#[test]
fn the_settings_that_deploy_ships_for_a_cluster_are_in_order() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kubernetes/mailhorn.toml");
    let mut command = std::process::Command::new(mailhorn_integration_tests::binary());
    crate::kit::without_settings(&mut command);
    // What a pod has from its name and from the Secret.
    command
        .env("MAILHORN__NODE__NAME", "mailhorn-0")
        .env("MAILHORN__REDIS__URL", "redis://:change-me@redis:6379")
        .env("MAILHORN__STORE__BACKEND", "cassandra")
        .args(["config", "check", "--config", file]);
    crate::kit::run(command);
}
