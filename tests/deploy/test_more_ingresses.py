"""docs/guide/more-ingresses.md on Kubernetes: the Job that publishes what a pod's volume still holds."""

import kubernetes_validate
import yaml

from tests.deploy.test_kubernetes import VERSIONS
from tests.support.documents import ROOT, blocks
from tests.support.manifests import container, of_kind, pod, workloads


def test_the_job_that_empties_a_volume_is_valid_and_reaches_kafka_alone() -> None:
    [text] = [code for kind, code in blocks(ROOT / "docs" / "guide" / "more-ingresses.md", "yaml")]
    job, ingress = yaml.safe_load(text), workloads()["ingress"]
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)
    assert container(job)["args"] == ["relay", "--until-empty"]
    # a volume of the ingress's pods, and whatever else they have that it needs
    journal, *others = pod(job)["volumes"]
    [template] = ingress["spec"]["volumeClaimTemplates"]
    prefix = f"{template['metadata']['name']}-{ingress['metadata']['name']}-"
    assert journal["persistentVolumeClaim"]["claimName"].removeprefix(prefix).isdecimal()
    for part in ("env", "envFrom", "volumeMounts"):
        assert all(item in container(ingress)[part] for item in container(job)[part]), part
    assert all(volume in pod(ingress)["volumes"] for volume in others)
    assert pod(job)["securityContext"].items() <= pod(ingress)["securityContext"].items()
    # the Service passes no callback to it, and one policy lets it out
    labels = job["spec"]["template"]["metadata"]["labels"].items()
    [callback] = [s for s in of_kind("Service") if s["metadata"]["name"] == "dingbridge-callback"]
    assert not callback["spec"]["selector"].items() <= labels
    policies = [p["spec"] for p in of_kind("NetworkPolicy")]
    chosen = [p for p in policies if "matchLabels" in p["podSelector"]]
    out = [p["egress"] for p in chosen if p["podSelector"]["matchLabels"].items() <= labels and "egress" in p]
    assert [port["port"] for [rule] in out for port in rule["ports"]] == [9092]
