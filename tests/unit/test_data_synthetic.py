"""The corpus has the documented format, model and shares; every modality can be learned from."""

import errno
import functools
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, RidgeCV

from lnln_dist.data import grammar, synthetic
from lnln_dist.data.mmsa import read_pickle
from lnln_dist.data.synthetic import CORRELATIONS, NOISE, SHAPES, SHARES, WEIGHTS, synthesize
from lnln_dist.errors import DataError, UserError

Corpus = dict[str, dict[str, Any]]
FRAMES = ("audio", "vision")


def make(folder: Path, **options: Any) -> Corpus:
    path = folder / "made.pkl"
    synthesize(path, overwrite=True, **options)
    with path.open("rb") as file:
        return pickle.load(file)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make(tmp_path_factory.mktemp("large"), samples=(12000, 1, 1), seed=5)


class TestFormat:
    @pytest.mark.parametrize("dataset", list(SHAPES))
    def test_shapes(self, tmp_path: Path, dataset: str) -> None:
        corpus, shape = make(tmp_path, dataset=dataset, scale=0.02), SHAPES[dataset]
        for name, full in zip(synthetic.SPLITS, shape.samples, strict=True):
            size, fields = max(1, round(0.02 * full)), corpus[name]
            assert "text_bert" not in fields
            assert {len(value) for value in fields.values()} == {size}
            for modality in FRAMES:
                frames, lengths = fields[modality], fields[f"{modality}_lengths"]
                cut, width = shape.cuts[modality], shape.widths[modality]
                assert frames.shape == (size, cut, width)
                assert frames.dtype == np.float32
                assert lengths.min() >= 1
                assert lengths.max() <= cut
                # Frames are never all zero, padding always is.
                assert np.array_equal(np.any(frames != 0, axis=2).sum(1), lengths)
                assert np.all(np.any(frames != 0, axis=2)[:, 0])
                assert np.isfinite(frames).all()

    @pytest.mark.parametrize(
        ("dataset", "sizes"),
        [
            ("mosi", (50, 375, 5, 500, 20)),
            ("mosei", (50, 500, 74, 500, 35)),
            ("sims", (39, 400, 33, 55, 709)),
        ],
    )
    def test_public_sizes(self, dataset: str, sizes: tuple[int, ...]) -> None:
        shape = SHAPES[dataset]
        audio, vision = ((shape.cuts[m], shape.widths[m]) for m in FRAMES)
        assert (shape.cuts["text"], *audio, *vision) == sizes

    @pytest.mark.parametrize("dataset", list(SHAPES))
    def test_labels_lie_on_the_grid(self, tmp_path: Path, dataset: str) -> None:
        corpus = make(tmp_path, dataset=dataset, scale=0.05)
        shape = SHAPES[dataset]
        ticks = range(-round(shape.high * shape.steps), round(shape.high * shape.steps) + 1)
        grid = {np.float32(tick / shape.steps) for tick in ticks}
        labels = corpus["train"]["regression_labels"]
        assert labels.dtype == np.float32
        assert set(labels) <= grid
        assert len(set(labels)) > len(grid) / 2
        assert not np.signbit(labels[labels == 0]).any()
        assert 0.9 < labels.std() / (shape.high / 2) < 1.05

    def test_words_leave_room_for_the_special_tokens(self, demo: Corpus) -> None:
        count = [len(text.split()) for name in synthetic.SPLITS for text in demo[name]["raw_text"]]
        assert max(count) <= SHAPES["demo"].cuts["text"] - 2
        assert set(" ".join(demo["train"]["raw_text"]).split()) <= grammar.vocabulary()

    def test_lengths_stay_well_below_the_cut_and_share_a_pace(self, tmp_path: Path) -> None:
        train = make(tmp_path, dataset="mosi")["train"]
        words = np.array([len(text.split()) for text in train["raw_text"]])
        for modality in FRAMES:
            lengths, cut = train[f"{modality}_lengths"], SHAPES["mosi"].cuts[modality]
            assert 0.15 < lengths.mean() / cut < 0.3
            assert lengths.max() > 0.7 * cut
            assert np.corrcoef(lengths, words)[0, 1] > 0.4

    def test_the_reader_takes_it(self, tmp_path: Path) -> None:
        corpus = make(tmp_path, scale=0.05)
        raw = read_pickle(tmp_path / "made.pkl")
        for name in synthetic.SPLITS:
            assert raw.splits[name].raw_text == corpus[name]["raw_text"]
            assert raw.splits[name].text_bert is None
            assert np.array_equal(raw.splits[name].frames["audio"], corpus[name]["audio"])

    def test_ids_are_unique_and_videos_do_not_cross_splits(self, demo: Corpus) -> None:
        ids = {name: demo[name]["id"] for name in synthetic.SPLITS}
        assert len({i for names in ids.values() for i in names}) == 1840
        videos = [{i.split("$_$")[0] for i in names} for names in ids.values()]
        assert videos[0].isdisjoint(videos[1] | videos[2])
        assert videos[1].isdisjoint(videos[2])

    def test_annotations_tell_the_sign(self, demo: Corpus) -> None:
        train = demo["train"]
        names = {-1.0: "Negative", 0.0: "Neutral", 1.0: "Positive"}
        assert train["annotations"] == [names[s] for s in np.sign(train["regression_labels"])]
        assert np.array_equal(
            train["classification_labels"] - 1, np.sign(train["regression_labels"])
        )

    def test_the_file_describes_itself(self, demo: Corpus) -> None:
        config = demo["config"]
        assert config["dataset"] == "demo"
        assert config["shares"] == SHARES
        assert config["padded_lengths"] == {"text": 24, "audio": 40, "vision": 40}


