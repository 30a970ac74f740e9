"""Processes, devices, precision and sharding: the only importer of Accelerate and DeepSpeed."""

from lnln_dist.runtime.launch import Precision
from lnln_dist.runtime.runtime import Runtime, StepResult
from lnln_dist.runtime.state import FullState

__all__ = ["FullState", "Precision", "Runtime", "StepResult"]
