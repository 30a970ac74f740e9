"""Trials on Ray: the only importer of Ray.

``trainable`` and ``group`` train on the workers; ``scheduler`` decides as the study's pure plan
does (see ``sweep.halving``), in the driver, which ``driver`` and ``cluster`` set up. Nothing of
Tune's own state is needed to resume.
"""
