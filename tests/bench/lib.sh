# What the scripts here share: packages, builds, and a network namespace that is gone afterwards. Sourced by each of them,
# which sets `tools` first: what it starts or loads, each with the Debian package that has it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export PATH="$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin"
export DEBIAN_FRONTEND=noninteractive
target=${CARGO_TARGET_DIR:-target}
policy=/usr/sbin/policy-rc.d
own_policy=
namespace=
scratch=

clean_up() {
  if [[ $own_policy ]]; then rm -f "$policy"; fi
  # The first process of the namespace takes all others with it.
  if [[ $namespace ]]; then kill -KILL "$namespace" 2>/dev/null || true; fi
  if [[ $scratch ]]; then rm -rf "$scratch"; fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM

is_there() {
  command -v "$1" >/dev/null || compgen -G "$1" >/dev/null
}

install_packages() {
  local missing=() pair
  for pair in "${tools[@]}"; do
    is_there "${pair%%:*}" || missing+=("${pair#*:}")
  done
  ((${#missing[@]})) || return 0
  echo "installing: ${missing[*]}" >&2
  # Daemons must not start by themselves.
  if [[ ! -e $policy ]]; then
    own_policy=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  apt-get update -qq >&2
  apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2
}

# Runs the measuring program `bench-$1` with the other arguments, in a network namespace with the kernel `settings`.
measure() {
  local name=$1 argument status=0
  local bench=$target/release/bench-$name
  shift
  for argument in "$@"; do
    if [[ $argument == -h || $argument == --help ]]; then
      build_bench "$name"
      "$bench" "$@"
      exit
    fi
  done
  if ((EUID != 0)); then
    echo "tests/bench/$name: needs root for a network namespace; try: sudo -E tests/bench/$name" >&2
    exit 69
  fi
  install_packages
  build_bench "$name"
  ulimit -n "$(ulimit -Hn)"
  scratch=$(mktemp -d)
  TMPDIR=$scratch unshare --net --pid --fork --kill-child --mount-proc -- bash -c '
    count=$1
    shift
    ip link set lo up || exit
    sysctl -q -w "${@:1:count}" || exit
    exec "${@:count+1}"' bench "${#settings[@]}" "${settings[@]}" "$bench" "$@" <&0 &
  namespace=$!
  wait "$namespace" || status=$?
  namespace=
  # What was running has left its logs there.
  if ((status)) && [[ -n $(ls -A "$scratch") ]]; then scratch=; fi
  exit "$status"
}

build_bench() {
  # stdout is for the results.
  cargo build --locked --release -p edge-e -p edge-c -p edge-tests --bin edge-e --bin edge-c --bin "bench-$1" >&2
}
