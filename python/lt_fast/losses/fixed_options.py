"""Options of a loss: checked and fixed when it is made, with advice for code that assigns one later."""

from collections.abc import Callable
from typing import Any, NoReturn

_ALIASES = {
    **dict.fromkeys(
        ("class_counts", "cls_num_list", "img_num_per_cls", "samples_per_cls", "samples_per_class"), "counts"
    ),
    **dict.fromkeys(
        ("per_cls_weights", "class_weights", "class_weight", "cls_weights", "cls_weight", "weights", "loss_weight"),
        "weight",
    ),
    "alpha": "weight",
    "s": "scale",
    "max_m": "max_margin",
    "size_average": "reduction",
    "reduce": "reduction",
}

_FROM_COUNTS = "it follows from the counts"
_ELSEWHERE = {
    "pos_weight": "it belongs to binary losses; class weights are the option weight",
    "ignore_index": (
        "leave the ignored rows out of the call: keep = target != ignore_index; criterion(logits[keep], target[keep])"
    ),
    "temperature": "divide the logits by it: criterion(logits / temperature, target)",
    **dict.fromkeys(("margin", "m_list", "bias", "prior"), _FROM_COUNTS),
    "vectors": "they follow from the counts and the options",
    "options": "they are fixed when the loss is made",
}

OPTIONS = (
    "label_rule", "omega", "kappa", "tau", "margin_rule", "max_margin", "gamma", "compat", "scale", "label_smoothing",
    "focal_gamma", "normalization", "reduction", "weight", "beta",
)  # fmt: skip
"""Names of options of any loss: assigning one to a loss without it is answered with the options that it has."""


class FixedOptions(dict[str, Any]):
    """Read-only options of a loss: if they could change, a part of the loss might use the old value.

    Args:
        loss: name of the loss, for the message.
        given: keyword arguments of ``ops.mixed_margin_loss``.
    """

    def __init__(self, loss: str, given: dict[str, Any]) -> None:
        super().__init__(given)
        self.loss = loss

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(f"options of {self.loss} are fixed when the loss is made; make a new one with other options")

    __setitem__ = __delitem__ = update = pop = popitem = clear = setdefault = __ior__ = _refuse

    def __reduce__(self) -> tuple[Callable[..., "FixedOptions"], tuple[str, dict[str, Any]]]:
        """Copy and pickle by the constructor."""
        return type(self), (self.loss, dict(self))


def advice(loss: str, options: tuple[str, ...], name: str) -> str | None:
    """Return the error message for assigning ``name`` to a made loss; None for a name that is no option of any loss.

    Args:
        loss: name of the loss.
        options: names of its constructor's arguments.
        name: attribute that is to be assigned.
    """
    fixed = f"{name} of {loss} cannot be set: "
    option = _ALIASES.get(name, name)
    if option not in options:
        if name in _ELSEWHERE:
            return fixed + _ELSEWHERE[name]
        if option in OPTIONS:
            return f"{fixed}this loss has no such option; its options are {', '.join(options[1:])}"
        return None
    new = f"{loss}(counts, ...)" if option == "counts" else f"{loss}(counts, {option}=...)"
    switch = ", and switch between the two at an epoch by lt_fast.methods.DeferredReweighting(plain, reweighted)"
    return f"{fixed}a loss is fixed when it is made; make a new one, {new}{switch if option == 'weight' else ''}"
