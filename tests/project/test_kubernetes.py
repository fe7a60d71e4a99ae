"""The manifests, against the schemas of the Kubernetes API and against one another."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings.model import Settings

KUBERNETES = Path(__file__).resolve().parents[2] / "docker" / "kubernetes"
# The pods' eviction policy is in the API since the first.
RELEASES = ("1.27", "1.37")
CUSTOM = {"ServingRuntime", "InferenceService", "ServiceMonitor"}
"""Kinds that come with their operators and are in no package."""


@functools.cache
def built(folder: str) -> dict[str, Any]:
    """What `kubectl apply --kustomize` would send, by kind."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl to build the manifests with")
    done = subprocess.run([kubectl, "kustomize", KUBERNETES / folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}


def base() -> dict[str, Any]:
    """The manifests that both overlays share, as they lie there."""
    files = [file for file in (KUBERNETES / "base").glob("*.yaml") if file.name != "kustomization.yaml"]
    documents = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    return {document["kind"]: document for document in documents}


def pod(manifests: dict[str, Any]) -> dict[str, Any]:
    return manifests["Deployment"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("release", RELEASES)
def test_the_api_of_a_release_takes_every_shared_manifest(release: str) -> None:
    manifests = base()
    assert len(manifests) == 6
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, release, strict=True)


@pytest.mark.parametrize("overlay", ["overlays/cpu", "overlays/ascend"])
def test_the_api_takes_an_overlay(overlay: str) -> None:
    manifests = built(overlay)
    assert len(manifests) == 7
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, RELEASES[-1], strict=True)


@pytest.mark.parametrize("folder", ["monitoring", "kserve"])
def test_what_operators_read_can_be_built(folder: str) -> None:
    assert built(folder).keys() <= CUSTOM


def test_every_selector_selects_the_pods() -> None:
    manifests = base()
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        manifests["Deployment"]["spec"]["selector"]["matchLabels"],
        manifests["Service"]["spec"]["selector"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert [
        selector for selector in selectors if not selector or not selector.items() <= labels.items()
    ] == []
    target = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == manifests["Deployment"]["metadata"]["name"]


def test_a_pod_has_the_time_to_finish_what_is_in_flight() -> None:
    spec = pod(base())
    pre_stop = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] > pre_stop + Settings().drain_s


def test_the_pods_meet_the_restricted_standard() -> None:
    spec = pod(base())
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_ascend_overlay_asks_for_a_card_and_brings_its_bundle() -> None:
    (container,) = pod(built("overlays/ascend"))["containers"]
    assert container["image"] == "abinet-ascend:ascend"
    assert container["resources"]["limits"]["huawei.com/Ascend910"] == 1
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/bundle", "/tmp"}


def test_kserve_finds_the_runtime_the_port_and_the_model() -> None:
    manifests = built("kserve")
    runtime, served = manifests["ServingRuntime"], manifests["InferenceService"]
    model = served["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert model["modelFormat"]["name"] in {it["name"] for it in runtime["spec"]["supportedModelFormats"]}
    # The protocol's paths name the model, and KServe's clients put the service's name there.
    assert served["metadata"]["name"] == "abinet"
    (container,) = runtime["spec"]["containers"]
    port = container["ports"][0]["containerPort"]
    assert {"name": "ABINET_PORT", "value": str(port)} in container["env"]
    assert container["readinessProbe"]["httpGet"]["port"] == port
