"""Every option of prepare is one field, and acts or is refused."""

import pytest

from lnln_dist.commands.prepare import _parser
from lnln_dist.data.choices import Choices
from lnln_dist.errors import DataError


def test_the_command_line_has_the_defaults_of_the_fields():
    given = _parser().parse_args(["in.pkl", "out", "--dataset", "mosi"]).as_dict()
    plain = vars(Choices())
    assert {name: given[name] for name in plain if name != "max_lengths"} == {
        name: value for name, value in plain.items() if name != "max_lengths"
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shard_mb": 0}, "--shard-mb 0: must be above 0"),
        ({"max_lengths": {"vision": 0}}, "--max-vision 0: must be at least 1"),
        ({"cut_sd": -1}, "--cut-sd -1: 0 or more"),
        ({"cut_sd": float("nan")}, "--cut-sd nan"),
        ({"text_source": "other"}, "--text-source other: choose auto, text_bert or raw_text"),
        ({"group_by": "("}, r"--group-by \(: not a regular expression"),
        ({"group_by": "(a)(b)"}, "has 2 groups; one is needed"),
    ],
)
def test_impossible_values(wrong, message):
    with pytest.raises(DataError, match=message):
        Choices(**wrong)
