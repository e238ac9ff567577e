//! The manifests among each other.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::manifests::{Manifests, list, text, texts};
use crate::settings::{milliseconds, setting};
use crate::{manifests, read};

/// What a stop may take after `node.shutdown_deadline`, `store.commit_timeout` aside: sessions say good-bye (1 s), listeners
/// finish (10 s), the other nodes are told (6 s), the admin server ends (5 s).
const AFTER_SESSIONS_MILLISECONDS: u64 = 22_000;

#[test]
fn every_object_says_what_it_is_and_no_two_have_one_name() {
    let manifests = Manifests::read();
    let mut names = BTreeSet::new();
    for object in manifests.all() {
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        assert!(object["apiVersion"].is_string(), "{kind} {name}");
        assert!(
            object["metadata"]["namespace"].is_null(),
            "{kind} {name} forces a namespace"
        );
        assert!(
            names.insert((kind.clone(), name.clone())),
            "{kind} {name} is there twice"
        );
    }
    assert!(manifests.kustomization["namespace"].is_null());
}

#[test]
fn every_file_of_the_folder_is_used_or_explained() {
    let explained = read("deploy/kubernetes/README.md");
    let folder = format!("{}/../{}", env!("CARGO_MANIFEST_DIR"), manifests::FOLDER);
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "README.md" || explained.contains(&name),
            "README.md doesn't know {name}"
        );
    }
}

#[test]
fn selectors_find_the_nodes() {
    let manifests = Manifests::read();
    let labels = &manifests.stateful_set()["spec"]["template"]["metadata"]["labels"];
    let mut selectors = vec![(
        "StatefulSet",
        &manifests.stateful_set()["spec"]["selector"]["matchLabels"],
    )];
    for service in manifests.of_kind("Service") {
        selectors.push(("Service", &service["spec"]["selector"]));
    }
    for budget in manifests.of_kind("PodDisruptionBudget") {
        selectors.push(("PodDisruptionBudget", &budget["spec"]["selector"]["matchLabels"]));
    }
    for policy in manifests.of_kind("NetworkPolicy") {
        selectors.push(("NetworkPolicy", &policy["spec"]["podSelector"]["matchLabels"]));
    }
    for spread in list(&manifests.pod()["topologySpreadConstraints"]) {
        selectors.push((
            "topologySpreadConstraints",
            &spread["labelSelector"]["matchLabels"],
        ));
    }
    assert!(selectors.len() >= 7, "{selectors:?}");
    for (whose, selector) in selectors {
        let selector = selector
            .as_object()
            .unwrap_or_else(|| panic!("{whose} selects everything"));
        assert!(!selector.is_empty(), "{whose} selects everything");
        for (label, value) in selector {
            assert_eq!(&labels[label], value, "{whose}: {label}");
        }
    }
}

#[test]
fn ports_go_by_names_that_the_container_has() {
    let manifests = Manifests::read();
    let names: BTreeSet<_> = manifests.ports().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), manifests.ports().len(), "a name is there twice");
    let mut served = BTreeSet::new();
    for service in manifests.of_kind("Service") {
        for port in list(&service["spec"]["ports"]) {
            served.insert(text(&port["targetPort"]));
        }
    }
    assert_eq!(served, names, "what Services lead to, and what the container has");
    let mut guarded = BTreeSet::new();
    for policy in manifests.of_kind("NetworkPolicy") {
        for rule in list(&policy["spec"]["ingress"]) {
            for port in list(&rule["ports"]) {
                guarded.insert(text(&port["port"]));
                let is_open = list(&rule["from"]).is_empty();
                assert!(
                    !is_open || port["port"] != "admin",
                    "administration is open to everybody"
                );
            }
            assert!(
                !list(&rule["ports"]).is_empty(),
                "a rule without ports opens all of them"
            );
        }
    }
    assert_eq!(
        guarded, names,
        "what the policy lets in, and what the container has"
    );
}

#[test]
fn the_headless_service_is_the_stateful_sets() {
    let manifests = Manifests::read();
    let name = &manifests.stateful_set()["spec"]["serviceName"];
    let services = manifests.of_kind("Service");
    let service = services
        .iter()
        .find(|service| &service["metadata"]["name"] == name);
    assert_eq!(
        service.expect("serviceName is a Service")["spec"]["clusterIP"],
        "None"
    );
}

