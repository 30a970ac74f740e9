"""Trials on Ray: the only importer of Ray.

``trainable`` and ``group`` train on the workers; ``scheduler`` decides as the study's pure plan
does (see ``sweep.halving``), in the driver, which ``driver`` and ``cluster`` set up. Nothing of
Tune's own state is needed to resume.
"""

import os

# Read by Ray when it is imported or started; a user's own values win.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a trial's run folder has its own events
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's state is not needed to resume
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def quiet() -> None:
    """Sets what suits a sweep's driver; scripts of one's own keep Ray's ways."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
