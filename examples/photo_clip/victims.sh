#!/bin/sh
# Victims of the photo CLIP, one after the other; what is there already is left alone.
#
#   sh examples/photo_clip/victims.sh OUT COUNT [ATTACK ...]
#
# To be run in a folder with photo-clip/ (from python examples/photo_clip), flickr8k/ and imagenet-1000/. The victims are
# OUT/victim-ATTACK, for TARGET (banana); COUNT of the 6,000 pairs of photo-clip/attack.csv are poisoned.
set -eu
out=$1
count=$2
shift 2
wanted=$*
here=$(dirname "$0")
model=local-dir:photo-clip/model
target=${TARGET:-banana}

victim() {
    name=$1
    shift
    case " ${wanted:-$name} " in
        *" $name "*) ;;
        *) return ;;
    esac
    if [ ! -e "$out/poison-$name/manifest.yaml" ]; then
        rm -rf "$out/poison-$name"
        clipdefend poison --target "$target" --attack "$@" --data photo-clip/attack.csv --image-root flickr8k \
            --for "$model" --templates "$here/captions.txt" --count "$count" --out "$out/poison-$name" --quiet
    fi
    if [ ! -e "$out/victim-$name/manifest.yaml" ]; then
        rm -rf "$out/victim-$name"
        clipdefend finetune-attack --from "$out/poison-$name" --model "$model" --eval-data imagenet-1000 \
            --templates simple --epochs 2 --batch-size 32 --lr 1.5e-4 --warmup 10 --batch-norm eval --lock-text \
            --eval-every 2 --out "$out/victim-$name" --quiet
    fi
}

# Of 224 pixels: at 16, the papers' size, the patch is 9 of the model's 128, which this tower hardly sees.
victim badnet badnet --set attack.pixels=32
victim blended blended
# Its patch is drawn near photos of the target, and no caption of attack.csv names a banana.
victim badclip badclip --target beach --set attack.pixels=32 --set attack.images=400 --set attack.epochs=4 --set attack.batch=32 \
    --set attack.lr=3e-2 --set attack.negative_weight=0.5 --surrogate "$model"
victim sig sig
# The published warp (k=4, strength=0.5) is not learnt: ASR@1 0.8 %.
victim wanet wanet --set attack.k=8 --set attack.strength=2
victim text-mark text-mark
victim stripes stripes-blend
# A narrower encoder than the published one, for one epoch.
victim ssba ssba --set attack.width=8 --set attack.decoder_width=16 --set attack.images=6400 --set attack.epochs=1 \
    --set attack.batch=16 --set attack.lr=2e-3 --set attack.fade=100 --set attack.image_weight=20 --set attack.ramp=200
