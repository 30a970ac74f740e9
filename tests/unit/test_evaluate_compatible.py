"""Which data a run can be scored on."""

import json
import re
from pathlib import Path

import pytest
import tiny_runs

from lnln_dist.data.convert import prepare
from lnln_dist.data.shards import ShardedDataset, open_dataset
from lnln_dist.errors import DataError
from lnln_dist.evaluate.compatible import check_compatible
from lnln_dist.runs import Run
from lnln_dist.specs import registry


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "prepared"
    tiny_runs.write_data(folder)
    return folder


@pytest.fixture
def run(tmp_path: Path, data: Path) -> Run:
    return Run(tiny_runs.write_tiny_run(tmp_path / "run", data))


def changed(opened: ShardedDataset, **update: object) -> ShardedDataset:
    return ShardedDataset(opened.folder, opened.index.model_copy(update=update))


def test_its_own_data_fit_without_a_word(run: Run, data: Path) -> None:
    assert check_compatible(run, open_dataset(data), "test") == []


def test_another_family(run: Run, data: Path) -> None:
    with pytest.raises(DataError, match=r"trained for mosi labels, the data is of family sims"):
        check_compatible(run, changed(open_dataset(data), family="sims"), "test")


@pytest.mark.parametrize(
    ("trained", "given", "message"),
    [
        ({}, {"label_range": (0, 1)}, r"labels in \[-3, 3\], the data has labels in \[0, 1\]"),
        ({"label_range": (0, 1)}, {}, r"labels in \[0, 1\], the data has labels in \[-3, 3\]: "),
        (
            {"rescaled_from": (0, 1)},
            {"label_range": (0, 1)},
            r"\[-3, 3\] rescaled from \[0, 1\], .* in \[0, 1\]: prepare .* --rescale-labels",
        ),
        ({"label_range": (0, 1)}, {"rescaled_from": (0, 1)}, r"in \[0, 1\], .* from \[0, 1\]: "),
        ({"rescaled_from": (0, 1)}, {"rescaled_from": (0, 5)}, r"--label-range 0 1 --rescale"),
        ({"rescaled_from": None}, {"rescaled_from": (0, 1)}, r"labels in \[-3, 3\], .* from \[0"),
    ],
)
def test_labels_of_another_unit(
    tmp_path: Path,
    data: Path,
    trained: dict[str, object],
    given: dict[str, object],
    message: str,
) -> None:
    """Errors in one unit are no errors in the other."""
    run = Run(tiny_runs.write_tiny_run(tmp_path / "run", data, data_hash="0" * 64, **trained))
    with pytest.raises(DataError, match=message):
        check_compatible(run, changed(open_dataset(data), **given), "test")


def test_a_rescaled_run_takes_its_own_data(tmp_path: Path, data: Path) -> None:
    folder = tiny_runs.write_tiny_run(tmp_path / "run", data, rescaled_from=(0, 1))
    dataset = changed(open_dataset(data), rescaled_from=(0, 1))
    assert check_compatible(Run(folder), dataset, "test") == []


@pytest.mark.parametrize(
    ("trained", "rescaled", "words"),
    [
        ({}, (0, 1), r"labels in \[-3, 3\], the data has .* rescaled from \[0, 1\]"),
        ({"rescaled_from": (0, 5)}, (0, 1), r"rescaled from \[0, 5\], .* from \[0, 1\]"),
        ({"rescaled_from": (0, 5)}, None, r"rescaled from \[0, 5\], the data has labels in"),
    ],
)
def test_another_data_set_brought_to_the_same_range_is_told(
    tmp_path: Path,
    data: Path,
    trained: dict[str, object],
    rescaled: tuple[float, float] | None,
    words: str,
) -> None:
    run = Run(tiny_runs.write_tiny_run(tmp_path / "run", data, data_hash="0" * 64, **trained))
    given = changed(open_dataset(data), dataset="mine", rescaled_from=rescaled)
    first, second = check_compatible(run, given, "test")
    assert first == "trained on mosi, evaluated on mine"
    assert re.search(words, second)


