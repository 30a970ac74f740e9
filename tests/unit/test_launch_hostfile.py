"""Hosts of a file, started by ssh: a stand-in for it runs them here."""

import signal
import sys
from pathlib import Path

import pytest
from launch_files import LAUNCH, TRAIN, StandIns, after, communicate

# What ssh -tt does: the command's terminal is a new one, into which its own standard input goes.
SSH = """import os, pty, select, sys
host, command = sys.argv[4:]
child, terminal = pty.fork()
if child == 0:
    os.execvp("bash", ["bash", "-c", command])
inputs = [0, terminal]
with open(f"{os.environ['RECORDED']}/{host}.out", "wb", buffering=0) as log:
    while terminal in inputs:
        for ready in select.select(inputs, [], [])[0]:
            try:
                data = os.read(ready, 1000)
            except OSError:  # the command has ended
                data = b""
            if not data:
                inputs.remove(ready)
            elif ready == terminal:
                log.write(data)
            else:
                os.write(terminal, data)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
# As LEAVES, but takes a while, and says which host it is.
LEAVES_LATE = """trap 'sleep 1; echo told >>"$RECORDED/told"
echo 85 >"$LNLN_EXIT_FILE"; exit 1' TERM
touch "$RECORDED/ready$7"
while :; do sleep 0.05; done"""


@pytest.fixture
def programs(tmp_path: Path) -> StandIns:
    made = StandIns(tmp_path)
    for name in ("accelerate", "torchrun"):
        made.add(name)
    return made


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_a_notice_reaches_the_hosts_of_a_file(
    programs: StandIns, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "ssh.py").write_text(SSH)
    programs.add("ssh", f'exec {sys.executable} "$RECORDED/ssh.py" "$@"')
    programs.add("accelerate", LEAVES_LATE)
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 slots=2\nlocalhost slots=2\n")
    child = programs.start(LAUNCH / "hostfile.sh", hosts, *TRAIN)
    programs.wait_for("ready*", 2)
    child.send_signal(number)
    _, said = communicate(child, 30)
    assert child.returncode == 85, said
    assert (tmp_path / "told").read_text() == "told\ntold\n"  # it has waited for both


def test_hosts_of_a_file_are_started_by_ssh(programs: StandIns, tmp_path: Path) -> None:
    programs.add("ssh", 'host=$4; bash -c "$5" >"$RECORDED/$host.out" 2>"$RECORDED/$host.err"')
    programs.add("accelerate", 'cp "$RECORDED/accelerate.arguments" "$RECORDED/host$7"')
    hosts = tmp_path / "hosts"
    hosts.write_text("# two of them\n127.0.0.1 slots=2\n\nlocalhost slots=2 # spare\n")
    assert programs.run(LAUNCH / "hostfile.sh", hosts, *TRAIN)[0] == 0
    for rank in range(2):
        line = (tmp_path / f"host{rank}").read_text().splitlines()
        assert after(line, "--num_processes") == "4"
        assert after(line, "--main_process_ip") == "127.0.0.1"
        assert line[-4:] == TRAIN[1:]
    hosts.write_text("127.0.0.1 slots=2\nlocalhost slots=3\n")
    assert "same number" in programs.run(LAUNCH / "hostfile.sh", hosts, *TRAIN)[1]
    hosts.write_text("127.0.0.1:2\n")
    assert "expected HOST slots=N" in programs.run(LAUNCH / "hostfile.sh", hosts, *TRAIN)[1]


def test_the_worst_host_decides_the_exit_code(programs: StandIns, tmp_path: Path) -> None:
    programs.add("ssh", "case $4 in node2) exit 85 ;; *) exit 1 ;; esac")
    example = LAUNCH / "hostfile.example"
    assert programs.run(LAUNCH / "hostfile.sh", example, *TRAIN)[0] == 85


def test_the_example_of_a_hostfile_is_one_for_deepspeed_too() -> None:
    runner = pytest.importorskip("deepspeed.launcher.runner")
    assert dict(runner.fetch_hostfile(str(LAUNCH / "hostfile.example"))) == {
        "node1": 8,
        "node2": 8,
    }
