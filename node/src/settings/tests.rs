use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::reference;
use super::value::{Lock, LogFormat, TlsVersion, Value};
use super::{Problem, Settings, Sources};

fn environment(variables: &[(&str, &str)]) -> HashMap<String, String> {
    variables
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// What a file with `text` and these variables give.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mailhorn.toml");
    fs::write(&file, text).unwrap();
    let sources = Sources {
        file: Some(file.clone()),
        environment: environment(variables),
        data_dir: None,
    };
    let file = file.display().to_string();
    sources.load().map_err(|problems| {
        problems
            .0
            .iter()
            .map(|problem| problem.to_string().replace(&file, "FILE"))
            .collect()
    })
}

fn defaults() -> Settings {
    Sources::default().load().unwrap()
}

#[test]
fn without_any_source_the_defaults_of_the_table_hold() {
    let settings = defaults();
    assert_eq!(settings.smtp.listen, ["127.0.0.1:2525".parse().unwrap()]);
    assert_eq!(settings.lmtp.listen, ["127.0.0.1:2424".parse().unwrap()]);
    assert_eq!(settings.pop3.listen, ["127.0.0.1:2110".parse().unwrap()]);
    assert_eq!(settings.pop3.listen_tls, ["127.0.0.1:2995".parse().unwrap()]);
    assert_eq!(settings.admin.listen, ["127.0.0.1:2180".parse().unwrap()]);
    assert_eq!(settings.pop3.lock, Lock::Exclusive);
    assert_eq!(settings.pop3.lock_wait, Duration::from_secs(2));
    assert_eq!(settings.smtp.max_message_size.octets(), 50 << 20);
    assert_eq!(settings.auth.scram_iterations, 15_000);
    assert_eq!(settings.node.data_dir, PathBuf::from("./mailhorn-data"));
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default() {
    let file = "[node]\nname = \"file\"\ndata_dir = \"/file\"\n[smtp]\nduplicate_window = \"0\"\n";
    let variables = [
        ("MAILHORN__NODE__NAME", "environment"),
        ("MAILHORN__NODE__DATA_DIR", "/environment"),
    ];
    let settings = load(file, &variables).unwrap();
    assert_eq!(
        settings.smtp.duplicate_window,
        Duration::ZERO,
        "file over default"
    );
    assert_eq!(
        settings.node.name.as_str(),
        "environment",
        "environment over file"
    );
    let sources = Sources {
        file: None,
        environment: environment(&variables),
        data_dir: Some(PathBuf::from("/flag")),
    };
    assert_eq!(
        sources.load().unwrap().node.data_dir,
        PathBuf::from("/flag"),
        "flag over environment"
    );
}

#[test]
fn values_are_read_in_every_form_that_a_source_can_write_them_in() {
    let file = "[smtp]\nlisten = [\"127.0.0.1:1\", \"[::1]:2\"]\nmax_message_size = 1048576\n\
                max_recipients = 200\n[log]\nformat = \"json\"\n";
    let settings = load(file, &[]).unwrap();
    assert_eq!(
        settings.smtp.listen,
        ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]
    );
    assert_eq!(settings.smtp.max_message_size.octets(), 1 << 20);
    assert_eq!(settings.smtp.max_recipients, 200);
    assert_eq!(settings.log.format, LogFormat::Json);

    let variables = [
        ("MAILHORN__SMTP__LISTEN", "127.0.0.1:1, [::1]:2"),
        ("MAILHORN__SMTP__MAX_MESSAGE_SIZE", "1MiB"),
        ("MAILHORN__SMTP__MAX_RECIPIENTS", "200"),
        ("MAILHORN__LOG__FORMAT", "json"),
        ("MAILHORN__LMTP__LISTEN", ""),
        ("MAILHORN_WRITE_DOCS", "not a setting: one underscore"),
        ("PATH", "not a setting"),
    ];
    let from_environment = load("", &variables).unwrap();
    assert_eq!(from_environment.smtp, settings.smtp);
    assert_eq!(from_environment.log, settings.log);
    assert!(from_environment.lmtp.listen.is_empty(), "an empty list is a list");
}

