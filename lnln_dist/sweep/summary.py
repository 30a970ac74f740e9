"""A sweep's results as Markdown and CSV, and what the terminal shows of them."""

import math
import os
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from lnln_dist import settings
from lnln_dist.console import counted
from lnln_dist.files import atomic_write
from lnln_dist.markdown import table
from lnln_dist.sweep.live import duration
from lnln_dist.sweep.records import ORIGIN
from lnln_dist.sweep.results import Estimate, Results
from lnln_dist.sweep.space import Setting

ARRIVAL = (
    " Schedulers and searchers of Ray's go by who reports first: run again, this sweep may stop "
    "other settings."
)

CHANGED = (
    " Settings were changed while they were trained: a name and its axes say how one began, the "
    "config.yaml in its run folder how it ended, an origin.json there whose weights it took over."
)


def write(results: Results) -> None:
    """Writes ``sweep.csv``, ``summary.csv``, ``summary.md`` and the winners' configs."""
    folder = results.folder.path
    out = {
        "sweep.csv": results.table.to_csv(index=False),
        "summary.csv": pd.DataFrame(summary_rows(results), dtype=object).to_csv(index=False),
        "summary.md": markdown(results),
    }
    for stratum in results.space.strata:
        winner = results.winner(stratum)
        if winner is not None:
            out[f"winner/{stratum}.yaml"] = _winners_config(results, winner)
    for name, text in out.items():
        atomic_write(folder / name, text)
    for old in (folder / "winner").glob("*.yaml"):
        if f"winner/{old.name}" not in out:
            old.unlink()  # of a stratum that has another name, or no winner, by now


def _winners_config(results: Results, winner: Setting) -> str:
    folder = results.folder.path
    config = results.space.build(results.values(winner, results.space.sweep.seeds[0]))
    path, said = (
        config.data.path,
        "data.path is where its data were: elsewhere, add --data.path DIR",
    )
    there, here = os.path.realpath(path), os.path.realpath(folder / "winner")
    if path and "://" not in path and os.path.commonpath([there, here]) != "/":
        path = settings.HERE + os.path.relpath(there, here)
        said = "data.path starts at this file: it holds while sweep and data move together"
    head = f"# {winner.name}: winner of {folder.name}, stratum {winner.stratum}.\n# {said}.\n"
    return head + settings.dump(replace(config, data=replace(config.data, path=path)))


def summary_rows(results: Results) -> Iterator[dict[str, object]]:
    """One row per setting, for ``summary.csv``; what is not defined is nan, what is not there yet
    is left out.
    """
    winners = {stratum: results.winner(stratum) for stratum in results.space.strata}
    for made in results.settings:
        verdict = results.verdict(made)
        row: dict[str, object] = {
            "stratum": made.stratum,
            "setting": made.name,
            **{f"axis:{name}": value for name, value in made.values.items()},
            "state": state(results, made),
            "winner": winners[made.stratum] is made,
            "epochs_trained": results.trained(made),
            "epochs_full": made.epochs * len(results.space.sweep.seeds),
            "failed_seeds": len(results.failures(made)),
            "screen_epoch": verdict.epoch,
            "screen_rank": verdict.rank,
            "screen_mean": -results.direction * verdict.cost if verdict.epoch else None,
        }
        found, fresh = results.confirmed(made), results.fresh(made)
        parts = found | ({f"fresh_{results.metric}": fresh} if fresh.n else {})
        for name, value in parts.items():
            for part, number in value._asdict().items():
                row[f"{name}_{part}"] = "nan" if math.isnan(number) else number
        yield row


def state(results: Results, made: Setting) -> str:
    """Where a setting stands, in a few words."""
    verdict = results.verdict(made)
    if results.complete(made):
        return "confirmed"
    if results.failures(made):
        return "failed"
    if verdict.chosen:
        return "confirming"
    if made.stratum in results.plan.decided:
        return f"stopped after {verdict.epoch}"
    return f"screening, {verdict.epoch} reached" if verdict.epoch else "screening"


def markdown(results: Results) -> str:
    """``summary.md``."""
    parts = [
        f"# Sweep {results.folder.path.name}",
        _headline(results),
        *_failures(results),
        *_winners(results),
        *_confirmed(results),
        *_screening(results),
        *_cost(results),
    ]
    return "\n\n".join(parts) + "\n"


def _headline(results: Results) -> str:
    sweep, select = results.space.sweep, results.space.common.select
    better = "larger" if results.direction > 0 else "smaller"
    rates = ", ".join(f"{rate:g}" for rate in select.rates)
    if "select.rates" in results.space.swept:
        rates = "those of its stratum"
    to_go = counted(len(results.plan.stretches), "stretch", "stretches")
    by_plan = isinstance(sweep.screen.scheduler, str) and not sweep.search.proposes
    changed = any(results.folder.trials.glob(f"*/{ORIGIN}"))
    return (
        f"{'Finished.' if results.over else f'Not finished: {to_go} of training to go.'} "
        f"{counted(len(results.settings), 'setting')}, {counted(len(sweep.seeds), 'seed')}. "
        f"Objective: {results.metric} on the {select.split} split ({better} is better), mean over "
        f"the missing rates ({rates}), at each trial's best epoch.{'' if by_plan else ARRIVAL}"
        f"{CHANGED if changed else ''}"
    )


