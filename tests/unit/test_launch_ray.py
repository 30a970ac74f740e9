"""The files under launch/ray are well-formed and name options that exist."""

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from launch_files import StandIns, communicate

from lnln_dist.commands.sweep import _parser
from lnln_dist.sweep import study

RAY = Path(__file__).resolve().parents[2] / "launch" / "ray"


def load(name: str) -> Any:
    return yaml.safe_load((RAY / name).read_text())


def options(text: str) -> set[str]:
    """Options after the verb in a command that runs a sweep."""
    return set(re.findall(r"--[a-z_]+", text.split(" sweep ")[1]))


def known() -> set[str]:
    return {option for action in _parser()._actions for option in action.option_strings}


@pytest.mark.parametrize("name", ["submit.sh", "slurm.sbatch"])
def test_scripts_are_valid_bash_and_executable(name: str) -> None:
    subprocess.run(["bash", "-n", str(RAY / name)], check=True)
    assert (RAY / name).stat().st_mode & 0o100
    runs = [line for line in (RAY / name).read_text().splitlines() if " sweep --config" in line]
    assert runs
    assert all(options(line) <= known() for line in runs)


def test_scripts_say_how_to_use_them() -> None:
    for arguments in ([], ["one"]):
        done = subprocess.run(
            ["bash", str(RAY / "submit.sh"), *arguments], capture_output=True, text=True
        )
        assert done.returncode == 2
        assert "usage" in done.stderr
    relative = subprocess.run(
        ["bash", str(RAY / "submit.sh"), __file__, "runs/x"], capture_output=True, text=True
    )
    assert relative.returncode == 2
    assert "absolute path" in relative.stderr


def test_submission_without_a_token_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(RAY / "submit.sh"), __file__, "/shared/x"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "no token" in done.stderr


def submit(tmp_path: Path, *options: str, ray: str = "") -> tuple[int, str, StandIns]:
    """Submits a sweep with a stand-in for Ray, from a folder that holds the data."""
    made = StandIns(tmp_path)
    made.add("ray", 'for w; do [ ! -f "$w/sweep.yaml" ] || cp "$w/sweep.yaml" "$RECORDED/"; done')
    if ray:
        made.add("ray", ray)
    # By its own path, so that it finds the packages of its environment.
    made.add("python", f'exec {sys.executable} "$@"')
    (tmp_path / "given.yaml").write_text("settings: {train: {epochs: 3}}")
    extra = {"LNLN_VENV": str(tmp_path), "RAY_AUTH_TOKEN": "0" * 64, "LNLN_PATHS": str(tmp_path)}
    script, sweep = RAY / "submit.sh", str(tmp_path / "given.yaml")
    found = {"PYTHONPATH": str(RAY.parents[1])}
    return *made.run(script, sweep, "/shared/x", *options, **extra, **found), made


def test_settings_on_the_command_line_are_resolved_before_submission(tmp_path: Path) -> None:
    options = ["--set", "settings.data.path=data/mosi", "--wait", "60", "--set=seeds=[7]"]
    code, said, made = submit(tmp_path, *options)
    assert code == 0, said
    sweep = study.read(tmp_path / "sweep.yaml")
    assert sweep.settings["data"]["path"] == str(tmp_path / "data" / "mosi")
    assert sweep.seeds == (7,)
    sent = made.arguments("ray")
    assert sent[sent.index("--") + 1 :] == [
        *("python", "-m", "lnln_dist", "sweep", "--config", "sweep.yaml"),
        *("--output", "/shared/x", "--resume", "--wait", "60"),
    ]


def test_a_cluster_that_is_not_ready_is_asked_again(tmp_path: Path) -> None:
    refuse = "echo '500: No available agent to submit job' >&2; exit 1"
    once = f'[ -e "$RECORDED/asked" ] || {{ touch "$RECORDED/asked"; {refuse}; }}'
    code, said, _ = submit(tmp_path, ray=once)
    assert code == 0, said
    assert said.count("not ready yet") == 1
    assert "No available agent" not in said


def test_another_refusal_is_shown_as_it_is(tmp_path: Path) -> None:
    code, said, _ = submit(tmp_path, ray="echo no token >&2; exit 3")
    assert code == 3
    assert "no token" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "sceen.seeds=1"], "did you mean screen"),
        (["--wat", "60"], "did you mean --wait"),
        (["--set"], "--set"),
        (["--dry-run"], "give one of them"),
    ],
)
def test_mistakes_are_found_before_submission(
    tmp_path: Path, options: list[str], message: str
) -> None:
    code, said, made = submit(tmp_path, *options)
    assert code != 0
    assert message in said
    assert not (made.folder / "ray.arguments").exists()


def test_slurm_header() -> None:
    text = (RAY / "slurm.sbatch").read_text()
    found = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", text, re.MULTILINE))
    assert found["ntasks-per-node"] == "1"
    assert {"nodes", "time", "requeue", "gpus-per-node"} <= found.keys()
    assert found["signal"] == "B:USR1@120"  # the batch script alone is told
    # Directives after the first command would be ignored by SLURM.
    assert text.index("set -euo") > text.rindex("#SBATCH")


# srun OPTIONS COMMAND...: the command's words, and the address of a node for `hostname`.
SRUN = """while [ "${1#-}" != "$1" ]; do [ "$1" = -w ] && shift; shift; done
if [ "$1" = hostname ]; then echo 127.0.0.1; fi"""


