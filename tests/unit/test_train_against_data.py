"""Settings that this data cannot satisfy."""

import subprocess
import sys

import pytest
import tiny_runs

from lnln_dist import settings
from lnln_dist.data.schema import Index
from lnln_dist.data.shards import open_dataset
from lnln_dist.errors import ConfigError
from lnln_dist.train.against_data import check_against_data


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("data") / "shards"
    tiny_runs.write_data(folder)
    return open_dataset(str(folder)).index


def test_a_dry_run_or_a_mistake_does_not_wait_for_torch() -> None:
    code = "import sys, lnln_dist.sweep.session; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("task", "select", "data", "expected"),
    [
        ({"kind": "three-class"}, {}, {}, "'mae' is not a score of mosi by task.kind three-class; "
         "choose one of acc3, f1_macro3"),
        ({"kind": "five-class"}, {"metric": "acc7"}, {}, "choose one of acc5, acc3, f1_macro5, f1"),
        ({"kind": "seven-class"}, {"metric": "acc3"}, {"family": "sims", "label_range": (-1, 1)},
         "task.kind: mosi has no seven-class scores .its family is sims.; choose one of "
         "regression, three-class, five-class"),
        ({"kind": "three-class"}, {"metric": "acc3"}, {"label_range": (0, 1)},
         r"three-class is cut for labels in \[-3, 3\]; choose regression, or map the labels by "
         "prepare --rescale-labels"),
    ],
)  # fmt: skip
def test_classes_that_the_data_do_not_have_are_refused(
    index: Index, task: dict, select: dict, data: dict, expected: str
) -> None:
    config = settings.build({"task": task, "select": select})
    with pytest.raises(ConfigError, match=expected):
        check_against_data(config, index.model_copy(update=data))


@pytest.mark.parametrize("kind", ["three-class", "five-class", "seven-class"])
def test_classes_of_mosi_are_taken(index: Index, kind: str) -> None:
    metric = {"three-class": "f1_macro3", "five-class": "acc5", "seven-class": "f1_macro3"}[kind]
    config = settings.build({"task": {"kind": kind}, "select": {"metric": metric}})
    check_against_data(config, index)
