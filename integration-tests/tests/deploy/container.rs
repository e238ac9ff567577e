//! The image.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::manifests::{Manifests, list, text, texts};
use crate::read;

const FOLDER: &str = "deploy/container";

/// Instructions with their arguments, continued lines made one.
fn instructions() -> Vec<(String, String)> {
    let file = read(&format!("{FOLDER}/Containerfile"));
    let file: Vec<_> = file.lines().filter(|line| !line.starts_with('#')).collect();
    file.join("\n")
        .replace("\\\n", " ")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(instruction, arguments)| (instruction.to_owned(), arguments.trim().to_owned()))
        .collect()
}

fn all(instruction: &str) -> Vec<String> {
    let found = instructions().into_iter().filter(|(name, _)| name == instruction);
    found.map(|(_, arguments)| arguments).collect()
}

/// The arguments of an instruction that is there once.
fn only(instruction: &str) -> String {
    let mut found = all(instruction);
    assert_eq!(found.len(), 1, "{instruction}: {found:?}");
    found.remove(0)
}

fn workspace() -> Value {
    let manifest: Value = toml::from_str(&read("Cargo.toml")).unwrap();
    manifest["workspace"].clone()
}

#[test]
fn the_image_is_built_by_the_rust_that_the_workspace_names_from_the_lock_file() {
    let rust = text(&workspace()["package"]["rust-version"]);
    let arguments = all("ARG");
    assert!(
        arguments.contains(&format!("RUST_VERSION={rust}")),
        "{arguments:?}"
    );
    let stages = all("FROM");
    assert_eq!(stages.len(), 2, "{stages:?}");
    assert!(stages[0].starts_with("rust:${RUST_VERSION}-"), "{stages:?}");
    // Another Debian may have another C library.
    for stage in &stages {
        assert!(stage.contains("${DEBIAN}") && stage.contains("slim"), "{stage}");
    }
    let builds = all("RUN").into_iter().filter(|line| line.contains("cargo build"));
    for build in builds {
        assert!(build.contains("--locked"), "{build}");
    }
}

#[test]
fn the_image_and_the_pod_agree() {
    let manifests = Manifests::read();
    let user = only("USER");
    let (user, group) = user.split_once(':').expect("a user and a group");
    let (user, group): (u64, u64) = (user.parse().unwrap(), group.parse().unwrap());
    assert!(user > 0 && group > 0);
    let context = &manifests.pod()["securityContext"];
    assert_eq!(context["runAsUser"], user);
    assert_eq!(context["runAsGroup"], group);

    let exposed: BTreeSet<u64> = only("EXPOSE")
        .split(' ')
        .map(|port| port.parse().unwrap())
        .collect();
    let ports: BTreeSet<u64> = manifests.ports().into_iter().map(|(_, port)| port).collect();
    assert_eq!(exposed, ports);

    let folder = only("VOLUME");
    assert_eq!(all("WORKDIR").last(), Some(&folder));
    assert_eq!(manifests.container()["workingDir"], folder.as_str());
    let mounts = list(&manifests.container()["volumeMounts"]);
    assert!(
        mounts.iter().any(|mount| mount["mountPath"] == folder.as_str()),
        "{folder}"
    );

    let image = text(&manifests.container()["image"]);
    let images = list(&manifests.kustomization["images"]);
    let image = images.iter().find(|known| known["name"] == image.as_str());
    let version = text(&workspace()["package"]["version"]);
    assert_eq!(
        image.expect("the kustomization names the image")["newTag"],
        version.as_str()
    );
    let label = format!("org.opencontainers.image.version=\"{version}\"");
    assert!(only("LABEL").contains(&label), "{label}");
}

#[test]
fn the_node_hears_the_signal_itself() {
    assert_eq!(only("STOPSIGNAL"), "SIGTERM");
    for (instruction, expected) in [("ENTRYPOINT", "/usr/local/bin/mailhorn"), ("CMD", "serve")] {
        let form: Value = serde_json::from_str(&only(instruction)).expect("the form without a shell");
        assert_eq!(texts(&form), [expected]);
    }
    let copied = all("COPY");
    assert!(
        copied
            .iter()
            .any(|copy| copy.ends_with(" /usr/local/bin/mailhorn")),
        "{copied:?}"
    );
}

#[test]
fn the_build_sees_the_whole_workspace_and_little_else() {
    let ignored = read(&format!("{FOLDER}/Containerfile.dockerignore"));
    let rules: Vec<_> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rules.first(), Some(&"*"), "first nothing");
    for member in texts(&workspace()["members"]) {
        let top = member.split('/').next().unwrap();
        assert!(rules.contains(&&*format!("!{top}")), "{member}");
    }
    for file in ["Cargo.toml", "Cargo.lock", "LICENSE"] {
        assert!(rules.contains(&&*format!("!{file}")), "{file}");
    }
}