#[test]
fn an_unknown_setting_or_a_bad_value_stops_the_start_whoever_set_it() {
    let table = [
        (
            "[smtp]\nlitsen = \"127.0.0.1:25\"\n",
            [("MAILHORN__SMTP__LITSEN", "127.0.0.1:25")],
            "smtp.litsen = \"127.0.0.1:25\" (ORIGIN): there is no such setting; did you mean smtp.listen?",
        ),
        (
            "[imap]\nlisten = 1\n",
            [("MAILHORN__IMAP__LISTEN", "1")],
            "imap.listen = \"1\" (ORIGIN): there is no such setting",
        ),
        (
            "smtp = 1\n",
            [("MAILHORN__SMTP", "1")],
            "smtp = \"1\" (ORIGIN): there is no such setting",
        ),
        (
            "[pop3]\nlock = \"both\"\n",
            [("MAILHORN__POP3__LOCK", "both")],
            "pop3.lock = \"both\" (ORIGIN): not allowed. Allowed: \"exclusive\" or \"shared\"",
        ),
        (
            "[pop3]\nidle_timeout = \"9m\"\n",
            [("MAILHORN__POP3__IDLE_TIMEOUT", "9m")],
            "pop3.idle_timeout = \"9m\" (ORIGIN): not allowed. Allowed: a duration in ms, s, m, h or d, such as \"30s\", from 10m to 24h",
        ),
        (
            "[smtp]\nmax_connections = 0\n",
            [("MAILHORN__SMTP__MAX_CONNECTIONS", "0")],
            "smtp.max_connections = \"0\" (ORIGIN): not allowed. Allowed: a whole number, from 1 to 1000000",
        ),
        (
            "[smtp]\nhostname = \"mail example\"\n",
            [("MAILHORN__SMTP__HOSTNAME", "mail example")],
            "smtp.hostname = \"mail example\" (ORIGIN): not allowed",
        ),
        (
            "[auth]\ntrusted_networks = \"10.0.0.0/33\"\n",
            [("MAILHORN__AUTH__TRUSTED_NETWORKS", "10.0.0.0/33")],
            "auth.trusted_networks = \"10.0.0.0/33\" (ORIGIN): not allowed. Allowed: a list of: a network",
        ),
        (
            "[tls]\nsuites = \"TLS_AES_256_GCM_SHA348\"\n",
            [("MAILHORN__TLS__SUITES", "TLS_AES_256_GCM_SHA348")],
            "tls.suites = \"TLS_AES_256_GCM_SHA348\" (ORIGIN): not allowed; did you mean TLS_AES_256_GCM_SHA384? Allowed: a list of: TLS_",
        ),
        (
            "[webhook]\nurl = \"http://ann:pass@word@host/\"\n",
            [("MAILHORN__WEBHOOK__URL", "http://ann:pass@word@host/")],
            "webhook.url = \"…@host/\" (ORIGIN): not allowed. Allowed: an address without a user",
        ),
        (
            "[webhook]\nulr = \"http://ann:password@host/\"\n",
            [("MAILHORN__WEBHOOK__ULR", "http://ann:password@host/")],
            "webhook.ulr = \"…@host/\" (ORIGIN): there is no such setting",
        ),
    ];
    for (file, variables, expected) in table {
        let variable = variables[0].0;
        for (problems, origin) in [
            (load(file, &[]).unwrap_err(), "from FILE".to_owned()),
            (
                load("", &variables).unwrap_err(),
                format!("from the environment: {variable}"),
            ),
        ] {
            let [problem] = problems.as_slice() else {
                panic!("{file:?} gave {problems:?}")
            };
            assert!(
                problem.starts_with(&expected.replace("ORIGIN", &origin)),
                "{problem}"
            );
        }
    }
}

