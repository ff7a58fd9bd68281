#!/bin/sh
# Pictures of a report: its page as a desktop and a phone show it, side by side.
#
#     sh examples/report_pictures.sh report docs/images/report.png
#
# Needs Chromium (Debian: apt-get install chromium); $CHROMIUM names another browser of its kind.
set -eu
report=$(cd "$1" && pwd)
mkdir -p "$(dirname "$2")"
out=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/both.html" <<HTML
<style>body { margin: 0; background: #8a929c } iframe { border: 0; height: 1300px; vertical-align: top; margin: 20px 0 0 20px }</style>
<iframe src="file://$report/index.html" width="1280" scrolling="no"></iframe><iframe src="file://$report/index.html" width="390" scrolling="no"></iframe>
HTML
"${CHROMIUM:-chromium}" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile" \
    --allow-file-access-from-files --force-device-scale-factor=0.55 --window-size=1730,1340 \
    --screenshot="$out" "file://$work/both.html" 2>/dev/null
