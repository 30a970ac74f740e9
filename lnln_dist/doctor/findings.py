"""What a check found, and how findings are shown."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from lnln_dist.errors import UserError

Level = Literal["ok", "warn", "fail"]
ORDER: dict[Level, int] = {"fail": 0, "warn": 1, "ok": 2}


@dataclass(frozen=True)
class Finding:
    """One line of the report; whatever is not ok says what to do about it."""

    check: str
    level: Level
    found: str
    remedy: str = ""
    where: str = ""
    """Ranks it holds for; empty for all."""

    def __post_init__(self) -> None:
        assert (self.level == "ok") == (not self.remedy), self


def ok(check: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(check, "ok", found)


def warn(check: str, found: str, remedy: str) -> Finding:
    """May do harm, or only later."""
    return Finding(check, "warn", found, remedy)


def fail(check: str, found: str, remedy: str) -> Finding:
    """A run started like this will not work."""
    return Finding(check, "fail", found, remedy)


def from_error(check: str, err: UserError) -> Finding:
    """A user's error, whose message ends with its remedy."""
    text = str(err)
    cut = max(text.rfind("; "), text.rfind(": "))
    if cut < 0:
        return fail(check, text, "see the message")
    return fail(check, text[:cut], text[cut + 2 :])


def merge(by_rank: Sequence[Sequence[Finding]], hosts: Sequence[str]) -> list[Finding]:
    """All ranks' findings, each once; ``where`` names the ranks if some found something else."""
    ranks: dict[Finding, list[int]] = {}
    looked = Counter(check for found in by_rank for check in {f.check for f in found})
    for rank, findings in enumerate(by_rank):
        for finding in findings:
            ranks.setdefault(finding, []).append(rank)
    out = []
    for finding, found_by in ranks.items():
        others = looked[finding.check] if finding.level == "ok" else len(by_rank)
        if len(found_by) == others:
            out.append(finding)
            continue
        shown = ", ".join(f"{rank} ({hosts[rank]})" for rank in found_by[:4])
        more = f" and {len(found_by) - 4} more" if len(found_by) > 4 else ""
        plural = "s" if len(found_by) > 1 else ""
        out.append(replace(finding, where=f"rank{plural} {shown}{more}"))
    order = {check: i for i, check in enumerate(dict.fromkeys(f.check for f in out))}
    return sorted(out, key=lambda f: (order[f.check], f.where))


def worst(findings: Iterable[Finding]) -> Level:
    """The most serious level; ok for none."""
    return min((finding.level for finding in findings), key=ORDER.__getitem__, default="ok")


def as_text(findings: Sequence[Finding]) -> str:
    """A table with the remedies below what needs them."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines = []
    for finding in findings:
        where = f"  [{finding.where}]" if finding.where else ""
        lines.append(f"{finding.level:<4}  {finding.check:<{width}}  {finding.found}{where}")
        if finding.remedy:
            lines.append(f"{'':<{width + 8}}-> {finding.remedy}")
    counts = [f"{sum(f.level == level for f in findings)} {level}" for level in ORDER]
    return "\n".join([*lines, "", ", ".join(counts)]) + "\n"


def as_json(findings: Sequence[Finding]) -> str:
    """``{"ok": no finding is a fail, "findings": [...]}``."""
    listed = [asdict(finding) for finding in findings]
    return json.dumps({"ok": worst(findings) != "fail", "findings": listed}, indent=2) + "\n"
