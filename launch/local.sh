#!/usr/bin/env bash
# Several virtual CPU devices in one process, to try what a host with as many accelerators would do:
#   launch/local.sh 4 --config=experiments/digits.py --workdir=runs/digits
set -euo pipefail
devices=${1:?usage: launch/local.sh DEVICES [flags of natra_jax.main]}
shift
# without spare threads, virtual devices wait for each other forever
export NPROC=16
export JAX_PLATFORMS=cpu XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$devices"
exec python -m natra_jax.main "$@"
