#!/usr/bin/env bash
# Train every system with every seed for the same time, then evaluate them side by side.
#   examples/study/run.sh [RUNS_FOLDER]
#   MINUTES=120  SEEDS="0 1 2"  VARIANTS="getgan cyclegan"  JOBS=2  SIZE=64  DEVICE=auto  GETGAN=.venv/bin/getgan
#   TRAIN="--set run.threads=2"  EVALUATE="--seeds 0,1,2 --scenes 200"   more flags for train and evaluate
# JOBS runs go on side by side, one core each; what each prints is in RUNS_FOLDER/VARIANT-SEED.txt.
# Stopped in the middle, the same command goes on where it was: MINUTES counts over all resumes. Give more
# MINUTES and it trains every run on. On a GPU: JOBS=4 TRAIN="--set optim.batch=8"
set -eu
cd "$(dirname "$0")/../.."
runs=${1:-runs/study}
getgan=${GETGAN:-.venv/bin/getgan}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # of OpenCV and the like; the training has run.threads

variants="getgan literal rescaled nogate cyclegan ugatit" # and gradient, which getgan was before
residual="--set loss.weight_of=residual --set loss.weight_blur=0.05 --set loss.weight_gain=3 --set loss.weight_floor=0.6
    --set loss.lambda_keep=3 --set loss.lambda_gate=2 --set loss.transplant=true --set loss.clean_x=true
    --set loss.cycle_noise=0.05 --set loss.cycle_blur=0.012"
options() {
    case $1 in
        getgan) echo "$residual" ;;
        gradient) echo "--set loss.weight_error=l2 --set loss.weight_blur=0.05 --set loss.weight_gain=3
            --set loss.lambda_keep=3" ;;
        literal) echo "--set loss.weight=sigmoid" ;;
        rescaled) echo "--set loss.weight=rescaled" ;;
        nogate) echo "$residual --set loss.lambda_gate=0 --set model.gate=none" ;;
        cyclegan) echo "--set model.method=cyclegan" ;;
        ugatit) echo "--set model.method=ugatit" ;;
        *) echo "unknown variant $1; wanted some of: $variants gradient" >&2; return 1 ;;
    esac
}

train() { # RUN: VARIANT-SEED
    seed=${1##*-}
    chosen=$(options "${1%-*}")
    # shellcheck disable=SC2086
    nice "$getgan" train examples/study/coarse.toml -o "$runs/$1" --resume \
        --set run.seed="$seed" --set data.first=$((10000 * seed)) --set data.size="${SIZE:-64}" \
        --set run.device="${DEVICE:-auto}" --set run.stop_after_minutes="${MINUTES:-120}" $chosen ${TRAIN:-}
}

names=""
for seed in ${SEEDS:-0 1 2}; do
    for variant in ${VARIANTS:-$variants}; do
        options "$variant" > /dev/null
        names="$names $variant-$seed"
    done
done
mkdir -p "$runs"
export -f train options
export runs getgan residual variants
# shellcheck disable=SC2086
printf '%s\n' $names | xargs -P "${JOBS:-1}" -I {} bash -eu -c \
    'echo "{} begins, $(date +%T)"; train {} > "$runs/{}.txt" 2>&1 || { tail -n 3 "$runs/{}.txt" >&2; exit 255; }'
checkpoints=""
for name in $names; do checkpoints="$checkpoints ${name%-*}=$runs/$name/last.safetensors"; done
device=${DEVICE:-cpu}
# shellcheck disable=SC2086
nice "$getgan" evaluate $checkpoints --device "${device/auto/cpu}" -o "$runs/evaluation" ${EVALUATE:---seeds 0,1,2 --scenes 200}
