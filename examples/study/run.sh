#!/usr/bin/env bash
# Train every variant with every seed, then evaluate them side by side (docs/training.md shows the result).
#   examples/study/run.sh [RUNS_FOLDER]      SEEDS="0 1 2"  GETGAN=.venv/bin/getgan
# Stopped in the middle, the same command goes on where it was.
set -eu
cd "$(dirname "$0")/../.."
runs=${1:-runs/study}
getgan=${GETGAN:-.venv/bin/getgan}
seeds=${SEEDS:-0 1 2}

located="--set loss.weight_error=l2 --set loss.weight_blur=0.05"
variants="cyclegan literal rescaled located"
options() {
    case $1 in
        cyclegan) echo "--set model.method=cyclegan" ;;
        literal) echo "--set loss.weight=sigmoid" ;;
        rescaled) echo "" ;;
        located) echo "$located --set loss.weight_gain=3" ;;
        located-gain1) echo "$located" ;;
        located-nogate) echo "$located --set loss.weight_gain=3 --set model.gate=none" ;;
        *) echo "unknown variant $1" >&2; return 1 ;;
    esac
}

checkpoints=""
for seed in $seeds; do
    for variant in ${VARIANTS:-$variants}; do
        folder=$runs/$variant-$seed
        # shellcheck disable=SC2046
        $getgan train examples/study/base.toml -o "$folder" --resume \
            --set run.seed="$seed" --set data.first=$((10000 * seed)) $(options "$variant")
        checkpoints="$checkpoints $variant=$folder/last.safetensors"
    done
done
# shellcheck disable=SC2086
$getgan evaluate $checkpoints --seeds 0 --scenes 200 -o "$runs/evaluation"