def test_another_file_of_the_users_model_is_told(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_runs.write_tiny_run(tmp_path / "run", data, model_sha256="0" * 64)
    run = Run(folder)
    assert check_compatible(run, open_dataset(data), "test") == []  # a model of ours has no file
    monkeypatch.setattr(registry, "code_sha256", lambda _: "1" * 64)
    (note,) = check_compatible(run, open_dataset(data), "test")
    assert "trained with another file of model lnln" in note
    assert "000000000000" in note


def test_an_earlier_run_that_did_not_note_it_still_opens(tmp_path: Path, data: Path) -> None:
    folder = tiny_runs.write_tiny_run(tmp_path / "run", data, data_hash="0" * 64)
    noted = json.loads((folder / "run.json").read_text())
    del noted["rescaled_from"]
    (folder / "run.json").write_text(json.dumps(noted))
    dataset = changed(open_dataset(data), rescaled_from=(0, 1))
    assert len(check_compatible(Run(folder), dataset, "test")) == 1


def test_no_such_split(run: Run, data: Path) -> None:
    with pytest.raises(DataError, match=r"no split dev.*train, valid, test"):
        check_compatible(run, open_dataset(data), "dev")


def test_other_widths(run: Run, tmp_path: Path) -> None:
    tiny_runs.write_data(tmp_path / "wide", audio_width=4)
    with pytest.raises(DataError, match=r"audio frames have 4 features.*trained with 3"):
        check_compatible(run, open_dataset(tmp_path / "wide"), "test")


def test_sequences_longer_than_the_tables(run: Run, tmp_path: Path) -> None:
    tiny_runs.write_data(tmp_path / "long", long=12)
    with pytest.raises(DataError, match=r"audio sequences of 12 places.*at most 9.*--max-audio 9"):
        check_compatible(run, open_dataset(tmp_path / "long"), "test")


def test_a_longer_cut_is_fine_where_nothing_is_that_long(run: Run, data: Path) -> None:
    padded = {"text": 400, "audio": 400, "vision": 400}
    check_compatible(run, changed(open_dataset(data), padded_lengths=padded), "test")


def test_another_vocabulary(run: Run, data: Path) -> None:
    dataset = open_dataset(data)
    tokenizer = dataset.index.tokenizer.model_copy(update={"vocab_sha256": "0" * 64})
    with pytest.raises(DataError, match=r"another tokenizer than.*--tokenizer"):
        check_compatible(run, changed(dataset, tokenizer=tokenizer), "test")


def test_an_unknown_vocabulary_must_stay_in_the_encoders_table(tmp_path: Path, data: Path) -> None:
    run = Run(tiny_runs.write_tiny_run(tmp_path / "run", data, vocab_sha256=None))
    assert any(
        "ids were not compared" in n for n in check_compatible(run, open_dataset(data), "test")
    )
    encoder = run.encoder_folder / "config.json"
    size = open_dataset(data).index.tokenizer.vocab_size
    text = encoder.read_text()
    assert f'"vocab_size": {size}' in text
    encoder.write_text(text.replace(f'"vocab_size": {size}', '"vocab_size": 6'))
    with pytest.raises(DataError, match=r"token id \d+, the encoder of .* knows 6 tokens"):
        check_compatible(run, open_dataset(data), "test")


def test_other_data_of_the_same_name_are_told(run: Run, tmp_path: Path) -> None:
    source = tiny_runs.write_pickle(tmp_path / "b.pkl", seed=1)
    tokenizer = str(run.encoder_folder)
    prepare(source, tmp_path / "b", dataset="mosi", tokenizer=tokenizer)
    (note,) = check_compatible(run, open_dataset(tmp_path / "b"), "test")
    assert note == "not the data it was trained on, though both are called mosi"


def test_another_data_set_is_told(run: Run, tmp_path: Path) -> None:
    source = tiny_runs.write_pickle(tmp_path / "b.pkl", seed=1)
    tokenizer = str(run.encoder_folder)
    prepare(source, tmp_path / "b", dataset="mosei", tokenizer=tokenizer)
    (note,) = check_compatible(run, open_dataset(tmp_path / "b"), "test")
    assert note == "trained on mosi, evaluated on mosei"


def test_an_imported_run_does_not_know_its_data(tmp_path: Path, data: Path) -> None:
    folder = tiny_runs.write_tiny_run(tmp_path / "r", data, data_hash=None, origin="imported")
    (note,) = check_compatible(Run(folder), open_dataset(data), "test")
    assert "not known" in note
