"""Sizes by name."""

from lnln_dist.models import InputShapes


def test_sizes_are_taken_by_name() -> None:
    shapes = InputShapes.of(
        widths={"vision": 2, "audio": 1}, lengths={"vision": 5, "text": 3, "audio": 4}
    )
    assert shapes == InputShapes(
        audio_width=1, vision_width=2, text_length=3, audio_length=4, vision_length=5
    )
    assert [shapes.length(m) for m in ("text", "audio", "vision")] == [3, 4, 5]
