#!/usr/bin/env bash
# Installs SLURM's Debian packages for the test cluster (tests/slurm/cluster); does nothing when
# they are there. Exit status 0: everything is there; 1: a clear reason on stderr.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
packages=(slurmctld slurmd slurm-client munge slurmdbd slurm-wlm-mysql-plugin mariadb-server)
fail() { echo "SLURM's packages cannot be installed: $*" >&2; exit 1; }

missing=""
for command in slurmctld slurmd sbatch munged slurmdbd mariadbd; do
  type -P "$command" >/dev/null || missing+=" $command"
done
[ -n "$missing" ] || exit 0
type -P apt-get >/dev/null || fail "no apt-get here (missing:$missing); use Debian 12 or Ubuntu"

if [ "$(id -u)" = 0 ]; then as_root=(env); else as_root=(sudo -n env); fi
"${as_root[@]}" true 2>/dev/null || fail "neither root nor sudo without a password (missing:$missing)"
apt=("${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
"${apt[@]}" update || fail "apt-get update failed: is there a network?"
# A policy that answers 101 keeps the packages from starting services of their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" sh -c "cat > $policy && chmod 755 $policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
"${apt[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null ||
  fail "apt-get install ${packages[*]} failed"
