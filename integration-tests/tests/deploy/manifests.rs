//! The manifests as values, and short ways into them.

use serde_json::Value;

use crate::read;

pub(crate) const FOLDER: &str = "deploy/kubernetes";
/// Not applied: it says what must be there.
const EXAMPLE: &str = "secrets.example.yaml";

/// What is applied, and what must be there.
pub(crate) struct Manifests {
    pub(crate) kustomization: Value,
    pub(crate) applied: Vec<Value>,
    pub(crate) expected: Vec<Value>,
}

impl Manifests {
    pub(crate) fn read() -> Self {
        let kustomization = documents("kustomization.yaml").remove(0);
        let files = texts(&kustomization["resources"]);
        assert!(!files.is_empty(), "the kustomization has no resources");
        assert!(
            !files.iter().any(|file| file == EXAMPLE),
            "{EXAMPLE} would put placeholders in the place of secrets"
        );
        Self {
            applied: files.iter().flat_map(|file| documents(file)).collect(),
            kustomization,
            expected: documents(EXAMPLE),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Value> {
        self.applied.iter().chain(&self.expected)
    }

    pub(crate) fn of_kind(&self, kind: &str) -> Vec<&Value> {
        let found: Vec<_> = self.all().filter(|object| object["kind"] == kind).collect();
        assert!(!found.is_empty(), "there is no {kind}");
        found
    }

    pub(crate) fn stateful_set(&self) -> &Value {
        self.of_kind("StatefulSet")[0]
    }

    pub(crate) fn pod(&self) -> &Value {
        &self.stateful_set()["spec"]["template"]["spec"]
    }

    pub(crate) fn container(&self) -> &Value {
        let containers = list(&self.pod()["containers"]);
        assert_eq!(containers.len(), 1, "the tests know of one container");
        &containers[0]
    }

    /// Keys of the files that the kustomization makes a ConfigMap of that name from.
    pub(crate) fn config_map_keys(&self, name: &str) -> Vec<String> {
        list(&self.kustomization["configMapGenerator"])
            .iter()
            .filter(|map| map["name"] == name)
            .flat_map(|map| texts(&map["files"]))
            .collect()
    }

    pub(crate) fn secret_keys(&self, name: &str) -> Vec<String> {
        self.expected
            .iter()
            .filter(|object| object["kind"] == "Secret" && object["metadata"]["name"] == name)
            .flat_map(|secret| secret["stringData"].as_object().unwrap().keys().cloned())
            .collect()
    }

    /// Name and number of the container's ports.
    pub(crate) fn ports(&self) -> Vec<(String, u64)> {
        list(&self.container()["ports"])
            .iter()
            .map(|port| (text(&port["name"]), port["containerPort"].as_u64().unwrap()))
            .collect()
    }
}

fn documents(file: &str) -> Vec<Value> {
    let path = format!("{FOLDER}/{file}");
    // As Kubernetes reads it (YAML 1.1): a file's mode is an octal number.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_multiple_with_options(&read(&path), options)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

pub(crate) fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(text).collect()
}
