"""Options of a loss: checked and fixed when it is made, with advice for who assigns one later."""

from typing import Any, NoReturn

from lt_fast.ops.options import settings

_DEFAULTS: dict[str, Any] = {
    "label_rule": "mixup",
    "omega": 0.25,
    "kappa": 3.0,
    "tau": 0.5,
    "margin_rule": "fixed",
    "max_margin": None,
    "gamma": None,
    "compat": None,
    "scale": 1.0,
    "label_smoothing": 0.0,
    "focal_gamma": 0.0,
    "normalization": "expected",
    "reduction": "mean",
}  # in the order of ``settings``

_ALIASES = {
    "counts": "counts",
    "class_counts": "counts",
    "cls_num_list": "counts",
    "img_num_per_cls": "counts",
    "samples_per_cls": "counts",
    "samples_per_class": "counts",
    "s": "scale",
    "max_m": "max_margin",
    "per_cls_weights": "weight",
    "class_weights": "weight",
    "class_weight": "weight",
    "cls_weights": "weight",
    "cls_weight": "weight",
    "weights": "weight",
    "loss_weight": "weight",
    "alpha": "weight",
    "size_average": "reduction",
    "reduce": "reduction",
}

_ELSEWHERE = {
    "pos_weight": "it belongs to binary losses; class weights are the option weight",
    "ignore_index": (
        "leave the ignored rows out of the call: keep = target != ignore_index; criterion(logits[keep], target[keep])"
    ),
    "temperature": "divide the logits by it: criterion(logits / temperature, target)",
    "margin": "it follows from the counts",
    "m_list": "it follows from the counts",
    "bias": "it follows from the counts",
    "prior": "it follows from the counts",
    "vectors": "they follow from the counts and the options",
    "options": "they are fixed when the loss is made",
}

_OF_OTHERS = (*_DEFAULTS, "weight", "beta")


class Options(dict[str, Any]):
    """A dictionary of checked options that cannot be changed: half of a change might count and half of it not.

    Args:
        loss: name of the loss, for the message.
        given: keywords of ``ops.mixed_margin_loss``.

    Raises:
        TypeError: if an option is of a wrong type.
        ValueError: if an option is out of range or unknown.
    """

    def __init__(self, loss: str, given: dict[str, Any]) -> None:
        settings(*{**_DEFAULTS, **given}.values())
        super().__init__(given)
        self.loss = loss

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(f"options of {self.loss} are fixed when the loss is made; make a new one with other options")

    __setitem__ = __delitem__ = update = pop = popitem = clear = setdefault = __ior__ = _refuse

    def __reduce__(self) -> tuple[type["Options"], tuple[str, dict[str, Any]]]:
        """Copy and pickle by the constructor."""
        return type(self), (self.loss, dict(self))


def advice(loss: str, options: tuple[str, ...], name: str) -> str | None:
    """Return what to do instead of assigning ``name`` to a made loss; None for a name that is no option of any loss.

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
        if option in _OF_OTHERS:
            return f"{fixed}this loss has no such option; its options are {', '.join(options[1:])}"
        return None
    new = f"{loss}(counts, ...)" if option == "counts" else f"{loss}(counts, {option}=...)"
    switch = ", and switch between the two at an epoch by lt_fast.training.DeferredReweighting(plain, reweighted)"
    return f"{fixed}a loss is fixed when it is made; make a new one, {new}{switch if option == 'weight' else ''}"
