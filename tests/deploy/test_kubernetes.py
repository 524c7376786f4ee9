"""The manifests against Kubernetes' own schemas, as ``kubernetes-validate`` ships them."""

import copy

import kubernetes_validate
import pytest

from tests.support.manifests import container, documents, workloads

VERSIONS = ("1.30", "1.37")
"""The oldest that is claimed, and the newest that has schemas here."""

EXAMPLES = ("secrets.example.yaml", "forward.example.yaml", "stream.example.yaml", "console.example.yaml")
ALL = [*documents(), *documents(*EXAMPLES)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", ALL, ids=lambda m: f"{m['kind']}/{m['metadata']['name']}")
def test_every_manifest_is_valid(manifest, version):
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_misspelt_field_and_a_wrong_type_would_be_found(version):
    misspelt, wrong = copy.deepcopy(workloads()["ingress"]), copy.deepcopy(workloads()["ingress"])
    container(misspelt)["readynessProbe"] = {}
    wrong["spec"]["replicas"] = "two"
    for manifest in (misspelt, wrong):
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(manifest, version, strict=True)
