//! The Kubernetes manifests: valid by the schemas of Kubernetes, and in step with the program and with each other.

use std::process::Command;

use tempfile::TempDir;

use super::{deploy, judged_by, text, tool};
use crate::support::process::briefd;

/// The resources that `kustomization.yaml` names.
fn resources() -> Vec<String> {
    let kustomization = text("kubernetes/kustomization.yaml");
    let list = kustomization.split("resources:\n").nth(1).unwrap();
    let names = list.lines().map_while(|line| line.strip_prefix("  - "));
    names.map(str::to_owned).collect()
}

#[test]
fn every_manifest_fits_the_schemas_of_kubernetes() {
    let resources = resources();
    assert!(resources.len() >= 7, "{resources:?}");
    // The schema of a ServiceMonitor is not Kubernetes' own: see below.
    let known = resources.iter().filter(|name| *name != "servicemonitor.yaml");
    let files = known.map(|name| deploy("kubernetes").join(name));
    let (good, said) = judged_by(tool("kubernetes-validate").arg("--strict").args(files));
    assert!(good && !said.contains("Couldn't find schema"), "{said}");
    assert_eq!(said.matches(" passed for resource ").count(), resources.len() - 1, "{said}");
}

/// By the operator's types, made from its CRDs; they drop what they do not know.
#[test]
fn the_service_monitor_is_one_to_the_prometheus_operator() {
    const SCRIPT: &str = "import sys, yaml; from cloudcoil.models.prometheus_operator import v1
given = yaml.safe_load(open(sys.argv[1]))
taken = v1.ServiceMonitor.model_validate(given).model_dump(mode='json', by_alias=True, exclude_unset=True)
assert taken == given, taken";
    let manifest = deploy("kubernetes/servicemonitor.yaml");
    let (good, said) = judged_by(tool("python").arg("-c").arg(SCRIPT).arg(manifest));
    assert!(good, "{said}");
}

#[test]
fn every_manifest_is_named_in_the_kustomization() {
    let mut files: Vec<String> = std::fs::read_dir(deploy("kubernetes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with("yaml") && name != "kustomization.yaml")
        .collect();
    let mut named = resources();
    files.sort();
    named.sort();
    assert_eq!(files, named);
}

#[test]
fn the_kustomization_can_be_built() {
    if Command::new("kubectl").arg("version").arg("--client").output().is_err() {
        eprintln!("SKIPPED: there is no kubectl on this machine");
        return;
    }
    let (good, said) = judged_by(Command::new("kubectl").arg("kustomize").arg(deploy("kubernetes")));
    assert!(good, "{said}");
    // The settings reach the pod under the name that their content gives them.
    assert_eq!(said.matches("name: briefd-settings-").count(), 2, "{said}");
}

#[test]
fn the_settings_of_the_pod_are_settings_and_leave_it_time_to_stop() {
    let dir = TempDir::new().unwrap();
    let file = deploy("kubernetes/briefd.toml").display().to_string();
    let output = briefd(dir.path(), &["config", "--config", &file], &[]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest = text("kubernetes/statefulset.yaml");
    let limit = manifest.split("terminationGracePeriodSeconds: ").nth(1).unwrap().lines().next().unwrap();
    let limit: u64 = limit.parse().unwrap();
    assert!(limit > super::seconds(&text("kubernetes/briefd.toml"), "grace"));
}
