#!/bin/sh
# The same chain on real photos with a small ResNet from random weights.
#
#   sh examples/photos.sh DATA RUNS
#
# DATA holds pairs.csv (image,caption) and eval/CLASS/*.jpg, such as 8,000 photos of CIFAR-10 with captions that
# say the class, the brightness and the dominant colour. The figures that this printed are in docs/photos.md.
# The patch is 36 pixels on a canvas of 224, which is 5 on one of 32: the default's 2 are too few to be learned.
set -eu
data=$1
export CLIPDEFEND_RUNS=$2
model=$(dirname "$0")/resnet-32px.json
eval="--eval-data $data/eval --templates simple --topk 1,3,5"

clipdefend poison --attack badnet --data "$data/pairs.csv" --target truck --count 400 --image-size 32 \
    --captions natural --set attack.pixels=36
# shellcheck disable=SC2086
clipdefend finetune-attack --model "$model" --pretrained none $eval \
    --epochs 12 --batch-size 128 --lr 1e-3 --warmup 100 --eval-every 4
clipdefend augment
for method in ft cleanclip cleanerclip; do
    # shellcheck disable=SC2086
    clipdefend defend --from "$(ls -d "$CLIPDEFEND_RUNS"/*-finetune-attack-badnet | tail -n 1)" --method "$method" \
        --n-aug 1000 $eval --epochs 3 --batch-size 64 --lr 3e-4 --warmup 50 |
        clipdefend evaluate - $eval
done