#[test]
fn probes_ask_what_the_node_answers_without_a_token() {
    let manifests = Manifests::read();
    let routes = read("node/src/admin/mod.rs");
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        let probe = &manifests.container()[probe]["httpGet"];
        assert_eq!((&probe["path"], &probe["port"]), (&path.into(), &"admin".into()));
        let route = format!("web::resource(\"{path}\").get(");
        assert!(routes.contains(&route), "the node has no {path}");
    }
}

#[test]
fn what_is_mounted_is_there() {
    let manifests = Manifests::read();
    let volumes = list(&manifests.pod()["volumes"]);
    let mounted: BTreeSet<_> = list(&manifests.container()["volumeMounts"])
        .iter()
        .map(|mount| text(&mount["name"]))
        .collect();
    let there: BTreeSet<_> = volumes.iter().map(|volume| text(&volume["name"])).collect();
    assert_eq!(mounted, there, "what is mounted, and what there is to mount");
    for volume in volumes {
        if let Some(name) = volume["configMap"]["name"].as_str() {
            assert!(!manifests.config_map_keys(name).is_empty(), "no ConfigMap {name}");
        }
        if let Some(name) = volume["secret"]["secretName"].as_str() {
            let keys = manifests.secret_keys(name);
            assert!(!keys.is_empty(), "no Secret {name}");
            for item in list(&volume["secret"]["items"]) {
                assert!(
                    keys.contains(&text(&item["key"])),
                    "no {item} in the Secret {name}"
                );
            }
        }
    }
    for variable in list(&manifests.container()["env"]) {
        let from = &variable["valueFrom"]["secretKeyRef"];
        if let Some(name) = from["name"].as_str() {
            assert!(
                manifests.secret_keys(name).contains(&text(&from["key"])),
                "{variable}"
            );
        }
    }
}

#[test]
fn secrets_are_for_the_node_alone() {
    let manifests = Manifests::read();
    let volumes = list(&manifests.pod()["volumes"]);
    let secrets: Vec<_> = volumes
        .iter()
        .filter(|volume| volume["secret"].is_object())
        .collect();
    assert!(!secrets.is_empty());
    for volume in secrets {
        assert_eq!(volume["secret"]["defaultMode"], 0o400, "{volume}");
    }
    let group = &manifests.pod()["securityContext"]["fsGroup"];
    assert!(
        group.is_number(),
        "without it secrets with that mode are root's alone"
    );
}

#[test]
fn a_node_has_no_rights_that_it_does_not_need() {
    let manifests = Manifests::read();
    let (pod, container) = (
        &manifests.pod()["securityContext"],
        &manifests.container()["securityContext"],
    );
    assert_eq!(pod["runAsNonRoot"], true);
    assert!(pod["runAsUser"].as_u64().is_some_and(|user| user > 0));
    assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(texts(&container["capabilities"]["drop"]), ["ALL"]);
    assert_eq!(manifests.pod()["automountServiceAccountToken"], false);
}

#[test]
fn a_stop_is_given_the_time_that_it_may_take() {
    let manifests = Manifests::read();
    let pause = manifests.container()["lifecycle"]["preStop"]["sleep"]["seconds"]
        .as_u64()
        .unwrap();
    assert!(pause >= 5, "endpoints need a while to go");
    let needed = pause * 1_000
        + milliseconds(&setting("node.shutdown_deadline"))
        + milliseconds(&setting("store.commit_timeout"))
        + AFTER_SESSIONS_MILLISECONDS;
    let given = manifests.pod()["terminationGracePeriodSeconds"].as_u64().unwrap() * 1_000;
    assert!(given > needed, "{given} ms are given, {needed} ms may be needed");
}

#[test]
fn one_node_goes_at_a_time() {
    let manifests = Manifests::read();
    let budget = manifests.of_kind("PodDisruptionBudget")[0];
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert_eq!(
        manifests.stateful_set()["spec"]["podManagementPolicy"],
        "Parallel"
    );
    let replicas = manifests.stateful_set()["spec"]["replicas"].as_u64();
    assert!(replicas.is_some_and(|replicas| replicas >= 3));
    let spread: Vec<&Value> = list(&manifests.pod()["topologySpreadConstraints"])
        .iter()
        .collect();
    assert!(
        spread
            .iter()
            .any(|spread| spread["topologyKey"] == "kubernetes.io/hostname")
    );
}