def _failures(results: Results) -> list[str]:
    rows = [
        [
            made.trial(seed),
            reason,
            str(len(results.records[made.name, seed].epochs) + 1),
            _suspect(results, made, reason),
        ]
        for made in results.settings
        for seed, reason in results.failures(made).items()
    ]
    if not rows:
        return []
    heads = ["trial", "reason", "in epoch", "look at"]
    note = (
        f"{counted(len(rows), 'trial')} failed; `--resume --retry-failed` tries again. A setting "
        "that failed in a screening seed is never the best."
    )
    return ["## Failures", note, table([heads, *rows])]


def _suspect(results: Results, made: Setting, reason: str) -> str:
    """The setting that such a failure mostly hangs on, with its value."""
    config = results.space.config(made.values, results.space.sweep.seeds[0])
    if "not finite" in reason:
        return f"optim.lr {config.optim.lr:g}"
    if "out of memory" in reason:
        return f"train.micro_batch {config.train.micro_batch or config.train.batch_size}"
    return ""


def _winners(results: Results) -> list[str]:
    rows = []
    for stratum in results.peopled:
        winner, lead = results.winner(stratum), results.lead(stratum)
        if winner is None:
            word = "none: no setting came through" if stratum in results.barren else "not yet"
            rows.append([stratum, word, "", "", ""])
            continue
        value = results.confirmed(winner)[results.metric]
        ahead = "" if lead is None else _with_interval(lead)
        if lead is not None and not lead.low > 0:
            ahead += " (not separated)"
        rows.append([stratum, winner.name, _with_interval(value), str(value.n), ahead])
    heads = ["stratum", "winner", f"{results.metric} [95 % CI]", "seeds", "lead over the next"]
    note = "Means over all seeds of settings trained to the end (confirm stage alone)."
    return ["## Winners", note, table([heads, *rows])]


def _confirmed(results: Results) -> list[str]:
    rows = []
    others: list[str] = []
    for made in (made for stratum in results.space.strata for made in results.ranked(stratum)):
        found, fresh = results.confirmed(made), results.fresh(made)
        value = found.pop(results.metric)
        others = list(found)
        rows.append(
            [
                made.stratum,
                made.name,
                str(value.n),
                f"{value.mean:.4f}",
                "" if math.isnan(value.sd) else f"{value.sd:.4f}",
                "" if math.isnan(value.low) else f"{value.low:.4f} to {value.high:.4f}",
                f"{fresh.mean:.4f} ({fresh.n})" if fresh.n else "",
                *[f"{other.mean:.4f}" for other in found.values()],
            ]
        )
    if not rows:
        return []
    metric = results.metric
    heads = ["stratum", "setting", "seeds", metric, "sd", "95 % CI", "fresh seeds only", *others]
    note = (
        "Fresh seeds had no say in the screening: where their mean is clearly worse, the "
        "screening picked luck."
    )
    return ["## Confirmed settings", table([heads, *rows]), note]


def _screening(results: Results) -> list[str]:
    rows = []
    verdicts = [(made, results.verdict(made)) for made in results.settings]
    verdicts.sort(key=lambda pair: (pair[0].stratum, pair[1].rank or math.inf, -pair[1].epoch))
    for made, verdict in verdicts:
        if verdict.epoch or results.failures(made):
            cost = -results.direction * verdict.cost
            row = [made.stratum, made.name, state(results, made), str(verdict.epoch)]
            row += [f"{cost:.4f}" if math.isfinite(cost) else "-", str(verdict.rank or "")]
            rows.append([*row, str(results.trained(made))])
    if not rows:
        return []
    seeds = results.space.sweep.screen.seeds
    heads = ["stratum", "setting", "state", "epoch", results.metric, "rank", "epochs trained"]
    return [
        "## Screening",
        f"Mean over the first {seeds} of the seeds at the last milestone that the setting reached.",
        table([heads, *rows]),
    ]


def _cost(results: Results) -> list[str]:
    full, spent, records = results.full_grid, results.epochs, results.records.values()
    stretches = [stretch for record in records for stretch in record.note.stretches]
    wall, train = sum(s.wall_s for s in stretches), sum(s.train_s for s in stretches)
    text = ""
    if full:
        begun = sum(bool(r.epochs) for r in records)
        saved = f": {1 - spent / full:.0%} of the computing saved" if results.over else ""
        text = f"{counted(spent, 'epoch')} in {counted(begun, 'trial')}; "
        text += f"the full grid has {full} in {len(records)}"
        text += f"{saved}. "
    text += f"Workers were busy for {duration(wall)}, training for {duration(train)} of it"
    hosts = sorted({stretch.host for stretch in stretches if stretch.host})
    text += f", on {', '.join(hosts)}." if hosts else "."
    lost = sum(r.note.losses for r in records)
    if lost:
        text += f" {counted(lost, 'time')} a process or node died and its trial went on from a "
        text += "checkpoint."
    if results.space.dropped:
        text += f" Dropped as equal to another setting: {', '.join(results.space.dropped)}."
    return ["## Cost", text]


def _with_interval(value: Estimate) -> str:
    if math.isnan(value.low):
        return f"{value.mean:.4f}"
    return f"{value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]"
