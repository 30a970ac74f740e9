"""A trained model as one folder that is complete in itself, readable by ``runs.Run``.

``model.safetensors`` the weights; ``config.json`` the settings (``settings``) and what ``run.json``
says (``run``); ``encoder/`` the text encoder's config and tokenizer; ``README.md`` the model card;
``.eval_results/`` its scores as the Hugging Face hub reads them, where any are given;
``model.onnx`` and ``model.pt2`` its inference path as graphs, where asked for (``share.graph``).
"""

import copy
import dataclasses
import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import eval_result_entries_to_yaml
from safetensors.torch import save
from torch import Tensor, nn

from lnln_dist import settings
from lnln_dist.data.noise import CleanNoise
from lnln_dist.data.tokens import TextTokenizer
from lnln_dist.errors import UserError
from lnln_dist.evaluate.load import WEIGHTS, weights_sha256
from lnln_dist.evaluate.predict import Predictions
from lnln_dist.files import alone, atomic_folder
from lnln_dist.runs import EXPORT, EXPORTED_WEIGHTS, Run
from lnln_dist.runtime import Runtime
from lnln_dist.share import graph
from lnln_dist.share.card import eval_results, model_card, read_scores
from lnln_dist.share.inputs import Given, predicted
from lnln_dist.specs.registry import find_spec
from lnln_dist.vocabulary import TOKENIZER_FILES


def write_export(
    run: Run,
    target: Path,
    *,
    network: nn.Module,
    note: Mapping[str, Any],
    results: Path | None = None,
    graphs: Collection[str] = (),
    tokenizer: TextTokenizer | None = None,
    overwrite: bool = False,
) -> dict[str, float]:
    """Writes the folder, whole or not at all.

    Args:
        run: whose model it is.
        target: the folder.
        network: the model, in evaluation mode.
        note: what is known of the checkpoint.
        results: an evaluation of these weights, for the model card.
        graphs: ``graph.ONNX`` or ``graph.TORCH``, to be written too.
        tokenizer: of the model; needed for graphs.
        overwrite: replace an earlier export.

    Returns:
        Each graph's largest difference from what ``predict`` gives.

    Raises:
        UserError: the folder exists, is no export, or cannot be written; the results are not of
            these weights; the network has no such graph.
    """
    if target.exists() and not (overwrite and (target / EXPORT).is_file()):
        raise UserError(f"{target} exists: choose another folder, remove it or pass --overwrite")
    if unknown := sorted(set(graphs) - {graph.ONNX, graph.TORCH}):
        raise UserError(f"graphs: {', '.join(unknown)}: choose of {graph.ONNX}, {graph.TORCH}")
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    scores = None if results is None else read_scores(results, weights_sha256(state))
    with alone(target), atomic_folder(target, overwrite=overwrite) as folder:
        _write_model(run, folder, state, note)
        (folder / "README.md").write_text(model_card(run, note, scores), encoding="utf-8")
        if scores is not None:
            entries = eval_result_entries_to_yaml(eval_results(scores))
            path = folder / ".eval_results" / f"{scores.dataset}.yaml"
            path.parent.mkdir()
            path.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")
        if not graphs:
            return {}
        assert tokenizer is not None  # else the graphs could not be held against predictions
        return _write_graphs(run, folder, network, graphs, tokenizer)


def _write_model(
    run: Run, folder: Path, state: Mapping[str, Tensor], note: Mapping[str, Any]
) -> None:
    # Where the data lay on this machine is nobody else's business.
    config = dataclasses.replace(run.config, data=dataclasses.replace(run.config.data, path=""))
    content = {
        "format": 1,
        "library_name": "lnln_dist",
        "model_type": config.model.name,
        "run": run.info.model_dump(mode="json", exclude_unset=True),
        "settings": settings.to_dict(config),
    }
    kept = {key: value for key, value in note.items() if key != WEIGHTS}
    metadata = {"format": "pt", "note": json.dumps(kept, sort_keys=True)}
    tensors = {name: value.contiguous() for name, value in state.items()}
    (folder / EXPORTED_WEIGHTS).write_bytes(save(tensors, metadata=metadata))
    encoder = folder / "encoder"
    encoder.mkdir()
    for name in ("config.json", *TOKENIZER_FILES):
        if (run.encoder_folder / name).is_file():
            shutil.copyfile(run.encoder_folder / name, encoder / name)
    (folder / EXPORT).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_graphs(
    run: Run, folder: Path, network: nn.Module, graphs: Collection[str], tokenizer: TextTokenizer
) -> dict[str, float]:
    name, shapes = run.config.model.name, run.info.shapes
    if run.info.normalised is not None:
        raise UserError(
            "a graph does not normalise its frames, as data.normalise asks: export without --onnx "
            "and --torch-export"
        )
    if run.config.data.padding == "corpus":
        # Such a network sees padding, and what it says depends on how much there is of it.
        raise UserError(
            "a graph pads to the longest of its batch, this model was trained with data.padding "
            "corpus: export without --onnx and --torch-export"
        )
    extras, vocabulary = find_spec(name).extras, tokenizer.backend.get_vocab_size()
    network, runtime = copy.deepcopy(network).cpu(), Runtime(cpu=True)

    def told(given: Given) -> Predictions:
        (found,) = predicted(
            network,
            given,
            [CleanNoise()],
            run=run,
            tokenizer=tokenizer,
            runtime=runtime,
            batch_size=len(given),
        )
        return found

    program = graph.trace(network, shapes, extras, name=name, vocabulary=vocabulary)
    found = {}
    for kind in graphs:
        path = folder / kind
        if kind == graph.ONNX:
            graph.write_onnx(program, path, extras=extras, name=name)
            call = graph.run_onnx(path)
        else:
            graph.write_torch(program, path)
            call = graph.run_torch(path)
        found[kind] = graph.check(call, extras, told, shapes, name=name, tokenizer=tokenizer)
    return found
