"""The transformer of a sentence encoder on OpenVINO: the same weights, faster on a CPU.

Only the transformer is replaced; tokenizer, pooling and all that follows stay the model's own.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from typing import TYPE_CHECKING, Any

from vlm4rec_spark.errors import EngineError, MissingExtraError, reason_of

if TYPE_CHECKING:
    import torch

PRECISIONS = {
    "openvino": {"INFERENCE_PRECISION_HINT": "f32"},
    "openvino_bf16": {"INFERENCE_PRECISION_HINT": "bf16"},
    # Weights are int8. A CPU with bfloat16 computes with them in that; another one in int8, where
    # activations are quantised as they come, in groups: of smaller ones an outlier spoils less.
    "openvino_int8": {"INFERENCE_PRECISION_HINT": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"},
}
"""Backend -> settings of OpenVINO. A CPU without bfloat16 computes `openvino_bf16` in float32."""

INT8_MAX = 127
EXAMPLE = ["A red dress.", "Oak table, rustic."]


def replace_transformer(model: Any, backend: str) -> None:
    """Let a loaded SentenceTransformer compute its transformer with OpenVINO, on one thread.

    Args:
        model: changed in place.
        backend: a key of `PRECISIONS`.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        EngineError: the model has no transformer, or one that OpenVINO cannot convert.
    """
    openvino = _openvino()
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    inner = getattr(model[0], "auto_model", None)
    if inner is None:
        raise EngineError(
            f"embed.backend '{backend}' needs a model that begins with a transformer, found "
            f"{type(model[0]).__name__}; set embed.backend to torch."
        )
    example = dict(model.tokenizer(EXAMPLE, padding=True, return_tensors="pt"))
    if backend == "openvino_int8":
        _quantise(inner)
    names = list(example)
    try:
        compiled = _compiled(openvino, inner, example, PRECISIONS[backend])
    except Exception as error:
        reason = reason_of(error)
        raise EngineError(
            f"OpenVINO cannot convert this encoder: {reason}. Set embed.backend to torch."
        ) from error

    def forward(**inputs: Any) -> BaseModelOutput:
        hidden = compiled([inputs[name].numpy() for name in names])[0]
        return BaseModelOutput(last_hidden_state=torch.from_numpy(hidden))

    inner.forward = forward


def _openvino() -> Any:
    if importlib.util.find_spec("openvino") is None:
        raise MissingExtraError("openvino", "openvino")
    # It reports each import and conversion to its makers unless this package is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _compiled(openvino: Any, inner: Any, example: dict[str, Any], settings: dict[str, str]) -> Any:
    with warnings.catch_warnings():
        # Decisions on shapes that tracing freezes: tests hold other shapes against torch.
        warnings.filterwarnings("ignore", "Converting a tensor")
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        converted = openvino.convert_model(
            _hidden_states(inner.eval(), list(example)), example_input=tuple(example.values())
        )
    one_thread = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    return openvino.Core().compile_model(converted, "CPU", one_thread | settings)


def _hidden_states(inner: torch.nn.Module, names: list[str]) -> torch.nn.Module:
    """Return a module that takes what the tokenizer gives by position: tracing needs an order."""
    import torch

    class HiddenStates(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            outputs = self.inner(**dict(zip(names, inputs, strict=True)))
            hidden: torch.Tensor = outputs.last_hidden_state
            return hidden

    return HiddenStates()


def _quantise(module: torch.nn.Module) -> None:
    """Store the weights of all linear layers as int8, with one scale for each output."""
    import torch

    class Int8Linear(torch.nn.Module):
        """OpenVINO sees the conversion in front of the product and computes in int8."""

        weight: torch.Tensor
        scale: torch.Tensor

        def __init__(self, linear: torch.nn.Linear) -> None:
            super().__init__()
            weight = linear.weight.detach()
            scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / INT8_MAX
            self.register_buffer("weight", torch.round(weight / scale).to(torch.int8))
            self.register_buffer("scale", scale)
            self.bias = linear.bias

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight = self.weight.to(torch.float32) * self.scale
            return torch.nn.functional.linear(x, weight, self.bias)

    for name, child in module.named_children():
        if isinstance(child, torch.nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            _quantise(child)
