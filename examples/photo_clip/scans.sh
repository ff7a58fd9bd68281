#!/bin/sh
# Scans of victims and of three clean models, one after the other; what is there is left alone.
#
#   sh examples/photo_clip/scans.sh OUT VICTIM ...
#
# To be run in the folder of the photo CLIP. Victims are runs, such as those of the study photo-victims. The clean models are
# the photo CLIP, fine-tuned on clean pairs at three rates. Ends in a table.
set -eu
out=$1
shift
here=$(dirname "$0")
model=local-dir:photo-clip/model
pairs="--image-root flickr8k"

scan() {
    name=$1
    shift
    if [ ! -e "$out/scan-$name/manifest.yaml" ]; then
        rm -rf "$out/scan-$name"
        # No warp: the search finds none that collapses this model.
        clipdefend scan "$@" --data photo-clip/held-out.csv $pairs --class-names imagenet --reference "$model" \
            --families patch,additive,blend --restarts 1 --no-library --out "$out/scan-$name" --quiet
    fi
}

seed=0
for rate in 1e-4 2e-4 5e-5; do
    seed=$((seed + 1))
    clean="$out/clean-$rate"
    if [ ! -e "$clean/manifest.yaml" ]; then
        rm -rf "$clean"
        clipdefend defend --method ft --checkpoint photo-clip/model --data photo-clip/clean.csv $pairs \
            --epochs 1 --batch-size 32 --warmup 5 --batch-norm eval --lr "$rate" --seed "$seed" --out "$clean" --quiet
    fi
    scan "clean-$rate" --checkpoint "$clean/model"
done
for victim in "$@"; do
    scan "${victim##*/}" --from "$victim"
done
python "$here/scan_table.py" "$out"
