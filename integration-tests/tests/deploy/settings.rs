//! The manifests and the node's settings.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::manifests::{FOLDER, Manifests, list, text, texts};
use crate::read;

const FILE: &str = "mailhorn.toml";
/// Begins the name of every variable that is a setting.
const PREFIX: &str = "MAILHORN__";
/// What looks like a setting and is a file.
const FILES: [&str; 3] = ["admin.token", "admin.address", "tls.crt"];

/// Every setting with its default as TOML has it, from the reference that is made from the types.
fn reference() -> BTreeMap<String, String> {
    let reference = read("deploy/config/mailhorn.toml");
    let found: BTreeMap<_, _> = lines(&reference)
        .into_iter()
        .map(|(key, value)| (key, value.to_owned()))
        .collect();
    assert!(
        found.len() > 100,
        "{} settings are too few: read anew",
        found.len()
    );
    found
}

/// Keys and values of a settings file, those that are commented out too.
fn lines(file: &str) -> Vec<(String, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in file.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = line.trim_start_matches('#').split_once(" = ")
            && key
                .bytes()
                .all(|octet| octet == b'_' || octet.is_ascii_lowercase() || octet.is_ascii_digit())
        {
            found.push((format!("{section}.{key}"), value));
        }
    }
    found
}

fn shipped() -> String {
    read(&format!("{FOLDER}/{FILE}"))
}

/// A setting as the shipped file has it, else its default.
pub(crate) fn setting(key: &str) -> Value {
    let (section, name) = key.split_once('.').unwrap();
    let file: Value = toml::from_str(&shipped()).unwrap();
    match &file[section][name] {
        Value::Null => {
            let default = format!("value = {}", reference()[key]);
            toml::from_str::<Value>(&default).unwrap()["value"].take()
        }
        value => value.clone(),
    }
}

pub(crate) fn milliseconds(duration: &Value) -> u64 {
    let duration = text(duration);
    let unit = duration.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let number: u64 = duration.strip_suffix(unit).unwrap().parse().unwrap();
    number
        * match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => panic!("{duration}: a unit that this test doesn't know"),
        }
}

/// The settings that the StatefulSet gives in the environment, with their values where they stand there.
fn environment(manifests: &Manifests) -> BTreeMap<String, Option<String>> {
    list(&manifests.container()["env"])
        .iter()
        .filter_map(|variable| {
            let name = text(&variable["name"]);
            let key = name.strip_prefix(PREFIX)?.to_lowercase().replace("__", ".");
            Some((key, variable["value"].as_str().map(str::to_owned)))
        })
        .collect()
}

#[test]
fn every_name_is_a_settings() {
    let known = reference();
    let file = shipped();
    toml::from_str::<Value>(&file).unwrap();
    let in_file: BTreeSet<_> = lines(&file).into_iter().map(|(key, _)| key).collect();
    assert!(in_file.len() > 10, "{in_file:?}");
    for key in &in_file {
        assert!(known.contains_key(key), "{FILE}: there is no setting {key}");
    }
    let manifests = Manifests::read();
    let variables = environment(&manifests);
    for (key, value) in &variables {
        assert!(known.contains_key(key), "env: there is no setting {key}");
        if let Some(value) = value.as_ref().filter(|_| in_file.contains(key)) {
            assert_eq!(
                &text(&setting(key)),
                value,
                "{key}: the environment hides the file"
            );
        }
    }
    // What README and comments name.
    for file in [
        "README.md",
        "statefulset.yaml",
        "services.yaml",
        "network.yaml",
        "secrets.example.yaml",
    ] {
        let told = read(&format!("{FOLDER}/{file}"));
        for name in told.split(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_')) {
            let name = name.trim_end_matches('.');
            let section = name.split_once('.').map(|(section, _)| section);
            let is_setting =
                section.is_some_and(|section| known.keys().any(|key| key.split('.').next() == Some(section)));
            assert!(
                !is_setting || known.contains_key(name) || FILES.contains(&name),
                "{file}: there is no setting {name}"
            );
        }
    }
}

