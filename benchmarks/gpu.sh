#!/usr/bin/env bash
# What wants a GPU: SmolLM2 by SFT and then by GRPO, on all official ALFWorld games and in WebShop's
# 1,000 products at once; the probe at Qwen3-8B's sizes against the paper's loop; and the speed of SFT, rollouts and updates.
#
#   bash benchmarks/gpu.sh GAMES PRODUCTS MODEL [OUT]
#
# GAMES is a folder that holds json_2.1.1, PRODUCTS one with the official files of 1,000 products, MODEL the folder of
# SmolLM2-135M-Instruct or its name on the hub. What ends is kept in OUT; started again after an interruption, it goes on
# there. Four runs of the first kind and one of the second took 137 GiB of an H200 together. On a CPU, at a tenth:
#   DEVICE=cpu SHARE=0.1 bash benchmarks/gpu.sh GAMES PRODUCTS MODEL
set -euo pipefail
games=$1 products=$2 model=$3 out=${4:-runs/gpu}
device=${DEVICE:-cuda} share=${SHARE:-1} python=${PYTHON:-python}
part() { "$python" -c "print($1 * $share)"; }              # of hours
some() { "$python" -c "print(max(4, round($1 * $share)))"; } # of tasks
mkdir -p "$out"

step() { # NAME COMMAND: unless an earlier start has finished it
  if [ -e "$out/$1.txt" ]; then echo "$1: is done, see $out/$1.txt"; return; fi
  echo "$1: ${*:2}"
  "${@:2}" > "$out/$1.part" 2>&1 || { tail -5 "$out/$1.part"; return 1; }
  mv "$out/$1.part" "$out/$1.txt"
  tail -30 "$out/$1.txt"
}

learn() { # EXPERIMENT DATA SETTING...
  step "$1" "$python" run.py "experiment=$1" env.data="$2" model.path="$model" model.device="$device" "${@:3}" \
    budget.hours_per_phase="$(part 0.14)" logger=none cache="$out/stages" hydra.run.dir="$out/$1"
}

bench=(--device "$device") sizes=(8b) settings=()
if [ "$device" = cpu ]; then
  sizes=(tiny) # and less memory
  settings=(model.autocast=null generation.cache_gib=2 sft.tokens_per_forward=1024 algorithm.per_device_train_batch_size=2)
else
  bench+=(--autocast bfloat16)
fi

learn smollm2_gpu "$games" eval.tasks="$(some 140)" eval.curve_tasks="$(some 36)" \
  algorithm.gradient_accumulation_steps="$(some 32)" "${settings[@]}" & first=$!
learn smollm2_webshop "$products" eval.tasks="$(some 128)" eval.curve_tasks="$(some 64)" \
  algorithm.gradient_accumulation_steps="$(some 32)" "${settings[@]}" & second=$!
wait $first  # of its own line each, since a failure before && would not end the script
wait $second
step probe "$python" benchmarks/probe.py --models "${sizes[@]}" --device "$device" --repeats 1
step speed "$python" benchmarks/smollm2.py --model "$model" --episodes "$(some 64)" "${bench[@]}"
