"""Predictions in Python, cell by cell in an editor that knows ``# %%``.

As a whole: ``python examples/use_a_model.py runs/demo``, which may be any run folder or what
``lnln-dist export`` wrote.
"""

# %% The three lines
import sys

import numpy as np

import lnln_dist

model = lnln_dist.load(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")
table = model.predict(text=["a truly great film", "the plot was dull"])
print(table)

# %% What it takes: frames with the features of its training data, any number of them up to a limit
shapes = model.run.info.shapes
print(f"audio [frames up to {shapes.audio_length}, {shapes.audio_width}]")
print(f"vision [frames up to {shapes.vision_length}, {shapes.vision_width}]")

# %% Any subset: a modality may be left out altogether, or be None for some samples
rng = np.random.default_rng(0)
audio = rng.normal(size=(5, shapes.audio_width))  # in your work: your extractor's output
vision = rng.normal(size=(3, shapes.vision_width))
print(model.predict(text=["a truly great film", None], audio=[audio, audio], vision=[vision, None]))

# %% Frames that are missing within a sequence are zero
damaged = audio.copy()
damaged[1:3] = 0
print(model.predict("a truly great film", damaged, vision))

# %% What mattered: the prediction with a part minus the prediction without it
(clip,) = model.explain("a truly great film", audio, vision, seconds=2.5)
print(clip["effect"])
for token in clip["tokens"]:
    print(f"{token['token']:>8} {token['effect']:+.3f}")
for window in clip["audio"]:
    start, stop = window["seconds"]
    print(f"audio {start:.1f} to {stop:.1f} s {window['effect']:+.3f}")

# %% The network itself, an nn.Module, and the folder to pass on
print(sum(p.numel() for p in model.network.parameters()), "parameters,", model.note)
# model.save_pretrained("my-model"); lnln_dist.Model.from_pretrained("my-model")
