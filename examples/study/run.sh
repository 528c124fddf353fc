#!/usr/bin/env bash
# Train every system with every seed for the same time, then evaluate them side by side.
#   examples/study/run.sh [RUNS_FOLDER]
#   MINUTES=120  SEEDS="0 1 2"  VARIANTS="getgan cyclegan"  SIZE=64  DEVICE=auto  GETGAN=.venv/bin/getgan
#   TRAIN="--set run.threads=2"  EVALUATE="--seeds 0,1,2 --scenes 200"   more flags for train and evaluate
# Stopped in the middle, the same command goes on where it was: MINUTES counts over all resumes. Give more
# MINUTES and it trains every run on. On a GPU: TRAIN="--set run.precision=bf16 --set optim.batch=8"
set -eu
cd "$(dirname "$0")/../.."
runs=${1:-runs/study}
getgan=${GETGAN:-.venv/bin/getgan}
minutes=${MINUTES:-120}
size=${SIZE:-64}
device=${DEVICE:-auto}

variants="getgan gradient literal rescaled nogate cyclegan ugatit"
residual="--set loss.weight_of=residual --set loss.weight_blur=0.05 --set loss.weight_gain=3 --set loss.weight_floor=0.6
    --set loss.lambda_keep=3 --set loss.lambda_gate=2 --set loss.transplant=true --set loss.clean_x=true
    --set loss.cycle_noise=0.05 --set loss.cycle_blur=0.012"
gradient="--set loss.weight_error=l2 --set loss.weight_blur=0.05 --set loss.weight_gain=3 --set loss.lambda_keep=3"
options() {
    case $1 in
        getgan) echo "$residual" ;;
        gradient) echo "$gradient" ;;
        literal) echo "--set loss.weight=sigmoid" ;;
        rescaled) echo "--set loss.weight=rescaled" ;;
        nogate) echo "$gradient --set model.gate=none" ;;
        cyclegan) echo "--set model.method=cyclegan" ;;
        ugatit) echo "--set model.method=ugatit" ;;
        *) echo "unknown variant $1; wanted some of: $variants" >&2; return 1 ;;
    esac
}

checkpoints=""
for seed in ${SEEDS:-0 1 2}; do
    for variant in ${VARIANTS:-$variants}; do
        folder=$runs/$variant-$seed
        chosen=$(options "$variant")
        # shellcheck disable=SC2086
        nice "$getgan" train examples/study/coarse.toml -o "$folder" --resume \
            --set run.seed="$seed" --set data.first=$((10000 * seed)) --set data.size="$size" \
            --set run.device="$device" --set run.stop_after_minutes="$minutes" $chosen ${TRAIN:-}
        checkpoints="$checkpoints $variant=$folder/last.safetensors"
    done
done
if [ "$device" = auto ]; then device=cpu; fi
# shellcheck disable=SC2086
nice "$getgan" evaluate $checkpoints --device "$device" -o "$runs/evaluation" ${EVALUATE:---seeds 0,1,2 --scenes 200}
