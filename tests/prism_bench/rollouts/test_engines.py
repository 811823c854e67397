"""Engines say how many devices they use, for the bill of device-seconds."""

import pytest

from prism_bench.rollouts.transformers_backend import TransformersEngine
from prism_bench.rollouts.vllm_engine import VLLMEngine


@pytest.mark.parametrize(
    ("engine", "devices"),
    [
        (TransformersEngine(), 1),
        (VLLMEngine(1024, 8), 1),
        (VLLMEngine(1024, 8, tensor_parallel_size=4), 4),
        (VLLMEngine(1024, 8, tensor_parallel_size=2, grpo={"vllm_mode": "server"}), 3),  # training has one more
    ],
)
def test_every_device_counts(engine, devices):
    assert engine.devices == devices
