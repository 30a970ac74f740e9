"""Clip-seconds per second and core of ``extract``, against calling the libraries file by file.

    python benchmarks/extract.py [--clips 12] [--repeats 3]

Clips of a real face (scikit-image) and of speech by espeak-ng are made on the spot. Measured is the
processor time of the function that every worker runs per clip (descriptors ``sims``, ``geometry``
of ten pictures a second), beside a plain script of the same libraries: PyAV decodes, librosa
describes, OpenCV runs detector and mesh on each tenth of a second. Both run in turn, in this
process, on one thread; then all clips once more through two worker processes, by the clock.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import av
import cv2
import librosa
import numpy as np
from clip_files import write_corpus

from lnln_dist.clips import media, pool
from lnln_dist.clips.choices import Extractor
from lnln_dist.clips.faces import FILES, model_folder
from lnln_dist.clips.features import Job

DETECTOR, MESH = FILES
LAYERS = ("conv2d_21", "conv2d_31")


def plain(clip: Path, nets: dict) -> None:
    """What a script does with the libraries alone; the face is taken for the whole picture."""
    sounds = []
    with av.open(str(clip)) as container:
        if container.streams.audio:
            mono = av.AudioResampler(format="flt", layout="mono", rate=22_050)
            for frame in container.decode(audio=0):
                sounds += [part.to_ndarray()[0] for part in mono.resample(frame)]
    if sounds:
        sound_S = np.concatenate(sounds)
        librosa.feature.zero_crossing_rate(sound_S, hop_length=512)
        librosa.feature.mfcc(y=sound_S, sr=22_050, n_mfcc=20, htk=True)
        librosa.feature.chroma_cqt(y=sound_S, sr=22_050)
    with av.open(str(clip)) as container:
        container.streams.video[0].thread_type = "NONE"
        for frame in container.decode(video=0):  # these clips have ten a second
            picture = frame.to_ndarray(format="rgb24")
            small = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)
            nets[DETECTOR].setInput(cv2.dnn.blobFromImage(small, 1 / 127.5, mean=(127.5,) * 3))
            nets[DETECTOR].forward("regressors")
            if nets[DETECTOR].forward("classificators").max() > 0:
                crop = cv2.resize(picture, (192, 192))
                nets[MESH].setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
                for layer in LAYERS:
                    nets[MESH].forward(layer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    nets = {name: cv2.dnn.readNetFromTFLite(str(model_folder() / name)) for name in FILES}
    extractor = Extractor()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder, {"train": options.clips})
        clips = sorted((folder / "clips" / "train").glob("*.mp4"))
        length_s = sum(media.duration(clip) for clip in clips)
        made = 0

        def jobs() -> list[Job]:
            nonlocal made
            made += 1
            targets = (folder / f"{made}-{clip.stem}" for clip in clips)
            return [
                Job(clip.stem, clip, None, target)
                for clip, target in zip(clips, targets, strict=True)
            ]

        def ours() -> None:
            for job in jobs():
                assert pool._try(job, extractor) is None

        ways = {"ours": ours, "libraries": lambda: [plain(clip, nets) for clip in clips]}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.repeats + 1):
            for way, run in ways.items():
                start = time.process_time()
                run()
                times[way].append(time.process_time() - start)
        rate = {way: length_s / statistics.median(found[1:]) for way, found in times.items()}
        start = time.perf_counter()
        assert not pool.run_all(jobs(), extractor, workers=2)
        wall_s = time.perf_counter() - start
    print(
        f"{len(clips)} clips, {length_s:.1f} s of video and sound, {options.repeats} times in turn"
    )
    for way, found in rate.items():
        spread = max(times[way][1:]) / min(times[way][1:])
        print(f"{way:<10} {found:6.1f} clip-seconds per processor second (spread {spread:.2f})")
    print(f"ratio      {rate['ours'] / rate['libraries']:6.2f}")
    print(
        f"2 workers  {length_s / wall_s:6.1f} clip-seconds per second by the clock, start included"
    )


if __name__ == "__main__":
    main()