class TestRepeatable:
    def test_same_seed_same_bytes(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            synthesize(tmp_path / name, scale=0.1, seed=3)
        synthesize(tmp_path / "c", scale=0.1, seed=4)
        first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
        assert first == second
        assert first != other

    def test_a_sample_does_not_depend_on_how_many_there_are(
        self, tmp_path: Path, demo: Corpus
    ) -> None:
        small = make(tmp_path, samples=(30, 20, 10))
        for name in synthetic.SPLITS:
            for field, values in small[name].items():
                assert np.array_equal(values, demo[name][field][: len(values)]), field

    def test_splits_and_modalities_differ(self, demo: Corpus) -> None:
        assert demo["train"]["raw_text"][:20] != demo["valid"]["raw_text"][:20]
        audio, vision = (demo["train"][m][:, :, 0] for m in FRAMES)
        assert abs(np.corrcoef(audio[:, 0], vision[:, 0])[0, 1]) < 0.4
        assert not np.array_equal(demo["train"]["audio"][0], demo["valid"]["audio"][0])


class TestShares:
    def test_documented_numbers(self) -> None:
        assert {m: round(v, 3) for m, v in SHARES.items()} == {
            "text": 0.536,
            "audio": 0.190,
            "vision": 0.143,
        }
        assert sum(SHARES.values()) + NOISE**2 == pytest.approx(1)
        assert {m: round(v, 3) for m, v in CORRELATIONS.items()} == {
            "text": 0.824,
            "audio": 0.593,
            "vision": 0.551,
        }

    def test_measured_shares_match(self, large: Corpus) -> None:
        train = large["train"]
        letters = {"text": "T", "audio": "A", "vision": "V"}
        parts = np.array([train[f"regression_labels_{s}"] for s in letters.values()])
        label = train["regression_labels"]
        fit = LinearRegression().fit(parts.T, label)
        for i, modality in enumerate(letters):
            found = np.corrcoef(parts[i], label)[0, 1]
            assert found == pytest.approx(CORRELATIONS[modality], abs=0.03)
            assert fit.coef_[i] == pytest.approx(WEIGHTS[modality], abs=0.03)
            share = fit.coef_[i] * parts[i].std() / label.std() * found
            assert share == pytest.approx(SHARES[modality], abs=0.03)
        assert fit.score(parts.T, label) == pytest.approx(1 - NOISE**2, abs=0.02)

    def test_the_text_part_is_what_the_words_say(self, large: Corpus) -> None:
        said = [grammar.sentiment(t.split()) / 1.55 * 1.5 for t in large["train"]["raw_text"]]
        told = large["train"]["regression_labels_T"]
        assert np.max(np.abs(np.clip(said, -3, 3) - told)) <= 0.1 + 1e-6
        assert np.std(said) / 1.5 == pytest.approx(1, abs=0.05)


def mean_frames(fields: dict[str, Any], modality: str, rate: float = 0.0) -> np.ndarray:
    """Mean over the frames that a missing rate leaves, zero if none is left."""
    frames = fields[modality].astype(float)
    valid = np.arange(frames.shape[1]) < np.asarray(fields[f"{modality}_lengths"])[:, None]
    keep = valid & (np.random.default_rng(9).random(valid.shape) >= rate)
    return (frames * keep[..., None]).sum(1) / np.maximum(keep.sum(1), 1)[:, None]


@functools.cache
def counter() -> CountVectorizer:
    return CountVectorizer(vocabulary=sorted(grammar.vocabulary()), token_pattern=r"\S+")


def word_shares(fields: dict[str, Any], rate: float = 0.0) -> np.ndarray:
    """Share of each word among those that a missing rate leaves."""
    rng = np.random.default_rng(9)
    texts = [" ".join(w for w in t.split() if rng.random() >= rate) for t in fields["raw_text"]]
    counts = counter().transform(texts).toarray().astype(float)
    return 10 * counts / np.maximum(counts.sum(1), 1)[:, None]


def features(fields: dict[str, Any], kind: str, rate: float = 0.0) -> np.ndarray:
    if kind == "all":
        return np.hstack([features(fields, k, rate) for k in ("text", *FRAMES)])
    return word_shares(fields, rate) if kind == "text" else mean_frames(fields, kind, rate)


def fitted(corpus: Corpus, kind: str, labels: np.ndarray) -> RidgeCV:
    """A ridge regression on the whole training samples."""
    return RidgeCV(np.logspace(-2, 4, 13)).fit(features(corpus["train"], kind), labels)


def held_out(corpus: Corpus, kind: str, rates: tuple[float, ...] = (0.0,)) -> list[float]:
    """Its correlation on the test split at each missing rate."""
    test = corpus["test"]
    model = fitted(corpus, kind, corpus["train"]["regression_labels"])
    return [
        float(np.corrcoef(model.predict(features(test, kind, r)), test["regression_labels"])[0, 1])
        for r in rates
    ]


class TestLearnable:
    def test_each_modality_tells_a_part_and_together_they_tell_more(self, demo: Corpus) -> None:
        found = {k: held_out(demo, k)[0] for k in ("text", *FRAMES, "all")}
        assert 0.64 < found["text"] < 0.82
        assert 0.40 < found["audio"] < 0.60
        assert 0.37 < found["vision"] < 0.57
        assert found["all"] > found["text"] + 0.05
        assert found["all"] < CORRELATIONS["text"] + 0.1

    def test_shuffled_labels_explain_nothing(self, demo: Corpus) -> None:
        labels, test = demo["train"]["regression_labels"], demo["test"]
        shuffled = np.random.default_rng(0).permutation(labels)
        explained = [
            fitted(demo, "all", chosen).score(features(test, "all"), test["regression_labels"])
            for chosen in (labels, shuffled)
        ]
        assert explained[0] > 0.6
        assert explained[1] < 0.05

    @pytest.mark.parametrize("kind", ["text", "audio", "vision", "all"])
    def test_erasure_hurts_gradually(self, demo: Corpus, kind: str) -> None:
        curve = np.array(held_out(demo, kind, (0.0, 0.3, 0.6, 0.9)))
        assert np.all(np.diff(curve) < 0.02)
        assert curve[1] > 0.8 * curve[0]
        assert curve[2] > 0.55 * curve[0]
        assert 0.05 < curve[3] < 0.85 * curve[0]


class TestFile:
    def test_report(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "x.pkl"
        report = synthesize(path, dataset="sims", samples=(40, 5, 6), seed=2)
        assert report["bytes"] == path.stat().st_size
        assert report["samples"] == [40, 5, 6]
        assert (report["dataset"], report["seed"]) == ("sims", 2)
        labels = np.concatenate(
            [
                pickle.loads(path.read_bytes())[name]["regression_labels"]
                for name in synthetic.SPLITS
            ]
        )
        assert 0.3 < labels.std() < 0.7

    def test_an_existing_file_is_kept_unless_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "x.pkl"
        path.write_text("mine")
        with pytest.raises(UserError, match=r"x\.pkl exists: .*--overwrite"):
            synthesize(path, scale=0.01)
        assert path.read_text() == "mine"
        synthesize(path, scale=0.01, overwrite=True)
        assert path.stat().st_size > 1000

    def test_a_full_disk_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Full(pickle.Pickler):
            def dump(self, obj: object) -> None:
                super().dump("begun")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(synthetic.pickle, "Pickler", Full)
        with pytest.raises(UserError, match="disk is full"):
            synthesize(tmp_path / "x.pkl", scale=0.01)
        assert list(tmp_path.iterdir()) == []

    def test_memory_stays_below_twice_the_file(self, tmp_path: Path) -> None:
        tracemalloc.start()
        try:
            report = synthesize(tmp_path / "x.pkl", dataset="mosei", samples=(300, 20, 80))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert report["bytes"] > 80e6
        assert peak < 1.7 * report["bytes"]

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"dataset": "mosy"}, "--dataset mosy: choose one of demo, mosi, mosei, sims"),
            ({"seed": -1}, "--seed -1"),
            ({"samples": (5, 0, 5)}, "--samples 5 0 5: give three numbers"),
            ({"samples": (5, 5)}, "--samples 5 5: give three numbers"),
            ({"scale": 0.0}, r"--scale 0\.0"),
            ({"scale": float("nan")}, "--scale nan"),
            ({"scale": 1.0, "samples": (1, 1, 1)}, "give one of them"),
        ],
    )
    def test_impossible_choices(self, tmp_path: Path, options: dict, match: str) -> None:
        with pytest.raises(DataError, match=match):
            synthesize(tmp_path / "x.pkl", **options)
        assert list(tmp_path.iterdir()) == []
