"""Columns of TensorBoard's HPARAMS page."""

from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from lnln_dist.monitor.hparams import hparam_summaries


def test_all_settings_are_columns_and_the_chosen_ones_come_first() -> None:
    flat = {"a.x": 1, "b.y": None, "c.z": [0.5], "d": True}
    columns, values = hparam_summaries(flat, ["valid/mae/mean"], first=["c.z"])
    read = [
        HParamsPluginData.FromString(s.value[0].metadata.plugin_data.content)
        for s in (columns, values)
    ]
    experiment = read[0].experiment
    assert {i.name: i.differs for i in experiment.hparam_infos} == {
        "a.x": False,
        "b.y": False,
        "c.z": True,
        "d": False,
    }
    assert [m.name.tag for m in experiment.metric_infos] == ["valid/mae/mean"]
    session = read[1].session_start_info.hparams
    assert session["a.x"].number_value == 1
    assert session["b.y"].string_value == "None"
    assert session["c.z"].string_value == "[0.5]"
