"""Calls of the CUDA kernels' own code on the CPU: random problems, their exact results, and how a kernel is run."""

import ctypes

import torch

from lt_fast.ops import reference

TYPES = {torch.float32: b"f", torch.float64: b"d", torch.float16: b"h", torch.bfloat16: b"b"}
LABEL_RULES = ["mixup", "mam", "remix", "unimix", "cp_mix"]
# A layout is ten times its number of lanes' place in LANES, plus its buffers; the last one streams its rows.
LANES = [8, 32, 64, 128, 256]
STREAMED = 10 * len(LANES)
LAYOUTS = [*(10 * place + buffers for place in range(len(LANES)) for buffers in (1, 2)), STREAMED]

_POINTERS = ["lam", "sample_weight", "class_counts", "margin", "bias", "weight"]
# The last one is no option.
_NUMBERS = ["omega", "kappa", "tau", "max_margin", "gamma", "scale", "label_smoothing", "focal_gamma", "denominator"]


class Call(ctypes.Structure):
    _fields_ = [
        ("logits", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("stride", "rows", "columns")),
        *((name, ctypes.c_void_p) for name in ("target", "target_b", *_POINTERS)),
        *((name, ctypes.c_int64) for name in ("lam_step", "sample_weight_step", "label_rule", "margin_rule")),
        *((name, ctypes.c_double) for name in _NUMBERS),
        *((name, ctypes.c_void_p) for name in ("loss", "grad", "row_numbers", "prediction")),
        *((name, ctypes.c_int64) for name in ("layout", "most_blocks", "shared_bytes")),
        ("grad_output", ctypes.c_void_p),
        ("grad_output_step", ctypes.c_int64),
        ("mean_counts", ctypes.c_void_p),
        ("total", ctypes.c_void_p),
    ]


def arithmetic(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


class Problem:
    """Logits, labels and vectors of one call, from a seed."""

    def __init__(self, rows, columns, *, dtype=torch.float32, seed=0, mixed=True, spread=3.0, offset=0, padding=0):
        draw = torch.Generator().manual_seed(seed)
        memory = torch.randn(offset + rows * (columns + padding), generator=draw, dtype=torch.float64) * spread
        memory = memory.to(dtype)[offset:].view(rows, columns + padding)
        self.logits, self.draw = memory[:, :columns], draw
        self.target = self.labels()
        self.target_b = self.labels() if mixed else None
        if mixed:
            self.target_b[0] = self.target[0]  # equal labels
        self.vectors = {"lam": self.vector(rows) if mixed else None}
        self.options = {"scale": 1.0, "omega": 0.25, "kappa": 3.0, "tau": 0.5}

    def labels(self):
        rows, columns = self.logits.shape
        return torch.randint(columns, (rows,), generator=self.draw)

    def vector(self, size, *, low=0.0, high=1.0):
        numbers = torch.rand(size, generator=self.draw, dtype=torch.float64) * (high - low) + low
        return numbers.to(arithmetic(self.logits.dtype))

    def call(self, *, layout=-1, most_blocks=1 << 30, shared_bytes=1 << 20, denominator=1.0):
        """The C structure; keeps what it points to alive."""
        given = {name: self.vectors.get(name) for name in _POINTERS}
        options = {name: float(self.options.get(name, 0.0)) for name in _NUMBERS} | {"denominator": denominator}
        rows, columns = self.logits.shape
        if self.options.get("label_rule", "mixup") == "mixup" or self.target_b is None:
            given["class_counts"] = None
        self.alive = [tensor for tensor in (self.target, self.target_b, *given.values()) if tensor is not None]
        return Call(
            logits=self.logits.data_ptr(), stride=self.logits.stride(0), rows=rows, columns=columns,
            target=self.target.data_ptr(), target_b=None if self.target_b is None else self.target_b.data_ptr(),
            lam_step=1, sample_weight_step=1, label_rule=LABEL_RULES.index(self.options.get("label_rule", "mixup")),
            margin_rule=self.options.get("margin_rule", 0), layout=layout, most_blocks=most_blocks,
            shared_bytes=shared_bytes,
            **{name: None if tensor is None else tensor.data_ptr() for name, tensor in given.items()}, **options,
        )  # fmt: skip

    def expected(self, dtype=torch.float64):
        """Per-sample losses, and the gradient of their sum, by the reference in double."""
        logits = self.logits.to(dtype).clone().requires_grad_()
        vectors = {name: None if v is None else v.to(dtype) for name, v in self.vectors.items()}
        options = dict(self.options)
        rule = options.pop("margin_rule", 0)
        if rule:
            options |= {"margin_rule": "maximum", "compat": "batch_first_label" if rule == 2 else None}
        losses = reference.mixed_margin_loss(
            logits, self.target, target_b=self.target_b, reduction="none", normalization="batch", **vectors, **options
        )
        losses.sum().backward()
        return losses.detach(), logits.grad


def forward(kernels, problem, *, guard=5, **choices):
    """Run the forward kernel; its gradient lies between guards that must stay as they are."""
    rows, columns = problem.logits.shape
    dtype, call = problem.logits.dtype, problem.call(**choices)
    loss, numbers = torch.empty(rows, dtype=arithmetic(dtype)), torch.empty(rows, 6, dtype=arithmetic(dtype))
    memory = torch.full((rows * columns + 2 * guard,), 7.0, dtype=dtype)
    prediction = torch.empty(rows, dtype=torch.int64)
    call.loss, call.row_numbers, call.prediction = loss.data_ptr(), numbers.data_ptr(), prediction.data_ptr()
    call.grad = memory.data_ptr() + guard * memory.element_size()
    layout = kernels.forward(ctypes.c_char(TYPES[dtype]), ctypes.byref(call))
    assert (memory[:guard] == 7).all()
    assert (memory[-guard:] == 7).all()
    return loss, memory[guard:-guard].view(rows, columns), numbers, prediction, layout


def forward_total(kernels, problem, *, mean_counts=None, **choices):
    """Run the forward kernel as a reduced loss does; the total and the gradient, and NaN where nothing is written."""
    rows, columns = problem.logits.shape
    dtype, call = problem.logits.dtype, problem.call(**choices)
    total, grad = (
        torch.full((), torch.nan, dtype=arithmetic(dtype)),
        torch.full((rows, columns), torch.nan, dtype=dtype),
    )
    call.total, call.grad = total.data_ptr(), grad.data_ptr()
    if mean_counts is not None:
        call.mean_counts = mean_counts.data_ptr()
    kernels.forward(ctypes.c_char(TYPES[dtype]), ctypes.byref(call))
    return total, grad
