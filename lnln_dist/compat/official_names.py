"""Parameter names of the released code and ours, both ways."""

import re

_OURS_TO_OFFICIAL = (
    (r"text_encoder\.model\.", "bertmodel.model."),
    (r"embed\.text\.project\.", "proj_l.0."),
    (r"embed\.audio\.project\.", "proj_a.0."),
    (r"embed\.vision\.project\.", "proj_v.0."),
    (r"embed\.text\.transformer\.", "proj_l.1."),
    (r"embed\.audio\.transformer\.", "proj_a.1."),
    (r"embed\.vision\.transformer\.", "proj_v.1."),
    (r"proxy\.start$", "h_p"),
    (r"proxy\.transformer\.", "proxy_dominate_modality_generator."),
    (r"completeness\.transformer\.", "completeness_check.0."),
    (r"completeness\.head\.", "completeness_check.1."),
    (r"discriminator\.", "effective_discriminator."),
    (r"reconstructors\.audio\.", "reconstructor.0."),
    (r"reconstructors\.vision\.", "reconstructor.1."),
    (r"reconstructors\.text\.", "reconstructor.2."),
    (r"dominant\.", "dmml.0."),
    (r"hyper\.start$", "h_hyper"),
    (r"hyper\.layers\.(\d+)\.", r"dmml.1.layers.\1.0."),
    (r"fusion\.", "dmml.2."),
    (r"sentiment\.", "dmml.3."),
)
_HYPER = {
    "norms.dominant": "norm1",
    "norms.audio": "norm2",
    "norms.vision": "norm3",
    "norms.hyper": "norm4",
    "to_query": "fn.to_q",
    "to_key.audio": "fn.to_k_ta",
    "to_key.vision": "fn.to_k_tv",
    "to_value.audio": "fn.to_v_ta",
    "to_value.vision": "fn.to_v_tv",
    "to_out": "fn.to_out.0",
}
_BLOCK = {
    "attention.norm_query": "0.norm_q",
    "attention.norm_key": "0.norm_k",
    "attention.norm_value": "0.norm_v",
    "attention.to_query": "0.fn.to_q",
    "attention.to_key": "0.fn.to_k",
    "attention.to_value": "0.fn.to_v",
    "attention.to_out": "0.fn.to_out.0",
    "feed_forward.norm": "1.norm",
    "feed_forward.up": "1.fn.net.0",
    "feed_forward.down": "1.fn.net.3",
}
_TABLES = {
    "positions": "pos_embedding",
    "extra_tokens": "extra_token",
    "source_positions": "pos_embedding_s",
    "target_positions": "pos_embedding_t",
}


def official_name(name: str) -> str:
    """The released code's name of one of our parameters.

    Raises:
        KeyError: the name is not a parameter of LNLN.
    """
    for ours, theirs in _OURS_TO_OFFICIAL:
        match = re.match(ours, name)
        if match:
            return match.expand(theirs) + _inner(name[: match.end()], name[match.end() :])
    raise KeyError(name)


def _inner(prefix: str, rest: str) -> str:
    """The part of a name behind its module's place."""
    if prefix.startswith("text_encoder."):
        return rest
    if prefix.startswith("hyper.layers."):
        module, _, kind = rest.rpartition(".")
        return f"{_HYPER[module]}.{kind}"
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", rest)
    if block:
        number, module, kind = block.groups()
        stack = "CrossTransformerEncoder" if prefix.startswith("fusion.") else "encoder"
        return f"{stack}.layers.{number}.{_BLOCK[module]}.{kind}"
    return _TABLES.get(rest, rest)
