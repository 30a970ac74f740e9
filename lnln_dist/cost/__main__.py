"""``python -m lnln_dist.cost``: what a config costs, as in ``launch/README.md``.

    mkdir -p /tmp/bert && echo '{"model_type": "bert"}' > /tmp/bert/config.json
    python -m lnln_dist.cost --shapes mosi --model.encoder.name /tmp/bert

That folder describes BERT-base (the defaults of its config); weights are not needed.
"""

import sys
from collections.abc import Sequence
from typing import Any

from lnln_dist import arguments, console, markdown
from lnln_dist.config import Config
from lnln_dist.errors import ConfigError

# Padded lengths and frame widths of the public feature files.
SHAPES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "mosi": ({"text": 50, "audio": 375, "vision": 500}, {"audio": 5, "vision": 20}),
    "mosei": ({"text": 50, "audio": 500, "vision": 500}, {"audio": 74, "vision": 35}),
    "sims": ({"text": 39, "audio": 400, "vision": 55}, {"audio": 33, "vision": 709}),
}


def _made_for(config: Config, public: str | None) -> tuple[Any, Any]:
    """Tokenizer and shapes, of a public data set or of the prepared data."""
    from lnln_dist.data.presets import PRESETS
    from lnln_dist.data.remote import on_this_machine
    from lnln_dist.data.schema import read_index
    from lnln_dist.models.shapes import InputShapes

    if public:
        lengths, widths = SHAPES[public]
        return PRESETS[public].tokenizer, InputShapes.of(widths=widths, lengths=lengths)
    if not config.data.path:
        raise ConfigError("data.path is empty: set it to prepared data, or pass --shapes")
    index = read_index(on_this_machine(config.data.path))
    return index.tokenizer, InputShapes.of(widths=index.widths, lengths=index.padded_lengths)


def command(argv: Sequence[str]) -> int:
    """Prints what a config costs."""
    parser = arguments.Parser(
        prog="python -m lnln_dist.cost", description="Print what training costs, on paper."
    )
    parser.add_argument("--shapes", choices=list(SHAPES), help="a public data set's sizes")
    arguments.add_config_arguments(parser, argv)
    given = parser.parse_args(list(argv), defaults=False).as_dict()
    config = arguments.from_arguments(parser, given)
    tokenizer, shapes = _made_for(config, given.get("shapes"))
    from lnln_dist.cost import flops, table
    from lnln_dist.cost.memory import sizes_of
    from lnln_dist.cost.skeleton import Lengths, Skeleton

    skeleton = Skeleton(config, tokenizer=tokenizer, shapes=shapes)
    longest = Lengths.longest(shapes)
    millions = sizes_of(skeleton.model).trained / 1e6
    operations = flops.count(skeleton, longest).total
    print(f"{millions:.1f} M trained parameters, {operations / 1e9:.1f} GFLOP per sample\n")
    print("GiB of a GPU, and most samples of its micro-batch by card:\n")
    print(markdown.table([*table.memory_table(skeleton, longest)]))
    return 0


if __name__ == "__main__":
    sys.exit(console.finish(command, sys.argv[1:]))
