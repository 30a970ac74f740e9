"""Progress on the terminal: a live bar where there is one, plain lines where there is none."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainProgress:
    """Steps of a training run with loss, rate, speed and time left; silent on other ranks.

    Args:
        total: optimizer steps of the whole run.
        start: steps done before.
        shown: False on every rank but the main one.
    """

    def __init__(self, *, total: int, start: int, shown: bool) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._shown = shown
        self._bar: Progress | None = None
        if shown and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("train", total=total, completed=start, note="")

    def __enter__(self) -> "TrainProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, done: int, note: str) -> None:
        """Moves the bar to ``done`` steps."""
        if self._bar:
            self._bar.update(self._task, completed=done, note=note)

    def line(self, text: str) -> None:
        """A line that stays, such as an epoch's scores."""
        if self._shown:
            self._console.print(text, markup=False)
