#!/bin/sh
# The five commands on the built-in world, ending in the table. About four minutes on two cores.
set -eu
clipdefend poison --attack blended
clipdefend finetune-attack
clipdefend augment
clipdefend defend --method cleanerclip --n-aug 3000
clipdefend evaluate --topk 1,3,5,10
