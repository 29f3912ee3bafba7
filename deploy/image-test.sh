#!/usr/bin/env bash
# Build the container image and run it as its own user, against a real (embedded) broker.
#
#   make image-test
#
# With a Docker engine it uses that. Without one it uses buildah with chroot isolation, which needs root but
# no daemon, over a base that debootstrap makes: Debian 12 with its own Python 3.11, under the base image's
# name. Nothing is left behind but what debootstrap downloaded, in $CACHE.
#
# A package index behind a proxy of one's own is taken over from pip's usual variables: PIP_INDEX_URL,
# PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST and PIP_CERT. They reach the build as secrets and stay out of the image.
set -euo pipefail
cd "$(dirname "$0")/.."

BASE=$(sed -n 's/^FROM \([^ ]*\) AS build$/\1/p' Dockerfile)
IMAGE=localhost/moodstream:image-test
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/moodstream
WORK=$(mktemp -d -t moodstream-image-XXXXXX)
trap 'finish' EXIT

finish() {
    local status=$?
    [ -z "${DOCKER:-}" ] || docker image rm --force "$IMAGE" >/dev/null 2>&1 || true
    rm -rf "$WORK"
    exit "$status"
}

say() { printf '\n== %s\n' "$*"; }

# A Python that can start the embedded broker: the demo's environment, made if it is not there.
find_python() {
    if [ -z "${MOODSTREAM_PYTHON:-}" ]; then
        MOODSTREAM_PYTHON=.venv/bin/python
        "$MOODSTREAM_PYTHON" -c 'import kafka, noida_db' 2>/dev/null || make --no-print-directory .venv/demo.stamp
    fi
    "$MOODSTREAM_PYTHON" -c 'import kafka, noida_db'
}

need_tools() {
    local missing=()
    for tool in buildah debootstrap; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "no Docker engine answers, and without one this needs: apt-get install ${missing[*]}" >&2
        exit 2
    fi
}

# pip's settings as two files; empty ones change nothing.
write_secrets() {
    {
        echo '[global]'
        [ -z "${PIP_INDEX_URL:-}" ] || echo "index-url = $PIP_INDEX_URL"
        [ -z "${PIP_EXTRA_INDEX_URL:-}" ] || echo "extra-index-url = $PIP_EXTRA_INDEX_URL"
        [ -z "${PIP_TRUSTED_HOST:-}" ] || echo "trusted-host = $PIP_TRUSTED_HOST"
        [ -z "${PIP_CERT:-}" ] || echo 'cert = /run/secrets/ca.pem'
    } >"$WORK/pip.conf"
    cat "${PIP_CERT:-/dev/null}" >"$WORK/ca.pem"
    SECRETS=(--secret "id=pip.conf,src=$WORK/pip.conf" --secret "id=ca.pem,src=$WORK/ca.pem")
}

with_docker() {
    DOCKER=yes
    say "build with Docker"
    DOCKER_BUILDKIT=1 docker build "${SECRETS[@]}" --tag "$IMAGE" .
    RUN=(docker run --rm --interactive --network host --env "MOODSTREAM_OBSERVE__PORT=$PORT")
    PYTHON_IN_IMAGE=("${RUN[@]}" --entrypoint python "$IMAGE")
    MOODSTREAM_IN_IMAGE=("${RUN[@]}" "$IMAGE")
    docker image inspect "$IMAGE" >"$WORK/inspect.json"
    SIZE=$(docker image ls --format '{{.Size}}' "$IMAGE")
}

in_store() { buildah --root "$WORK/store" --runroot "$WORK/run" --storage-driver vfs "$@"; }

make_base() {
    say "make the base with debootstrap, under the name $BASE"
    mkdir -p "$CACHE/debs"
    debootstrap --variant=minbase --cache-dir="$CACHE/debs" --include=ca-certificates,python3,python3-venv \
        bookworm "$WORK/base" >"$WORK/debootstrap.log" || { tail -n 5 "$WORK/debootstrap.log" >&2; exit 1; }
    ln -s python3 "$WORK/base/usr/bin/python"
    local container
    container=$(in_store from scratch)
    in_store add --quiet "$container" "$WORK/base" / >/dev/null
    in_store config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    in_store commit --quiet --rm "$container" "localhost/$BASE" >/dev/null
    rm -rf "$WORK/base"
}

with_buildah() {
    need_tools
    make_base
    say "build with buildah"
    in_store bud --isolation chroot --format docker --pull-never "${SECRETS[@]}" --tag "$IMAGE" .
    local container
    container=$(in_store from --pull-never "$IMAGE")
    RUN=(buildah --root "$WORK/store" --runroot "$WORK/run" --storage-driver vfs run --isolation chroot)
    RUN+=(--env "MOODSTREAM_OBSERVE__PORT=$PORT" "$container" --)
    PYTHON_IN_IMAGE=("${RUN[@]}" python)
    MOODSTREAM_IN_IMAGE=("${RUN[@]}" moodstream) # the entry point, which `buildah run` does not add
    in_store inspect --type image "$IMAGE" >"$WORK/inspect.json"
    SIZE=$(in_store images --format '{{.Size}}' "$IMAGE")
}

find_python
PORT=$("$MOODSTREAM_PYTHON" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
write_secrets
if docker info >/dev/null 2>&1; then with_docker; else with_buildah; fi

say "run it"
PYTHONPATH=. "$MOODSTREAM_PYTHON" deploy/image_test.py "$WORK/inspect.json" "$PORT" \
    "${PYTHON_IN_IMAGE[@]}" --then "${MOODSTREAM_IN_IMAGE[@]}"
echo "size: $SIZE"
