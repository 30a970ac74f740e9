"""Robust multimodal sentiment analysis with incomplete data: train, sweep, evaluate.

Importing the package stays light: no torch, transformers, deepspeed or ray.
"""

__version__ = "0.1.0"