#[test]
fn a_value_in_the_place_of_a_section_is_noticed_though_a_later_source_hides_it() {
    let problems = load("smtp = 5\n", &[("MAILHORN__SMTP__LISTEN", "127.0.0.1:1")]).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn a_table_in_the_place_of_a_value_is_not_allowed() {
    let problems = load("[smtp.listen]\nport = 25\n", &[]).unwrap_err();
    assert!(
        problems[0].starts_with("smtp.listen = a table (from "),
        "{problems:?}"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let problems = load(
        "[smtp]\nlisten = \"x\"\nmax_recipients = 1\n[pop3]\nlock = \"x\"\n",
        &[],
    )
    .unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_named() {
    let sources = Sources {
        file: Some(PathBuf::from("/nowhere/mailhorn.toml")),
        ..Sources::default()
    };
    let problems = sources.load().unwrap_err().to_string();
    assert!(
        problems.starts_with("/nowhere/mailhorn.toml: can't be read"),
        "{problems}"
    );
    let problems = load("listen = = 1", &[]).unwrap_err();
    assert!(problems[0].starts_with("FILE: not a TOML file"), "{problems:?}");
}

/// Which setting `verify` complains of.
fn complaint(change: impl FnOnce(&mut Settings)) -> Vec<String> {
    let mut settings = defaults();
    change(&mut settings);
    let problems = settings
        .verify()
        .err()
        .map(|problems| problems.0)
        .unwrap_or_default();
    let keys = problems.into_iter().map(|problem| match problem {
        Problem::Combination { key, .. } => key,
        other => panic!("{other} is no combination"),
    });
    keys.collect()
}

#[test]
fn combinations_that_cannot_work_are_refused_by_the_setting_to_change() {
    let path = || Some(PathBuf::from("x.pem"));
    assert_eq!(complaint(|_| {}), [""; 0]);
    assert_eq!(complaint(|s| s.tls.certificate = path()), ["tls.key"]);
    assert_eq!(complaint(|s| s.tls.key = path()), ["tls.certificate"]);
    assert_eq!(complaint(|s| s.tls.folder = path()), ["tls.folder"]);
    assert_eq!(
        complaint(|s| {
            s.tls.min_version = TlsVersion::Tls13;
            s.tls.suites = Value::parse("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256").unwrap();
        }),
        ["tls.suites"]
    );
    let longer = Duration::from_secs(2 * 86_400);
    assert_eq!(complaint(|s| s.bans.time = longer), ["bans.time_max"]);
    let often = Duration::from_millis(999);
    assert_eq!(complaint(|s| s.tls.check_every = often), ["tls.check_every"]);
    assert_eq!(
        complaint(|s| s.lmtp.listen = s.smtp.listen.clone()),
        ["lmtp.listen"]
    );
    const LONG: Duration = Duration::from_secs(80);
    assert_eq!(complaint(|s| s.net.keepalive_idle = LONG), [""; 0]);
    let probed_seldom = |long: fn(&mut Settings)| {
        complaint(|s| {
            s.net.keepalive_interval = Duration::from_secs(11);
            long(s);
        })
    };
    assert_eq!(
        probed_seldom(|s| s.net.keepalive_idle = LONG),
        ["net.keepalive_idle"]
    );
    assert_eq!(probed_seldom(|s| s.net.user_timeout = LONG), ["net.user_timeout"]);
}

#[test]
fn listeners_that_cannot_work_together_are_refused_by_the_setting_to_change() {
    let with_webhook = |s: &mut Settings| {
        s.webhook.url = Value::parse("http://127.0.0.1:8080/hook");
        s.webhook.secret_file = Some(PathBuf::from("secret"));
    };
    assert_eq!(complaint(with_webhook), [""; 0]);
    assert_eq!(
        complaint(|s| {
            with_webhook(s);
            s.webhook.secret_file = None;
        }),
        ["webhook.secret_file"]
    );
    assert_eq!(
        complaint(|s| {
            with_webhook(s);
            s.webhook.url = None;
        }),
        ["webhook.url"]
    );
    assert_eq!(
        complaint(|s| {
            with_webhook(s);
            s.webhook.timeout = s.events.execution_timeout;
        }),
        ["webhook.timeout"]
    );
    assert_eq!(
        complaint(|s| s.events.redeliver_every = Duration::from_secs(1)),
        ["events.redeliver_every"]
    );
    assert_eq!(
        complaint(|s| s.feed.max_clients = s.admin.max_connections),
        ["feed.max_clients"]
    );
    assert_eq!(
        complaint(|s| (s.feed.max_clients, s.admin.listen) = (9_000, Vec::new())),
        [""; 0],
        "nobody can follow a feed"
    );
}

#[test]
fn the_postmaster_can_get_mail_that_came_without_smtputf8() {
    let postmaster = |text: &str| complaint(|s| s.smtp.postmaster = Some(text.parse().unwrap()));
    assert_eq!(postmaster("p\u{f6}st@example.org"), ["smtp.postmaster"]);
    assert_eq!(postmaster("post@b\u{fc}cher.example"), [""; 0]);
}

#[test]
fn the_self_signed_certificate_is_for_this_machine_alone() {
    let outside = || vec!["192.0.2.1:110".parse().unwrap()];
    assert_eq!(complaint(|s| s.pop3.listen_tls = outside()), ["pop3.listen_tls"]);
    assert_eq!(complaint(|s| s.smtp.listen_tls = outside()), ["smtp.listen_tls"]);
    assert_eq!(complaint(|s| s.pop3.listen = outside()), ["pop3.listen"]);
    assert_eq!(
        complaint(|s| s.smtp.listen = outside()),
        [""; 0],
        "mail comes in without TLS, STARTTLS isn't offered"
    );
    let settings = defaults();
    assert!(settings.offers_tls(settings.pop3.listen[0]));
    assert!(!settings.offers_tls(outside()[0]));
    assert_eq!(
        complaint(|s| {
            s.pop3.listen = outside();
            s.auth.allow_plaintext = super::value::Plaintext::Always;
        }),
        [""; 0],
        "said expressly"
    );
    assert_eq!(
        complaint(|s| {
            (s.pop3.listen, s.pop3.listen_tls) = (outside(), vec!["192.0.2.1:995".parse().unwrap()]);
            (s.tls.certificate, s.tls.key) = (Some("c.pem".into()), Some("k.pem".into()));
        }),
        [""; 0],
        "with a certificate of one's own"
    );
}

#[test]
fn every_default_is_allowed_and_every_range_can_be_read() {
    for section in Settings::table() {
        for entry in section.entries {
            assert!(!entry.default_toml.is_empty(), "{}.{}", section.name, entry.name);
        }
    }
    assert!(defaults().verify().is_ok());
}

#[test]
fn the_commented_file_without_its_marks_is_the_defaults() {
    let text: String = reference::toml()
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(load(&text, &[]).unwrap(), defaults());
    assert_eq!(
        load(&reference::toml(), &[]).unwrap(),
        defaults(),
        "with its marks too"
    );
}

#[test]
fn what_is_in_force_can_be_loaded_again() {
    let settings = load(
        "[smtp]\nhostname = \"mx.example.org\"\nlisten = []\n[log]\nlevels = \"warn,x::y=trace\"\n",
        &[],
    );
    let settings = settings.unwrap();
    assert_eq!(load(&settings.to_toml(), &[]).unwrap(), settings);
    assert_eq!(settings.log.levels.to_toml(), "\"warn,x::y=trace\"");
}

#[test]
fn the_files_in_deploy_are_what_the_table_gives() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/config");
    for (name, made) in [
        ("REFERENCE.md", reference::markdown()),
        ("mailhorn.toml", reference::toml()),
    ] {
        let path = folder.join(name);
        if std::env::var_os("MAILHORN_WRITE_DOCS").is_some() {
            fs::write(&path, &made).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == made,
            "{name} is not up to date: MAILHORN_WRITE_DOCS=1 cargo test -p mailhorn writes it"
        );
    }
}
