"""Checks of machine, launch, data and memory before a run is started or queued."""
