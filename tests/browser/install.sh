#!/usr/bin/env bash
# Installs Debian's chromium and its driver for the browser tests; does nothing when they are there.
# Exit status 0: everything is there; 1: a clear reason on stderr.
set -euo pipefail
packages=(chromium chromium-driver)
fail() { echo "Chromium cannot be installed: $*" >&2; exit 1; }

missing=""
for command in chromium chromedriver; do
  type -P "$command" >/dev/null || missing+=" $command"
done
[ -n "$missing" ] || exit 0
type -P apt-get >/dev/null || fail "no apt-get here (missing:$missing); use Debian 12"

if [ "$(id -u)" = 0 ]; then as_root=(env); else as_root=(sudo -n env); fi
"${as_root[@]}" true 2>/dev/null || fail "neither root nor sudo without a password (missing:$missing)"
apt=("${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
"${apt[@]}" update || fail "apt-get update failed: is there a network?"
"${apt[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null ||
  fail "apt-get install ${packages[*]} failed"