JOB = {
    "SLURM_SUBMIT_DIR": str(RAY.parents[1]),
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NODELIST": "one,two",
    "SLURM_JOB_NUM_NODES": "2",
}
RUN = (RAY / "slurm.sbatch", "sweep.yaml", "/shared/x")


@pytest.fixture
def slurm(tmp_path: Path) -> StandIns:
    made = StandIns(tmp_path)
    made.add("srun", SRUN)
    made.add("scontrol", "echo one; echo two")
    made.add("ray")
    made.add("lnln-dist")
    return made


def test_slurm_gives_its_cores_to_ray(slurm: StandIns) -> None:
    """Since SLURM 22.05 srun gives one core, unless it is told itself."""
    code, said = slurm.run(*RUN, **JOB, SLURM_CPUS_PER_TASK="16")
    assert code == 0, said
    assert slurm.seen("srun")["SRUN_CPUS_PER_TASK"] == "16"
    assert slurm.run(*RUN, **JOB)[0] == 0
    assert "SRUN_CPUS_PER_TASK" not in slurm.seen("srun")
    assert slurm.arguments("lnln-dist")[:4] == ["sweep", "--config", "sweep.yaml", "--output"]


def test_a_sweep_of_slurm_that_is_told_to_leave_is_queued_again(slurm: StandIns) -> None:
    wait = 'trap "exit 85" TERM; touch "$RECORDED/ready"; while :; do sleep 0.1; done'
    slurm.add("lnln-dist", wait)
    child = slurm.start(*RUN, **JOB)
    slurm.wait_for("ready")
    child.send_signal(signal.SIGUSR1)
    out, said = communicate(child, 30)
    assert child.returncode == 0, said
    assert "job 4711 is queued again" in out
    assert slurm.arguments("scontrol") == ["requeue", "4711"]


def test_a_sweep_of_slurm_that_fails_is_not_queued_again(slurm: StandIns) -> None:
    slurm.add("lnln-dist", "exit 2")
    assert slurm.run(*RUN, **JOB)[0] == 2
    assert slurm.arguments("scontrol")[0] != "requeue"


def test_rayjob() -> None:
    job = load("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert options(spec["entrypoint"]) <= known()
    assert "--resume" in spec["entrypoint"]
    environment = yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]} == {"shared", "sweep"}
        assert all(isinstance(v, str) for v in group["rayStartParams"].values())


def test_cluster_yaml() -> None:
    made = load("cluster.yaml")
    starts = made["head_start_ray_commands"] + made["worker_start_ray_commands"]
    for command in (c for c in starts if "ray start" in c):
        assert "RAY_AUTH_MODE=token" in command
        assert "--disable-usage-stats" in command
    assert "--dashboard-host=127.0.0.1" in made["head_start_ray_commands"][1]
    for source in made["file_mounts"].values():
        assert source.startswith("~") or (RAY.parents[1] / source).exists()
    extras = re.search(r"lnln-setup\[(.+)\]", made["setup_commands"][0])
    assert extras is not None
    setup = (RAY.parents[1] / "setup.cfg").read_text()
    assert all(re.search(rf"^{name} =", setup, re.MULTILINE) for name in extras[1].split(","))


def test_the_nodes_find_the_python_that_has_the_package(tmp_path: Path) -> None:
    """A submitted job is started as `python` by what `ray start` leaves on PATH."""
    made = load("cluster.yaml")
    venv = tmp_path / "lnln-venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").touch(0o755)
    (venv / "ray").write_text("#!/bin/sh\ncommand -v python\n")
    (venv / "ray").chmod(0o755)
    for kind in ("head", "worker"):
        command = made[f"{kind}_start_ray_commands"][-1]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "RAY_HEAD_IP": "10.0.0.1"}
        done = subprocess.run(
            ["bash", "-c", command.replace("ulimit -n 65536; ", "")],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == str(venv / "python"), done.stderr


def test_the_step_that_makes_the_token(tmp_path: Path) -> None:
    step = re.search(r"^#   2\. (.+)$", (RAY / "cluster.yaml").read_text(), re.MULTILINE)
    assert step is not None
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run(["bash", "-euc", step[1]], env=environment, check=True)
    token = tmp_path / ".ray" / "auth_token"
    assert re.fullmatch(r"[0-9a-f]{64}\n", token.read_text())


def test_ray_accepts_the_cluster_yaml() -> None:
    pytest.importorskip("ray", reason="Ray checks its own cluster file")
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(load("cluster.yaml")))


def test_a_resolved_sweep_needs_no_other_file(tmp_path: Path) -> None:
    """A resolved sweep, as the RayJob wants it, needs no other file."""
    source = RAY.parents[1] / "configs" / "sweep_demo.yaml"
    from lnln_dist.sweep import space

    path = tmp_path / "sweep.yaml"
    path.write_text(study.dump(space.freeze(study.read(source))))
    assert study.read(path).config == ()


def test_the_yaml_of_the_readme_resolves(tmp_path: Path) -> None:
    from lnln_dist.sweep import space

    text = (RAY / "README.md").read_text()
    example = re.search(r"```yaml\n(.+?)```", text, re.DOTALL)
    assert example is not None
    path = RAY.parents[1] / "configs" / "mosi.yaml"
    (tmp_path / "sweep.yaml").write_text(example[1].replace("mosi.yaml", str(path)))
    made = space.resolve(space.freeze(study.read(tmp_path / "sweep.yaml")))
    assert len(made.settings) == 3 * 2 * 20
    assert set(made.strata) == {"noise-low", "noise-fixed"}
    for key in study.SweepConfig.__dataclass_fields__:
        assert f"\n{key}:" in f"\n{example[1]}", key
