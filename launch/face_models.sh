#!/usr/bin/env bash
# Fetches the two face models that `lnln-dist extract` runs: they lie in the MediaPipe wheel
# (Apache-2.0), which pip downloads from PyPI and checks; nothing of it is installed.
#
#   bash launch/face_models.sh [FOLDER]     default: $LNLN_FACE_MODELS or faces in $LNLN_CACHE (~/.cache/lnln_dist)
set -euo pipefail

folder=${1:-${LNLN_FACE_MODELS:-${LNLN_CACHE:-$HOME/.cache/lnln_dist}/faces}}
python=${PYTHON:-python3}
if [[ -f $folder/face_landmark.tflite && -f $folder/face_detection_short_range.tflite ]] && (cd "$folder" && sha256sum --quiet --check -) <<KNOWN
bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8  face_detection_short_range.tflite
1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814  face_landmark.tflite
KNOWN
then
    exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# One build is named, whatever this machine is: only files that are the same in all are taken.
cat > "$scratch/wanted.txt" <<WANTED
mediapipe==0.10.21 --hash=sha256:956eb1ebc275c629e61b085b2cab89c3a5b9e93bad1bb107348d98dafb5a4bb5
WANTED
"$python" -m pip download --quiet --no-deps --require-hashes --only-binary=:all: \
    --python-version 3.12 --platform manylinux_2_28_x86_64 \
    --dest "$scratch" --requirement "$scratch/wanted.txt"
mkdir -p "$folder"
"$python" - "$scratch" "$folder" <<'UNPACK'
import pathlib, sys, zipfile

scratch, folder = map(pathlib.Path, sys.argv[1:])
(wheel,) = scratch.glob("mediapipe-*.whl")
with zipfile.ZipFile(wheel) as archive:
    for module in ("face_detection/face_detection_short_range", "face_landmark/face_landmark"):
        content = archive.read(f"mediapipe/modules/{module}.tflite")
        target = folder / f"{module.split('/')[1]}.tflite"
        pending = target.with_suffix(".pending")
        pending.write_bytes(content)
        pending.replace(target)
UNPACK
echo "$folder: face_detection_short_range.tflite, face_landmark.tflite"
