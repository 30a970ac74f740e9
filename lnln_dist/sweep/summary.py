"""A sweep's results as Markdown and CSV, and what the terminal shows of them."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from lnln_dist import settings
from lnln_dist.files import atomic_write
from lnln_dist.sweep import axes
from lnln_dist.sweep.collect import Estimate, Results, SettingResult, report_rows, to_csv
from lnln_dist.sweep.live import duration

ARRIVAL = (
    " Schedulers and searchers of Ray's go by who reports first: run again, this sweep may stop "
    "other settings."
)


def write(results: Results) -> list[Path]:
    """Writes ``sweep.csv``, ``summary.csv``, ``summary.md`` and the winners' configs."""
    folder = results.folder.path
    out = {
        "sweep.csv": to_csv(report_rows(results)),
        "summary.csv": to_csv(summary_rows(results)),
        "summary.md": markdown(results),
    }
    for stratum in results.space.strata:
        winner = results.winner(stratum)
        if winner is not None:
            config = results.space.config(winner.setting.values, results.space.sweep.seeds[0])
            head = (
                f"# {winner.setting.name}: winner of {folder.name}, stratum {stratum}.\n"
                "# data.path is where its data were: elsewhere, add --data.path DIR.\n"
            )
            out[f"winner/{stratum}.yaml"] = head + settings.dump(config)
    for name, text in out.items():
        atomic_write(folder / name, text)
    for old in (folder / "winner").glob("*.yaml"):
        if f"winner/{old.name}" not in out:
            old.unlink()  # of a stratum that has another name, or no winner, by now
    return [folder / name for name in out]


def summary_rows(results: Results) -> Iterator[dict[str, object]]:
    """One row per setting, for ``summary.csv``."""
    for result in results.settings:
        made, verdict = result.setting, result.verdict
        winner = results.winner(made.stratum)
        row: dict[str, object] = {
            "stratum": made.stratum,
            "setting": made.name,
            **{f"axis:{name}": value for name, value in made.values.items()},
            "state": state(results, result),
            "winner": winner is not None and winner.setting.name == made.name,
            "epochs_trained": sum(len(r.epochs) for r in result.records.values()),
            "epochs_full": made.epochs * len(result.records),
            "failed_seeds": len(result.failures),
            "screen_epoch": verdict.epoch,
            "screen_rank": verdict.rank,
            "screen_mean": -results.direction * verdict.cost if verdict.epoch else None,
        }
        for name, value in result.confirmed.items():
            row |= {f"{name}_{part}": v for part, v in value._asdict().items()}
        if result.fresh.n:
            row |= {f"fresh_{results.metric}_{k}": v for k, v in result.fresh._asdict().items()}
        yield row


def state(results: Results, result: SettingResult) -> str:
    """Where a setting stands, in a few words."""
    verdict = result.verdict
    if result.failures and not result.complete:
        return "failed"
    if result.complete:
        return "confirmed"
    if verdict.chosen:
        return "confirming"
    if result.setting.stratum in results.plan.decided:
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
    swept = any("select.rates" in axes.changed_keys(n, a) for n, a in sweep.axes.items())
    rates = "those of its stratum" if swept else ", ".join(f"{rate:g}" for rate in select.rates)
    to_go = len(results.plan.segments)
    by_plan = isinstance(sweep.screen.scheduler, str) and not sweep.search.ray
    return (
        f"{'Finished.' if results.over else f'Not finished: {to_go} stretches of training to go.'} "
        f"{len(results.settings)} settings, {len(sweep.seeds)} seeds. Objective: {results.metric} "
        f"on the {select.split} split ({better} is better), mean over the missing rates "
        f"({rates}), at each trial's best epoch.{'' if by_plan else ARRIVAL}"
    )


def _winners(results: Results) -> list[str]:
    rows = []
    # A stratum is empty for good if all its settings equal some of another.
    peopled = {s.setting.stratum for s in results.settings} | results.space.unfilled
    for stratum in (s for s in results.space.strata if s in peopled):
        winner, lead = results.winner(stratum), results.lead(stratum)
        if winner is None:
            through = stratum in results.plan.decided and results.over
            rows.append(
                [stratum, "none: no setting came through" if through else "not yet", *[""] * 3]
            )
            continue
        value = winner.confirmed[results.metric]
        ahead = "" if lead is None else _with_interval(lead)
        if lead is not None and not lead.low > 0:
            ahead += " (not separated)"
        rows.append([stratum, winner.setting.name, _with_interval(value), str(value.n), ahead])
    heads = ["stratum", "winner", f"{results.metric} [95 % CI]", "seeds", "lead over the next"]
    note = "Means over all seeds of settings trained to the end (confirm stage alone)."
    return ["## Winners", note, _table(heads, rows)]


