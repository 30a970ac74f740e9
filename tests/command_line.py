"""What tests of the real command line share."""

import subprocess
from collections.abc import Callable
from pathlib import Path

TINY = Path(__file__).resolve().parent / "tiny.yaml"
# The warning of a DeepSpeed that finds no GPU is about the machine, not about us.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1"}

Command = Callable[..., "subprocess.CompletedProcess[str]"]
