#!/bin/sh
# Installs Chromium where there is none and apt-get can: the tests of the report's page look at it in a real browser.
# Never fails: without a browser those tests are skipped. LT_FAST_BROWSER=none installs nothing.
set -u

for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do
    command -v "$name" >/dev/null && exit 0
done

command="apt-get install --no-install-recommends chromium"
skipped() {
    echo "make: $1: the tests of the report's page in a browser are skipped; get it with: $command" >&2
    exit 0
}

[ "${LT_FAST_BROWSER:-}" = none ] && skipped "no Chromium is wanted"
command -v apt-get >/dev/null || skipped "there is no Chromium and no apt-get"
[ "$(id -u)" = 0 ] || skipped "there is no Chromium, and installing it needs root"

echo "installing Chromium for the tests of the report's page: $command (LT_FAST_BROWSER=none leaves it out)"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core; } >/dev/null 2>&1 ||
    skipped "Chromium could not be installed"
