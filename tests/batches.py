"""Batches of rollouts as TRL's GRPO trainer has them, made up, and the loss of each episode without any shortcut."""

from typing import Any

import torch
from transformers import PreTrainedModel
from trl.trainer.grpo_trainer import GRPOTrainer


def batch(vocabulary: int, seed: int, advantages: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return episodes of 4 to 60 tokens: prompts padded on the left, completions on the right, half of them masked."""
    random = torch.Generator().manual_seed(seed)
    prompts = torch.randint(1, 9, (len(advantages),), generator=random)
    completions = torch.randint(3, 52, (len(advantages),), generator=random)
    columns = torch.arange(int(completions.max()))
    completion_mask = (columns < completions[:, None]).long()
    written = torch.randint(0, 2, completion_mask.shape, generator=random)
    written[:, 0] = 1  # every episode has a completion
    return {
        "prompt_ids": torch.randint(5, vocabulary, (len(advantages), int(prompts.max())), generator=random),
        "prompt_mask": (torch.arange(int(prompts.max())) >= prompts.max() - prompts[:, None]).long(),
        "completion_ids": torch.randint(5, vocabulary, completion_mask.shape, generator=random),
        "completion_mask": completion_mask,
        "tool_mask": written,
        "advantages": advantages,
        "num_items_in_batch": (completion_mask * written).sum(),
    }


def loss_and_gradients(trainer: GRPOTrainer, inputs: dict[str, torch.Tensor]) -> tuple[float, list[torch.Tensor]]:
    trainer.model.train()
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 2
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.item(), [weight.grad.clone() for weight in trainer.model.parameters()]


def logprobs_and_entropies(
    model: PreTrainedModel, inputs: dict[str, Any], row: int, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both for the policy's tokens in one episode, which goes through the model alone and unpadded."""
    prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row] == 1]
    completion = inputs["completion_ids"][row][inputs["completion_mask"][row] == 1]
    written = inputs["tool_mask"][row][inputs["completion_mask"][row] == 1] == 1
    logits = model(input_ids=torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1 : -1] / temperature
    distributions = torch.log_softmax(logits[written], dim=-1)
    entropies = -(distributions.exp() * distributions).sum(-1)
    return distributions.gather(1, completion[written][:, None])[:, 0], entropies
