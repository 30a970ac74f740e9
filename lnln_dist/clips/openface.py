"""Faces by OpenFace 2: its FeatureExtraction program, or the CSV files that it has written."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from einops import reduce
from numpy.typing import NDArray

from lnln_dist.errors import DataError, UserError

if TYPE_CHECKING:
    import pandas as pd

PROGRAM = "FeatureExtraction"
VARIABLE = "LNLN_OPENFACE"  # environment variable: the program, or the folder that holds it
LIMIT_S = 1800.0  # a clip that takes longer is rejected

_AXES_2D, _AXES_3D = ("x", "y"), ("X", "Y", "Z")
_ACTIONS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
UNITS = (
    *(f"AU{n:02d}_r" for n in _ACTIONS),  # intensities, 0 to 5
    # Presence; unit 28 has no intensity.
    *(f"AU{n:02d}_c" for n in sorted((*_ACTIONS, 28))),
)
GAZE = (
    *(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"),
    *(f"gaze_angle_{axis}" for axis in "xy"),
    *(f"eye_lmk_{axis}_{k}" for axis in _AXES_2D for k in range(56)),
    *(f"eye_lmk_{axis}_{k}" for axis in _AXES_3D for k in range(56)),
)
POSE = (*(f"pose_T{axis}" for axis in "xyz"), *(f"pose_R{axis}" for axis in "xyz"))
LANDMARKS = tuple(f"{axis}_{k}" for axis in (*_AXES_2D, *_AXES_3D) for k in range(68))
SHAPE = (
    "p_scale",
    *(f"p_r{axis}" for axis in "xyz"),
    *(f"p_t{axis}" for axis in "xy"),
    *(f"p_{k}" for k in range(34)),
)
SETS = {
    "openface-units": UNITS,  # 35
    "openface-sims": (*GAZE, *POSE, *LANDMARKS, *SHAPE, *UNITS),  # 709, as CH-SIMS has them
}


def program() -> str:
    """The FeatureExtraction program.

    Raises:
        UserError: there is none.
    """
    given = os.environ.get(VARIABLE)
    found = shutil.which(given or PROGRAM) or (shutil.which(PROGRAM, path=given) if given else None)
    if found is None:
        raise UserError(
            f"OpenFace's {PROGRAM} is not on the PATH{f' and not at {given}' if given else ''}: "
            f"build OpenFace and set {VARIABLE}=PROGRAM, give its CSV files with --openface-csv "
            "FOLDER, or choose --vision geometry"
        )
    return found


def run(media: Path, executable: str) -> "pd.DataFrame":
    """What OpenFace finds in a clip.

    Raises:
        DataError: it failed, took longer than ``LIMIT_S`` or wrote nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [executable, "-f", str(media.resolve()), "-out_dir", folder, "-of", "clip", "-q"]
        try:
            # The program is the user's own choice; the arguments are paths.
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, timeout=LIMIT_S
            )
        except subprocess.TimeoutExpired as err:
            raise DataError(f"OpenFace took longer than {LIMIT_S:.0f} s") from err
        except OSError as err:
            raise DataError(f"OpenFace cannot be started ({err.strerror})") from err
        path = Path(folder) / "clip.csv"
        if done.returncode or not path.is_file():
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise DataError(f"OpenFace ended with {done.returncode}: {last:.200}")
        return read(path)


def read(path: Path) -> "pd.DataFrame":
    """A CSV file of OpenFace; older versions write a blank in front of each name.

    Raises:
        DataError: it is none.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (ValueError, OSError) as err:
        raise DataError(f"{path.name}: not a CSV file of OpenFace ({err})") from err
    table.columns = table.columns.str.strip()
    if missing := [c for c in ("frame", "timestamp", "confidence", "success") if c not in table]:
        raise DataError(f"{path.name}: no column {missing[0]}: not a CSV file of OpenFace")
    return table


def frames(table: "pd.DataFrame", columns: tuple[str, ...], *, every: int) -> NDArray[np.float32]:
    """Rows of the table as frames, [T, D]: of several faces the surest, every so many averaged.

    Frames in which no face was found are NaN; an average leaves them out, and is NaN if all are.

    Args:
        table: of ``read``.
        columns: of ``SETS``.
        every: how many frames of the video become one (CH-SIMS: 3 of 30 per second).

    Raises:
        DataError: a column is missing or holds no numbers.
    """
    import pandas as pd

    if missing := [name for name in columns if name not in table]:
        raise DataError(
            f"no column {missing[0]} ({len(missing)} of {len(columns)} missing): run "
            "FeatureExtraction without options that leave parts out"
        )
    numbers = table[[*columns, "frame", "confidence", "success"]].apply(
        pd.to_numeric, errors="coerce"
    )
    # Lost frames lose to any face of the same frame.
    numbers["rank"] = numbers["confidence"].where(numbers["success"] == 1, -1.0)
    best = numbers.sort_values(["frame", "rank"], kind="stable").groupby("frame").tail(1)
    values_TD = best[list(columns)].to_numpy(np.float64, copy=True)
    values_TD[(best["success"] != 1).to_numpy()] = np.nan
    short = -len(values_TD) % every
    padded_TD = np.pad(values_TD, ((0, short), (0, 0)), constant_values=np.nan)
    seen_TD = np.isfinite(padded_TD)
    sums = reduce(np.where(seen_TD, padded_TD, 0), "(t n) d -> t d", "sum", n=every)
    counts = reduce(seen_TD.astype(np.float64), "(t n) d -> t d", "sum", n=every)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts, np.float32)
