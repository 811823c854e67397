"""Checkpoints of every supported architecture, saved and loaded the way a run does it, offline."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import httpx
import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file

from prism_bench.accounting.meter import Meter
from prism_bench.data.prompts import ReactPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.errors import InputError
from prism_bench.models import checkpoints
from prism_bench.models.decoder import model_shape
from prism_bench.models.policy import (
    CheckpointError,
    Policy,
    load_policy,
    save_policy,
    weights_digest,
    with_lora,
)
from prism_bench.models.scratch import ScratchModel, create_policy
from prism_bench.models.tokenizer import entity_parts
from prism_bench.probe.gradients import gradient_norms
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import RolloutRunner
from prism_bench.rollouts.transformers_backend import TransformersBackend

ARCHITECTURES = {"qwen2": "qwen2_5", "qwen3": "qwen3", "llama": "llama3_1"}
LORA = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")


@pytest.fixture
def policy(tiny_model, chat_tokenizer) -> Callable[..., Policy]:
    def make(architecture: str = "qwen2", **changes) -> Policy:
        tokenizer = chat_tokenizer(ARCHITECTURES.get(architecture, "qwen2_5"))
        return Policy(tiny_model(architecture, vocab_size=len(tokenizer), **changes), tokenizer)

    return make


@pytest.fixture
def saved(policy, tmp_path) -> Path:
    save_policy(policy(), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def logits(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return policy.model.eval()(input_ids=torch.arange(20)[None]).logits


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_policy_loads_as_it_was(policy, tmp_path, architecture, tied):
    original = policy(architecture, tie_word_embeddings=tied)
    save_policy(original, tmp_path)
    loaded = load_policy(tmp_path)
    assert weights_digest(loaded.model) == weights_digest(original.model)
    torch.testing.assert_close(logits(loaded), logits(original), rtol=0, atol=0)
    assert loaded.model.dtype == torch.float32
    assert loaded.tokenizer.chat_template == original.tokenizer.chat_template
    assert original.tokenizer.pad_token is None and loaded.tokenizer.pad_token_id is not None
    text = "go to drawer 3<|im_end|>\n\n  caf\u00e9"
    assert loaded.tokenizer.encode(text) == original.tokenizer.encode(text)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_loaded_checkpoint_plays_is_probed_and_takes_an_adapter(
    policy, tmp_path, architecture, corridor, corridor_episodes
):
    save_policy(policy(architecture, max_position_embeddings=4096), tmp_path / "base")
    adapted = with_lora(load_policy(tmp_path / "base"), LORA)
    torch.manual_seed(0)
    for name, weight in adapted.model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.3)
    save_policy(adapted, tmp_path / "adapter")
    assert not list((tmp_path / "adapter").glob("model*.safetensors"))
    loaded = load_policy(tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded), logits(adapted), rtol=0, atol=0)
    assert not torch.allclose(logits(loaded), logits(load_policy(tmp_path / "base")), atol=0.1)
    assert with_lora(loaded, LORA) is loaded
    assert model_shape(loaded.model).lora_rank == 4
    trainable = {name.split(".")[-3] for name, weight in loaded.model.named_parameters() if weight.requires_grad}
    assert trainable <= {"lora_A", "lora_B"} and trainable

    renderer = Renderer(loaded.tokenizer, ReactPrompt("Answer with one action."), max_length=2000)
    runner = RolloutRunner(lambda: corridor(2), renderer, batch_size=3)
    backend = TransformersBackend(loaded.model, renderer.end_token_id)
    episodes = runner.run(backend, ["1-4", "5-1", "2-3"], Sampling(max_completion_tokens=5), "policy:x", Meter("eval"))
    assert [len(episode.trajectory.steps) for episode in episodes] == [2, 2, 2]
    rendered = [renderer.render(episode) for episode in corridor_episodes[:3]]
    norms, _ = gradient_norms(loaded.model, rendered, tokens_per_batch=1000, meter=Meter("route"))
    assert norms.shape == (3, 2, 7) and (norms > 0).all()


def test_a_policy_without_lora_stays_as_it_is(policy):
    made = policy()
    assert with_lora(made, None) is made


def test_dtypes_are_those_asked_for(saved):
    assert load_policy(saved, dtype="bfloat16").model.dtype == torch.bfloat16
    with pytest.raises(CheckpointError, match=r"model\.dtype='float8' is unknown; choose float32, bfloat16, float16"):
        load_policy(saved, dtype="float8")


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_devices_that_are_not_there_are_refused(saved, device):
    with pytest.raises(
        CheckpointError, match=f"model.device='{device}' is no device on which PyTorch can compute here"
    ):
        load_policy(saved, device=device)


def damage_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def damage_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def drop(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (drop("tokenizer.json"), r"the checkpoint has no tokenizer \(no tokenizer\.json\); write the tokenizer"),
        (drop("config.json"), r"not a checkpoint, it has neither config\.json nor adapter_config\.json"),
        (drop("model.safetensors"), r"no model could be loaded from there \(.*no file named model\.safetensors"),
        (damage_config, r"config\.json' is not a valid JSON file"),
        (damage_weights, r"no model could be loaded from there \(.*file not fully covered"),
        (drop_a_weight, r"\(1 weights are missing, model\.layers\.1\.mlp\.up_proj\.weight for one\)"),
    ],
    ids=["tokenizer", "config", "weights", "damaged config", "damaged weights", "missing weight"],
)
def test_incomplete_checkpoints_are_refused_in_one_sentence(saved, damage, reason):
    damage(saved)
    with pytest.raises(CheckpointError, match=f"^{saved}: .*{reason}") as caught:
        load_policy(saved)
    assert "\n" not in str(caught.value)


def test_adapters_may_be_moved_together_with_their_base(policy, tmp_path):
    base, cache = tmp_path / "cache" / "base" / "1" / "files", tmp_path / "cache"
    save_policy(policy(), base)
    adapted = with_lora(load_policy(base), LORA)
    torch.manual_seed(0)
    for name, weight in adapted.model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.3)
    making = cache / "sft" / ".2.making" / "files"  # a stage is made under another name
    save_policy(adapted, making)
    making.parent.rename(cache / "sft" / "2")

    cache.rename(tmp_path / "moved")
    moved = load_policy(tmp_path / "moved" / "sft" / "2" / "files")
    torch.testing.assert_close(logits(moved), logits(adapted), rtol=0, atol=0)
    save_policy(moved, tmp_path / "moved" / "rl" / "3" / "files")
    plain = PeftModel.from_pretrained(policy().model, tmp_path / "moved" / "rl" / "3" / "files")
    assert Path(plain.active_peft_config.base_model_name_or_path) == tmp_path / "moved" / "base" / "1" / "files"

    (tmp_path / "moved").rename(tmp_path / "moved again")
    again = load_policy(tmp_path / "moved again" / "rl" / "3" / "files")
    torch.testing.assert_close(logits(again), logits(adapted), rtol=0, atol=0)


def test_an_adapter_whose_base_is_gone_is_refused(policy, tmp_path):
    save_policy(policy(), tmp_path / "base")
    save_policy(with_lora(load_policy(tmp_path / "base"), LORA), tmp_path / "adapter")
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"adapter: no model could be loaded .*base: there is no such folder"):
        load_policy(tmp_path / "adapter")
    save_policy(with_lora(policy(), LORA), tmp_path / "orphan")
    with pytest.raises(CheckpointError, match="does not say which model it belongs to"):
        load_policy(tmp_path / "orphan")


def test_models_that_the_probe_could_not_use_are_refused_on_loading(policy, tmp_path):
    save_policy(policy("granite", logits_scaling=8.0), tmp_path)
    with pytest.raises(InputError, match=r"logits_scaling=8\.0"):
        load_policy(tmp_path)


CODE = """
open({mark!r}, "w").close()
from transformers import LlamaConfig as Config, LlamaForCausalLM as Model, PreTrainedTokenizerFast as Tokenizer
"""


@pytest.mark.parametrize("known", [True, False], ids=["of a known kind", "of its own kind"])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_the_code_of_a_checkpoint_is_not_run(saved, tmp_path, monkeypatch, file, known):
    mark = tmp_path / "mark"
    (saved / "custom.py").write_text(CODE.format(mark=str(mark)))
    entries = {"AutoConfig": "custom.Config", "AutoModelForCausalLM": "custom.Model"}
    entries |= {"AutoTokenizer": ["custom.Tokenizer", "custom.Tokenizer"]}
    settings = json.loads((saved / file).read_text()) | {"auto_map": entries}
    if not known:
        settings |= {"model_type": "custom", "tokenizer_class": "CustomTokenizer"}
    (saved / file).write_text(json.dumps(settings))
    asked = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "y")
    with contextlib.suppress(CheckpointError):  # a known kind is loaded by the code of transformers
        load_policy(saved)
    assert not mark.exists() and not asked


def test_a_checkpoint_that_needs_its_own_code_is_refused_in_one_sentence(saved, tmp_path):
    settings = {"model_type": "custom", "auto_map": {"AutoConfig": "custom.Config"}}
    (saved / "config.json").write_text(json.dumps(json.loads((saved / "config.json").read_text()) | settings))
    with pytest.raises(CheckpointError, match=r"no \w+ could be loaded from there \(it needs code of its own, "):
        load_policy(saved)


def no_hub(*_args, **_options):
    raise httpx.ConnectError("Name or service not known")


def test_without_a_network_a_name_fails_at_once(monkeypatch):
    asked = Mock(side_effect=no_hub)
    monkeypatch.setattr(checkpoints.HfApi, "model_info", asked)
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=r"^some/model: there is no such folder; .*the hub cannot be reached"):
        load_policy("some/model")
    assert asked.call_count == 1 and time.monotonic() - started < 20


def test_offline_mode_fails_at_once(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="the hub cannot be reached"):
        load_policy("some/model")


def test_without_a_network_the_local_cache_serves(monkeypatch, saved):
    monkeypatch.setattr(checkpoints.HfApi, "model_info", no_hub)
    monkeypatch.setattr(checkpoints, "snapshot_download", lambda name, local_files_only: str(saved))
    assert load_policy("some/model").model.config.model_type == "qwen2"


@pytest.mark.parametrize("error", [RepositoryNotFoundError, GatedRepoError])
def test_a_name_that_the_hub_does_not_know_is_refused(monkeypatch, error):
    def unknown(*_args, **_options):
        raise error("404", response=httpx.Response(404, request=httpx.Request("GET", "https://example.org")))

    monkeypatch.setattr(checkpoints.HfApi, "model_info", unknown)
    with pytest.raises(CheckpointError, match=r"neither such a folder nor such a model on the hub; .*hf auth login"):
        load_policy("some/model")


@pytest.mark.parametrize("name", ["/no/such/folder", "a/b/c", "two words"])
def test_what_can_only_be_a_folder_is_refused_without_asking(name):
    with pytest.raises(CheckpointError, match=rf"^{name}: there is no such folder, and no model on the hub has"):
        load_policy(name)


SCRATCH = ScratchModel(
    max_length=128,
    max_completion_tokens=8,
    batch_size=8,
    hidden_size=64,
    intermediate_size=64,
    layers=2,
    heads=4,
    key_value_heads=2,
    base=None,
)
TEXTS = [f"You see a {name} {number}." for name in ("drawer", "shelf", "mug") for number in range(1, 9)]


def test_a_policy_made_from_scratch_repeats_by_seed_and_survives_saving(tmp_path):
    made = create_policy(SCRATCH, TEXTS, seed=3)
    assert weights_digest(made.model) == weights_digest(create_policy(SCRATCH, TEXTS, seed=3).model)
    assert weights_digest(made.model) != weights_digest(create_policy(SCRATCH, TEXTS, seed=4).model)
    save_policy(made, tmp_path)
    assert weights_digest(load_policy(tmp_path).model) == weights_digest(made.model)


def test_things_of_one_kind_start_alike():
    made = create_policy(SCRATCH, TEXTS, seed=0)
    embeddings = torch.nn.functional.normalize(made.model.get_input_embeddings().weight.data, dim=-1)
    tokens = {parts: token for token, parts in entity_parts(made.tokenizer).items()}
    alike = embeddings[tokens["drawer", "1"]] @ embeddings[tokens["drawer", "7"]]
    assert alike > 0.3
    assert abs(embeddings[tokens["drawer", "1"]] @ embeddings[tokens["mug", "7"]]) < 0.3
    ordinary = made.model.get_input_embeddings().weight.data[:200].norm(dim=-1).mean()
    entity = made.model.get_input_embeddings().weight.data[list(tokens.values())].norm(dim=-1).mean()
    assert entity == pytest.approx(ordinary.item(), rel=0.2)
