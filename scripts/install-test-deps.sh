#!/usr/bin/env bash
# Makes sure that the machine has what the tests need besides Go. On Debian and Ubuntu, as root or
# with a sudo that asks for no password, it installs what is missing. Elsewhere it says what to
# install and fails: a test that cannot run must not look like one that passed.
#
# A component is three things: its name in the list, have_NAME, which says whether it is there, and
# its words in packages_of and why_of.
set -euo pipefail
cd "$(dirname "$0")/.."

components=(cc python3 postgresql shell chromium)

why_of() {
	case $1 in
	cc) echo 'a C compiler and the C library, which the race detector is linked with' ;;
	python3) echo 'Python 3, in which the example receiver for integrators and the second verifier of the audit log are written' ;;
	shell) echo 'bash, curl and jq, in which the operator'\''s guide speaks (docs/operations.md)' ;;
	chromium) echo 'Chromium, in which the dashboard is tested (web/browser), and a font for it' ;;
	postgresql) echo 'the server binaries of PostgreSQL 15 or newer (postgres, initdb); no server has to run' ;;
	esac
}

packages_of() { # Debian's and Ubuntu's
	case $1 in
	cc) echo gcc libc6-dev ;;
	python3) echo python3 ;;
	postgresql) echo postgresql ;;
	shell) echo bash curl jq ;;
	chromium) echo chromium fonts-dejavu-core ;;
	esac
}

have_cc() {
	local cc
	cc=$(${GO:-go} env CC) || return
	echo '#include <stdlib.h>' | $cc -x c -E - >/dev/null 2>&1
}

have_python3() { python3 -c 'import hmac, http.server, json, sqlite3' >/dev/null 2>&1; }

have_shell() { bash -c 'jq -n . && curl --version' >/dev/null 2>&1; }

have_chromium() { # under one of the names by which web/browser looks for it
	local name
	for name in chromium chromium-browser google-chrome google-chrome-stable; do
		if "$name" --version >/dev/null 2>&1; then return; fi
	done
	return 1
}

# Found by the code that the tests use, so that the two never disagree.
have_postgresql() { ${GO:-go} run ./store/storetest/withpostgres -where >/dev/null 2>"$errors"; }

errors=$(mktemp)
snippet=/etc/postgresql-common/createcluster.d/sealpost-tests.conf
made_snippet=
as_root=()

cleanup() {
	rm -f "$errors"
	if [ -n "$made_snippet" ]; then
		"${as_root[@]}" rm -f "$snippet"
		"${as_root[@]}" rmdir --ignore-fail-on-non-empty "${snippet%/*}" 2>/dev/null || true
	fi
}
trap cleanup EXIT

find_missing() {
	missing=()
	local component
	for component in "${components[@]}"; do
		if ! "have_$component"; then missing+=("$component"); fi
	done
}

give_up() {
	{
		echo "$1"
		local component
		for component in "${missing[@]}"; do
			echo "  $component: $(why_of "$component")"
			echo "    Debian, Ubuntu: apt-get install $(packages_of "$component")"
		done
		cat "$errors"
	} >&2
	exit 1
}

# Debian's PostgreSQL package makes a cluster and starts it. Tests bring their own, so a machine that
# had no PostgreSQL gets only the binaries. Where it is installed already, nothing of it is changed.
keep_from_starting_postgresql() {
	if [ -e /etc/postgresql-common/createcluster.conf ] || [ -e "$snippet" ]; then return; fi
	made_snippet=yes
	"${as_root[@]}" mkdir -p "${snippet%/*}"
	echo 'create_main_cluster = false' | "${as_root[@]}" tee "$snippet" >/dev/null
}

if ! command -v "${GO:-go}" >/dev/null; then
	echo "Go is not on PATH; go.mod says which version is needed, https://go.dev/dl/ has it" >&2
	exit 1
fi

find_missing
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then
	give_up 'The tests need what is missing here, and this script can install it only on Debian and Ubuntu:'
fi
if [ "$(id -u)" -ne 0 ]; then
	if ! sudo -n true 2>/dev/null; then
		give_up 'The tests need what is missing here. Run this as root, or install by hand:'
	fi
	as_root=(sudo -n)
fi

packages=()
for component in "${missing[@]}"; do
	read -r -a words <<<"$(packages_of "$component")"
	packages+=("${words[@]}")
	if [ "$component" = postgresql ]; then keep_from_starting_postgresql; fi
done

echo "installing for the tests: ${packages[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
"${apt[@]}" update </dev/null
"${apt[@]}" install -y --no-install-recommends "${packages[@]}" </dev/null

find_missing
if [ ${#missing[@]} -gt 0 ]; then
	give_up 'Installed, and still missing (a distribution with an older PostgreSQL than 15? https://wiki.postgresql.org/wiki/Apt has newer ones):'
fi
