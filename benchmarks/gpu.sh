#!/usr/bin/env bash
# What wants a GPU, in at most 25 minutes: SmolLM2 by SFT on all official ALFWorld games and then by GRPO, the probe at
# Qwen3-8B's sizes against the paper's loop, and the speed of SFT, rollouts and updates.
#
#   bash benchmarks/gpu.sh GAMES MODEL [OUT]
#
# GAMES is a folder that holds json_2.1.1, MODEL the folder of SmolLM2-135M-Instruct or its name on the hub. What ends is
# kept in OUT; started again after an interruption, it goes on there. On a CPU, at a tenth of the time:
#   DEVICE=cpu SHARE=0.1 bash benchmarks/gpu.sh GAMES MODEL
set -euo pipefail
games=$1 model=$2 out=${3:-runs/gpu}
device=${DEVICE:-cuda} share=${SHARE:-1} python=${PYTHON:-python}
part() { "$python" -c "print($1 * $share)"; }              # of hours
some() { "$python" -c "print(max(4, round($1 * $share)))"; } # of games
mkdir -p "$out"

step() { # NAME COMMAND: unless an earlier start has finished it
  if [ -e "$out/$1.txt" ]; then echo "$1: is done, see $out/$1.txt"; return; fi
  echo "$1: ${*:2}"
  "${@:2}" 2>&1 | tee "$out/$1.part"
  mv "$out/$1.part" "$out/$1.txt"
}

on_gpu=(model.autocast=bfloat16 model.batch_size=256)
sizes=(8b)
if [ "$device" = cpu ]; then on_gpu=() sizes=(tiny); fi

step learning "$python" run.py experiment=smollm2 strategy=sft_then_rl trajectories=3553 env.data="$games" \
  model.path="$model" model.device="$device" "${on_gpu[@]}" sft.per_device_train_batch_size=8 \
  rollout.max_turns=30 algorithm.learning_rate=1e-5 algorithm.max_steps=1000 \
  algorithm.per_device_train_batch_size=16 algorithm.gradient_accumulation_steps=8 \
  budget.hours_per_phase="$(part 0.15)" eval.tasks="$(some 140)" eval.curve_tasks="$(some 36)" \
  logger=none cache="$out/stages" hydra.run.dir="$out/run"
step probe "$python" benchmarks/probe.py --models "${sizes[@]}" --device "$device" --repeats 1
step speed "$python" benchmarks/smollm2.py --device "$device" --episodes "$(some 64)"
