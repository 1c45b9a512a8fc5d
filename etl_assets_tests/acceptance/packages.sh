#!/bin/sh
# Install what the acceptance tests need of the system, with apt when that is allowed; otherwise say what is missing.
set -eu
missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing$missing ..."
    apt-get update -qq
    # RUNLEVEL=1: no service starts by itself.
    # shellcheck disable=SC2086
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    exit 0
fi
echo "error: make acceptance: these packages are missing:$missing. Next: install them, as root with apt-get install$missing" >&2
exit 1
