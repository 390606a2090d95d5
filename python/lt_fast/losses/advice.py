"""Advice for code that assigns an option of a loss, which is fixed when the loss is made."""

from lt_fast.ops.options import MarginOptions

_ALIASES = {
    **dict.fromkeys(("class_counts", "cls_num_list", "img_num_per_cls"), "counts"),
    **dict.fromkeys(("samples_per_cls", "samples_per_class"), "counts"),
    **dict.fromkeys(("per_cls_weights", "class_weights", "class_weight", "cls_weights", "cls_weight"), "weight"),
    **dict.fromkeys(("weights", "loss_weight", "alpha"), "weight"),
    **dict.fromkeys(("size_average", "reduce"), "reduction"),
    "s": "scale",
    "max_m": "max_margin",
}
_ELSEWHERE = {
    "pos_weight": "it belongs to binary losses; class weights are the option weight",
    "temperature": "divide the logits by it: criterion(logits / temperature, target)",
    **dict.fromkeys(("margin", "m_list", "bias", "prior"), "it follows from the counts"),
    "vectors": "they follow from the counts and the options",
    "target_form": "it follows from the options ignore_index and class_dim",
    "options": "they are fixed when the loss is made",
}
_OF_OTHERS = (*MarginOptions.__dataclass_fields__, "weight", "beta")


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
        if option in _OF_OTHERS:
            return f"{fixed}this loss has no such option; its options are {', '.join(options[1:])}"
        return None
    new = f"{loss}(counts, ...)" if option == "counts" else f"{loss}(counts, {option}=...)"
    switch = ", and switch between the two at an epoch by lt_fast.methods.DeferredReweighting(plain, reweighted)"
    return f"{fixed}a loss is fixed when it is made; make a new one, {new}{switch if option == 'weight' else ''}"