#[test]
fn each_node_has_a_name_of_its_own_and_secrets_are_no_settings_in_the_open() {
    let manifests = Manifests::read();
    let container = manifests.container();
    let variable = |name: &str| {
        let found = list(&container["env"])
            .iter()
            .find(|variable| variable["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is missing"))
    };
    let name = variable("MAILHORN__NODE__NAME");
    assert_eq!(name["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
    assert!(variable("MAILHORN__REDIS__URL")["valueFrom"]["secretKeyRef"].is_object());
    let file: Value = toml::from_str(&shipped()).unwrap();
    assert!(file["node"]["name"].is_null(), "all nodes would have one name");
    assert!(file["redis"]["url"].is_null(), "it has a password in it");
    assert_eq!(setting("store.backend"), "cassandra");
}

#[test]
fn the_node_listens_where_the_ports_say_on_all_addresses() {
    let manifests = Manifests::read();
    for (port, number) in manifests.ports() {
        let key = match port.as_str() {
            "pop3s" => "pop3.listen_tls".to_owned(),
            port => format!("{port}.listen"),
        };
        let addresses = texts(&setting(&key));
        assert!(!addresses.is_empty(), "{key}");
        for address in addresses {
            let address: SocketAddr = address.parse().unwrap();
            assert!(
                address.ip().is_unspecified(),
                "{key}: {address} is not where the pod's clients come"
            );
            assert_eq!(u64::from(address.port()), number, "{key}: {address}");
        }
    }
}

#[test]
fn files_that_settings_name_are_mounted() {
    let manifests = Manifests::read();
    let mounts = list(&manifests.container()["volumeMounts"]);
    let volume_of = |path: &Path| {
        let mount = mounts
            .iter()
            .find(|mount| path.starts_with(text(&mount["mountPath"])));
        let mount = mount.unwrap_or_else(|| panic!("{} is nowhere mounted", path.display()));
        let volumes = list(&manifests.pod()["volumes"]);
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == mount["name"])
            .unwrap();
        let below = path.strip_prefix(text(&mount["mountPath"])).unwrap();
        (volume, below.to_str().unwrap().to_owned())
    };
    for key in ["cassandra.password_file", "tls.certificate", "tls.key"] {
        let path = text(&setting(key));
        let (volume, file) = volume_of(Path::new(&path));
        let secret = &volume["secret"];
        let items = list(&secret["items"]);
        let files: Vec<_> = if items.is_empty() {
            manifests.secret_keys(&text(&secret["secretName"]))
        } else {
            items.iter().map(|item| text(&item["path"])).collect()
        };
        assert!(files.contains(&file), "{key}: {path} is not among {files:?}");
    }
    let args = texts(&manifests.container()["args"]);
    let [flag, config, command] = args.as_slice() else {
        panic!("{args:?}")
    };
    assert_eq!((flag.as_str(), command.as_str()), ("--config", "serve"));
    let (volume, file) = volume_of(Path::new(config));
    let map = text(&volume["configMap"]["name"]);
    assert_eq!(manifests.config_map_keys(&map), [file], "{config}");
}

#[test]
fn the_data_folder_can_be_written_and_is_where_commands_look_for_it() {
    let manifests = Manifests::read();
    let folder = text(&setting("node.data_dir"));
    let mounts = list(&manifests.container()["volumeMounts"]);
    let mount = mounts
        .iter()
        .find(|mount| Path::new(&folder).starts_with(text(&mount["mountPath"])));
    let mount = mount.expect("node.data_dir is in a volume");
    assert!(mount["readOnly"].is_null(), "{mount}");
    let default: Value = toml::from_str(&format!("value = {}", reference()["node.data_dir"])).unwrap();
    let here = Path::new(&text(&manifests.container()["workingDir"]))
        .join(text(&default["value"]).trim_start_matches("./"));
    assert_eq!(
        here,
        Path::new(&folder),
        "a command without --config looks elsewhere"
    );
}
