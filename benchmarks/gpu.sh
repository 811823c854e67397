#!/usr/bin/env bash
# What wants a GPU: the probe at Qwen3-8B's sizes against the paper's loop; the speed of SFT, rollouts and updates of
# SmolLM2; whether scores detect conflict in five SmolLM2 that were taught clean games; and SFT, then GRPO, of SmolLM2 on
# official ALFWorld games, split by PRISM and at random, and on WebShop's 1,000 official products.
#
#   bash benchmarks/gpu.sh GAMES PRODUCTS MODEL [OUT]
#
# GAMES is a folder that holds json_2.1.1, PRODUCTS one with the official files of 1,000 products, MODEL the folder of
# SmolLM2-135M-Instruct. What ends is kept in OUT; started again after an interruption, it goes on there. On an H200 the
# benchmarks take 4 minutes, the taught models and their diagnosis 6, and the runs at the end, side by side, as long as
# two phases of hours_per_phase and 5 minutes. On a CPU, at a tenth:
#   DEVICE=cpu SHARE=0.1 bash benchmarks/gpu.sh GAMES PRODUCTS MODEL
set -euo pipefail
games=$1 products=$2 model=$(realpath "$3") out=$(realpath -m "${4:-runs/gpu}")
device=${DEVICE:-cuda} share=${SHARE:-1} python=${PYTHON:-python}
some() { "$python" -c "print(max(4, round($1 * $share)))"; } # of tasks, episodes or updates
mkdir -p "$out"
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True  # memory of rollouts serves the update after them

step() { # NAME COMMAND: unless an earlier start has finished it
  if [ -e "$out/$1.txt" ]; then echo "$1: is done, see $out/$1.txt"; return; fi
  echo "$1: ${*:2}"
  "${@:2}" > "$out/$1.part" 2>&1 || { tail -5 "$out/$1.part"; return 1; }
  mv "$out/$1.part" "$out/$1.txt"
  tail -40 "$out/$1.txt"
}

conflict=(experiment=conflict model=smollm2-135m model.lora=null model.max_length=1536 model.device="$device")

teach() { # SEED: SFT on clean games, into OUT/taught/SEED
  step "taught-$1" "$python" run.py "${conflict[@]}" model.path="$model" strategy=sft env.regimes=[clean] \
    env.eval_regimes=[clean] env.test_splits=[] trajectories="$(some 256)" eval.tasks="$(some 32)" eval.curve_points=0 \
    seed="$1" sft.learning_rate=2e-4 sft.per_device_train_batch_size=4 sft.num_train_epochs=1 logger=none \
    cache="$out/stages" hydra.run.dir="$out/taught-$1"
  mkdir -p "$out/taught"
  ln -sfn "$("$python" -c "import json; print(json.load(open('$out/taught-$1/result.json'))['files']['checkpoint sft'])")" "$out/taught/$1"
}

compare() { # NAME EXPERIMENT DATA PROCESSES SETTING...
  step "$1" "$python" compare.py experiment="$2" env.data="$3" model.path="$model" model.device="$device" logger=none \
    rl.max_steps="$(some 24)" budget.hours_per_phase="$hours" cache="$out/stages" "${settings[@]}" "${@:5}" --processes "$4" --out "$out/$1"
}

bench=(--device "$device") sizes=(8b) settings=() hours=0.15
if [ "$device" = cpu ]; then
  hours=null
  sizes=(tiny) # and less memory
  settings=(model.autocast=null generation.cache_gib=2 sft.tokens_per_forward=1024 algorithm.per_device_train_batch_size=8)
else
  bench+=(--autocast bfloat16)
fi

step probe "$python" benchmarks/probe.py --models "${sizes[@]}" --device "$device" --methods a b c --repeats 1
step speed "$python" benchmarks/smollm2.py --model "$model" --episodes "$(some 64)" "${bench[@]}" --repeats 1
learners=()
for seed in 1 2 3 4 5; do
  teach "$seed" & learners+=($!)
done
for learner in "${learners[@]}"; do wait "$learner"; done # one by one: the status is that of the one waited for
step detection "$python" -m prism_bench diagnose "${conflict[@]}" model.path="$out/taught/\${seed}" 'seed=range(1,6)' \
  trajectories="$(some 512)" 'router=[prism,cv,kurtosis,magnitude,loss,summed_loss,confidence,length,random]' \
  cache="$out/stages" --processes 5 --out "$out/detection"
compare alfworld smollm2_gpu "$games" 4 'router=[random,prism]' 'seed=range(2)' trajectories="$(some 1280)" \
  eval.tasks="$(some 140)" eval.curve_tasks="$(some 36)" & alfworld=$!
compare webshop smollm2_webshop "$products" 1 seed=0 trajectories="$(some 1024)" \
  eval.tasks="$(some 128)" eval.curve_tasks="$(some 64)" & webshop=$!
wait $alfworld
wait $webshop
