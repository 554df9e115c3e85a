#!/usr/bin/env bash
# Builds the Dockerfile and runs its image as Docker would, where there is no Docker; says sizes, times and memory.
#
#   sudo deploy/check-image.sh DEBIAN_MIRROR [options of "buildah bud", such as --build-arg PIP_INDEX_URL=…]
#
# Needs debootstrap, buildah, util-linux, procps and curl. Debian 12 with its Python 3.11 stands in for python:slim.
# The service runs as process 1 of a PID namespace, as the image's user, on a read-only root, in a memory cgroup (v1 or
# v2) of LIMIT_MB (4096), with .env.memory-optimized. WORK names a folder to keep for the next run.
set -euo pipefail
[ "${IN_NAMESPACE:-}" ] || IN_NAMESPACE=1 exec unshare --mount "$0" "$@"  # what is mounted here ends with the script
cd "$(dirname "$0")/.."
mirror=${1:?a Debian mirror}; shift
port=${PORT:-18000} limit=$((${LIMIT_MB:-4096} << 20)) work=${WORK:-$(mktemp -d)} memory=/sys/fs/cgroup/memory
[ -d $memory ] || memory=/sys/fs/cgroup
group=$memory/elocute-check-$$ server=
image() { buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"; }
now() { date +%s.%N; }
since() { awk "BEGIN { printf \"%.2f s\", $(now) - $1 }"; }
finish() {
    [ -z "$server" ] || kill -KILL "$server" 2> /dev/null || true
    wait
    [ ! -d "$group" ] || rmdir "$group"
    umount -lq "$work/root" || true
    image umount --all > /dev/null && image rm --all > /dev/null
    [ "${WORK:-}" ] || rm -rf "$work"
}
trap finish EXIT

if ! image images -q localhost/python:check > /dev/null 2>&1; then
    base=$(image from scratch)
    debootstrap --variant=minbase --include=ca-certificates,python3-pip,python3-venv,python-is-python3 \
        bookworm "$(image mount "$base")" "$mirror" > "$work/debootstrap.log"
    image commit -q --rm "$base" localhost/python:check > /dev/null
fi
start=$(now)
image bud --isolation chroot --network host --format docker --build-arg PYTHON_IMAGE=localhost/python:check "$@" \
    -t localhost/elocute:check . > "$work/build.log" 2>&1 || { tail -20 "$work/build.log"; exit 1; }
echo "build: $(since "$start") on top of the base"

# The image's own settings, of which Docker would read the same.
image inspect --type image localhost/elocute:check > "$work/image.json"
field() { python3 -c "import json; c = json.load(open('$work/image.json'))['Docker']['config']; print(*(c$1), sep='\n')"
}
mapfile -t environment < <(field "['Env']"; grep -hE '^[A-Z_]+=' .env.memory-optimized; echo "PORT=$port")
mapfile -t entrypoint < <(field "['Entrypoint']")
mapfile -t check < <(field "['Healthcheck']['Test']")
mapfile -t fixed < <(field "['User'], c['WorkingDir'], c['StopSignal']")
user=${fixed[0]} folder=${fixed[1]} signal=${fixed[2]}

root=$work/root
mkdir -p "$root"
mount --rbind "$(image mount "$(image from localhost/elocute:check)")" "$root"
du -sm "$root"/opt/* "$root"/usr "$root"/var | sed 's/\t.*root/ MB  /'
du -sm "$root"/opt/venv/lib/python3*/site-packages/* | sort -rn | sed -n '1,8s#\t.*packages# MB     #p'
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"; done
mount -t sysfs -o ro sysfs "$root/sys"
mkdir "$group"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup" && mkdir -p "$root$memory" && mount --bind -o ro "$group" "$root$memory"
file=$group/memory.max; [ -e "$file" ] || file=$group/memory.limit_in_bytes
echo $limit > "$file"
mount -o remount,bind,ro "$root"

start=$(now)
( echo $BASHPID > "$group/cgroup.procs"
  # shellcheck disable=SC2016
  exec unshare --mount --pid --fork --kill-child bash -c \
      'mount -t proc proc "$0/proc"; exec chroot --userspec="$1" "$0" env -i -C "$2" "${@:3}"' \
      "$root" "$user" "$folder" "${environment[@]}" "${entrypoint[@]}" ) > "$work/service.log" 2>&1 &
server=$!
get() { curl -s -m 120 -o "$work/answer" -w '%{http_code}' "http://127.0.0.1:$port$1" "${@:2}" || true; }
until [ "$(get /ready)" = 200 ]; do kill -0 $server || { cat "$work/service.log"; exit 1; }; sleep 0.1; done
echo "ready after $(since "$start")"
python=$(pgrep -P $server)
grep -E 'VmRSS|VmHWM|NSpid|^Uid' "/proc/$python/status"
start=$(now)
nsenter -t "$python" -m -p -r -S "${user%:*}" -G "${user#*:}" env -i "${environment[@]}" "${check[@]:1}"
echo "HEALTHCHECK: 0, $(since "$start")"
sample=(-F audio=@samples/turn_right.flac -F "text=Please turn right at the next corner.")
for _ in 1 2 3; do echo "sample: $(get /analyze "${sample[@]}")"; done
say=(-H "Content-Type: application/json" -d '{"text": "Please turn right at the next corner."}')
echo "voice: $(get /synthesize "${say[@]}"), $(wc -c < "$work/answer") bytes"
grep -E 'VmRSS|VmHWM' "/proc/$python/status"
get /memory > /dev/null && head -c 400 "$work/answer" && echo

# SIGTERM while 100 s of noise are analysed: it gets its answer, new ones are turned away, and the exit status is 0.
python3 - "$work/noise.wav" << 'PYTHON'
import os, sys, wave
with wave.open(sys.argv[1], "wb") as noise:
    noise.setparams((1, 2, 16000, 0, "NONE", ""))
    noise.writeframes(os.urandom(3_200_000))
PYTHON
noise="audio=@$work/noise.wav"
curl -s -o "$work/last" -w 'in flight at SIGTERM: %{http_code}\n' -F "$noise" "http://127.0.0.1:$port/analyze" & last=$!
sleep 0.5
kill -s "$signal" "$python"; start=$(now); sleep 0.2
echo "/ready while it drains: $(get /ready)"
wait $last
wait $server && echo "exit status 0, $(since "$start") after SIGTERM"
server=
peak=$(cat "$group/memory.peak" 2> /dev/null || cat "$group/memory.max_usage_in_bytes")
echo "peak of the cgroup: $((peak >> 20)) MB (files that the host had read already are not in it)"
