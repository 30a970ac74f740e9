"""The Kubernetes manifest: its parts fit together and match the launch script."""

import pytest
import yaml
from launch_files import LAUNCH, StandIns, after

from lnln_dist import console


@pytest.fixture(scope="module")
def parts() -> dict[str, dict]:
    text = (LAUNCH / "kubernetes" / "train.yaml").read_text()
    return {part["kind"]: part for part in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def container(parts: dict[str, dict]) -> dict:
    (one,) = parts["Job"]["spec"]["template"]["spec"]["containers"]
    return one


def test_pods_find_one_another_by_name(parts: dict[str, dict], container: dict) -> None:
    service, job = parts["Service"], parts["Job"]
    assert set(parts) == {"Service", "Job"}
    assert (service["apiVersion"], job["apiVersion"]) == ("v1", "batch/v1")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    # An Indexed Job names pod 0's host after the job.
    assert job["spec"]["completionMode"] == "Indexed"
    assert after(container["args"], "--main") == f"{name}-0.{pod['subdomain']}"
    ports = {port["port"] for port in service["spec"]["ports"]}
    assert ports == {port["containerPort"] for port in container["ports"]} == {29500}


def test_every_pod_is_a_host(parts: dict[str, dict], container: dict) -> None:
    spec, line = parts["Job"]["spec"], container["args"]
    assert spec["completions"] == spec["parallelism"] == int(after(line, "--hosts"))
    assert after(line, "--rank") == "$(JOB_COMPLETION_INDEX)"
    assert after(line, "--gpus") == container["resources"]["limits"]["nvidia.com/gpu"]
    assert "--resume" in line
    assert all(isinstance(word, str) for word in line)
    spread = spec["template"]["spec"]["affinity"]["podAntiAffinity"]
    (rule,) = spread["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"


def test_leaving_does_not_count_as_failing(parts: dict[str, dict], container: dict) -> None:
    job = parts["Job"]["spec"]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # or the failure policy is refused
    rules = {
        value: rule["action"]
        for rule in job["podFailurePolicy"]["rules"]
        for value in rule.get("onExitCodes", {}).get("values", ["disruption"])
    }
    assert rules == {
        console.EXIT_PREEMPTED: "Ignore",
        "disruption": "Ignore",
        console.EXIT_USER: "FailJob",
    }
    named = [r["onExitCodes"] for r in job["podFailurePolicy"]["rules"] if "onExitCodes" in r]
    assert {code["containerName"] for code in named} == {container["name"]}
    grace = {e["name"]: e["value"] for e in container["env"]}["LNLN_GRACE_S"]
    assert int(grace) < pod["terminationGracePeriodSeconds"]


def test_volumes(parts: dict[str, dict], container: dict) -> None:
    pod = parts["Job"]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    assert volumes["shared-memory"]["emptyDir"]["medium"] == "Memory"
    assert mounts["shared-memory"] == "/dev/shm"
    for option, volume in (("--data.path", "data"), ("--output", "runs")):
        assert after(container["args"], option).startswith(f"{mounts[volume]}/")


def test_the_line_of_a_pod_is_one_the_script_takes(
    container: dict, tmp_path_factory: pytest.TempPathFactory
) -> None:
    programs = StandIns(tmp_path_factory.mktemp("pod"))
    programs.add("accelerate")
    line = ["127.0.0.1" if "lnln-train-0" in word else word for word in container["args"]]
    line = ["1" if word == "$(JOB_COMPLETION_INDEX)" else word for word in line]
    assert container["command"][0] == "bash"
    assert programs.run(*container["command"][1:], *line)[0] == 0
    assert after(programs.arguments("accelerate"), "--machine_rank") == "1"
