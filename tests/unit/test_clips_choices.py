"""Options of extract that contradict each other or cannot be."""

from pathlib import Path

import pytest

from lnln_dist.clips.choices import Corpus, Extractor
from lnln_dist.data.presets import PRESETS
from lnln_dist.errors import ConfigError, UserError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"audio": "nothing"}, "no descriptor 'nothing'"),
        ({"vision": "faces"}, "--vision faces: choose"),
        ({"pictures_per_s": 0}, "--pictures-per-s 0"),
        ({"average": 0}, "--average 0"),
        ({"openface_csv": "x"}, "--openface-csv has no effect"),
    ],
)
def test_what_cannot_be_looked_for(given, words):
    with pytest.raises(ConfigError, match=words):
        Extractor(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"most_rejected": 1.1}, "--most-rejected 1.1"),
        ({"cut_sd": -1}, "--cut-sd -1"),
        ({"text_encoder": "tiny"}, "--text-encoder has a meaning with --format mmsa only"),
    ],
)
def test_what_cannot_become_of_it(given, words):
    with pytest.raises(UserError, match=words):
        Corpus(labels=Path(), clips=Path(), preset=PRESETS["demo"], tokenizer="corpus", **given)
