"""What can be trained: a spec per model, with its settings; its network is in ``models``."""
