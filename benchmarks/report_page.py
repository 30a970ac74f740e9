"""How large a report of a MOSEI-sized evaluation is, and how long it takes to make.

    python benchmarks/report_page.py FOLDER [--training-seeds 3]

Made-up predictions (synthetic): 4,659 samples, 6 models, 10 rates, 3 noise seeds. Opened in a
browser, `performance.getEntriesByType("navigation")[0].loadEventEnd` of FOLDER/report/report.html
is the time until everything is drawn.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from lnln_dist.commands.report import command
from lnln_dist.data.convert import prepare
from lnln_dist.data.shards import open_dataset
from lnln_dist.data.synthetic import synthesize
from lnln_dist.evaluate.predict import Predictions
from lnln_dist.evaluate.protocol import RATES, grid
from lnln_dist.evaluate.results import Results, Subject
from lnln_dist.metrics import floors, scores

MODELS = ("lnln", "text", "late_fusion", "almt", "tfn", "mult")


def write_results(folder: Path, data: Path, trainings: int) -> None:
    dataset = open_dataset(data)
    split, index = dataset.split("test"), dataset.index
    label, results, records = split.labels, Results(), []
    for number, model in enumerate(MODELS):
        for seed in range(trainings):
            name = f"{model}-{seed}"
            subject = Subject(name, model, seed, "test", "paper")
            for cell in grid(RATES, (1, 2, 3)):
                rng = np.random.default_rng([number, seed, cell.seed, int(10 * cell.rate)])
                noise = rng.normal(size=len(label)) * (0.5 + 0.1 * number)
                said = (label * (1 - cell.rate) + noise).astype(np.float32)
                share = rng.uniform(0, 1, len(label)).astype(np.float32)
                found = Predictions(said, {"completeness": share} if model == "lnln" else {})
                made = scores(said, label, index.family)
                chosen = {"checkpoint": "best", "selected_on": "valid"}
                results.add_scores(subject, cell, made, label=label, **chosen)
                results.add_predictions(subject, cell, found, split=split, checkpoint="best")
            results.add_floors(subject, floors(label, index.family), label=label)
            records.append(
                {"run": name, "group": model, "recipe": "paper", "train_seed": seed, "notes": []}
                | {"dataset": index.dataset, "data": str(data.resolve()), "folder": "none"}
                | {"data_hash": index.data_hash(), "family": index.family, "samples": len(label)}
            )
    summary = {"format": 1, "split": "test", "protocol": "paper", "absent": [], "alarms": []}
    results.write(folder, {**summary, "runs": records}, overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--training-seeds", type=int, default=1)
    given = parser.parse_args()
    base: Path = given.folder
    if not (base / "data").exists():
        base.mkdir(parents=True, exist_ok=True)
        synthesize(base / "mosei.pkl", dataset="mosei", samples=(200, 50, 4659))
        prepare(base / "mosei.pkl", base / "data", dataset="mosei", tokenizer="corpus")
    write_results(base / "results", base / "data", given.training_seeds)
    begin = time.perf_counter()
    command([str(base / "results"), "--output", str(base / "report"), "--overwrite"])
    size = (base / "report" / "report.html").stat().st_size
    print(f"{size / 1e6:.2f} MB in {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