def _confirmed(results: Results) -> list[str]:
    rows = []
    metric = results.metric
    others: list[str] = []
    for stratum in results.space.strata:
        for result in results.ranked(stratum):
            value, fresh = result.confirmed[metric], result.fresh
            others = [name for name in result.confirmed if name != metric]
            rows.append(
                [
                    stratum,
                    result.setting.name,
                    str(value.n),
                    f"{value.mean:.4f}",
                    "" if math.isnan(value.sd) else f"{value.sd:.4f}",
                    "" if math.isnan(value.low) else f"{value.low:.4f} to {value.high:.4f}",
                    f"{fresh.mean:.4f} ({fresh.n})" if fresh.n else "",
                    *[f"{result.confirmed[name].mean:.4f}" for name in others],
                ]
            )
    if not rows:
        return []
    heads = ["stratum", "setting", "seeds", metric, "sd", "95 % CI", "fresh seeds only", *others]
    note = (
        "Fresh seeds had no say in the screening: where their mean is clearly worse, the "
        "screening picked luck."
    )
    return ["## Confirmed settings", _table(heads, rows), note]


def _screening(results: Results) -> list[str]:
    rows = []
    for result in sorted(
        results.settings,
        key=lambda s: (s.setting.stratum, s.verdict.rank or math.inf, -s.verdict.epoch),
    ):
        verdict = result.verdict
        if not verdict.epoch and not result.failures:
            continue
        rows.append(
            [
                result.setting.stratum,
                result.setting.name,
                state(results, result),
                str(verdict.epoch),
                _number(-results.direction * verdict.cost),
                str(verdict.rank or ""),
                str(sum(len(r.epochs) for r in result.records.values())),
            ]
        )
    if not rows:
        return []
    seeds = results.space.sweep.screen.seeds
    heads = ["stratum", "setting", "state", "epoch", results.metric, "rank", "epochs trained"]
    return [
        "## Screening",
        f"Mean over the first {seeds} of the seeds at the last milestone that the setting reached.",
        _table(heads, rows),
    ]


def _cost(results: Results) -> list[str]:
    full, spent = results.full_grid, results.epochs
    records = [r for s in results.settings for r in s.records.values()]
    stretches = [stretch for record in records for stretch in record.note.stretches]
    wall, train = sum(s.wall_s for s in stretches), sum(s.train_s for s in stretches)
    text = (
        f"{spent} epochs in {sum(bool(r.epochs) for r in records)} trials; the full grid has {full}"
        f" in {len(records)}"
        if full
        else ""
    )
    if full:
        text += f": {1 - spent / full:.0%} of the computing saved. " if results.over else ". "
    text += f"Workers were busy for {duration(wall)}, training for {duration(train)} of it"
    hosts = sorted({host for record in records for host in record.hosts})
    text += f", on {', '.join(hosts)}." if hosts else "."
    lost = sum(r.note.losses for r in records)
    if lost:
        text += f" {lost} times a process or node died and its trial went on from a checkpoint."
    if results.space.dropped:
        text += f" Dropped as equal to another setting: {', '.join(results.space.dropped)}."
    return ["## Cost", text]


def _failures(results: Results) -> list[str]:
    rows = [
        [
            result.setting.trial(seed),
            reason,
            str(len(result.records[seed].epochs) + 1),
            _suspect(results, result, reason),
        ]
        for result in results.settings
        for seed, reason in result.failures.items()
    ]
    if not rows:
        return []
    note = (
        f"{len(rows)} trials failed; `--resume --retry-failed` tries them again. A setting that "
        "failed in a screening seed is never the best."
    )
    return ["## Failures", note, _table(["trial", "reason", "in epoch", "look at"], rows)]


def _suspect(results: Results, result: SettingResult, reason: str) -> str:
    """The setting that such a failure mostly hangs on, with its value."""
    config = results.space.config(result.setting.values, results.space.sweep.seeds[0])
    if "not finite" in reason:
        return f"optim.lr {config.optim.lr:g}"
    if "out of memory" in reason:
        size = config.train.micro_batch or config.train.batch_size
        return f"train.micro_batch {size}"
    return ""


def _with_interval(value: Estimate) -> str:
    if math.isnan(value.low):
        return f"{value.mean:.4f}"
    return f"{value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]"


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in r) + " |" for r in lines)
