"""Sweeps: settings x seeds, screened by successive halving, confirmed on all seeds."""
