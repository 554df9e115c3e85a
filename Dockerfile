# The service for an instance of 4 GB:
#
#   docker build -t elocute .
#   docker run -m 4g -p 8000:8000 --env-file .env.memory-optimized --read-only --init --stop-timeout 70 elocute
#
# or deploy/compose.yaml; deploy/check-image.sh builds and runs it without Docker.
#
# Python 3.11 on Debian 12: the interpreter and the glibc that the README's figures were measured with. "slim" and not
# "alpine": torch has no wheels for musl, and the allocator settings below are glibc's.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build

# PyTorch's index has the build without CUDA, 2.13.0+cpu, which pip prefers to PyPI's 2.13.0. A mirror is named with
# --build-arg PIP_EXTRA_INDEX_URL=… (or PIP_INDEX_URL, PIP_FIND_LINKS): pip reads them from the environment.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# Dependencies before the source: this layer is made again only when pyproject.toml changes.
WORKDIR /build
COPY pyproject.toml ./
RUN python -c "import tomllib as t; print(*t.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > requirements.txt \
    && python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-compile -r requirements.txt \
    && /opt/venv/bin/python -c "import torch; assert not torch.version.cuda, 'with CUDA: see PIP_EXTRA_INDEX_URL'"

# What only building against torch, or testing it and sympy, needs: 230 MB. torch_shm_manager stays, torch's import asks
# for it. Bytecode is compiled here, as the service can write none: else every start would do it again and take twice as
# long. Unchecked, as nobody edits the source any more and a copy may change its times.
RUN SITE=$(echo /opt/venv/lib/python3*/site-packages) \
    && rm -r "$SITE/torch/test" "$SITE/torch/include" "$SITE/torch/share/cmake" \
    && find "$SITE/torch/bin" -mindepth 1 ! -name torch_shm_manager -delete \
    && find "$SITE/sympy" -depth -type d -name tests -exec rm -r {} + \
    && find "$SITE" -name '*.a' -delete \
    && { /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash "$SITE" \
        || echo "A file for another Python is left as it is, as pip would."; }

# The service with its weights and its metadata, in a layer of its own.
COPY README.md LICENSE NOTICE ./
COPY app app
RUN pip --python /opt/venv/bin/python install --no-compile --no-deps --target /opt/elocute . \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/elocute


FROM ${PYTHON_IMAGE}

LABEL org.opencontainers.image.title="Elocute" \
      org.opencontainers.image.description="Self-hosted pronunciation analysis" \
      org.opencontainers.image.licenses="Apache-2.0"

# A number, so that Kubernetes' runAsNonRoot can see that it is not root; a name, as libraries may ask for one. The
# service writes nothing; only a PHONEME_MODEL of the hub is kept, in the folder made here: mount a volume there.
RUN groupadd --gid 10001 elocute \
    && useradd --uid 10001 --gid elocute --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin elocute \
    && install -d -o elocute -g elocute /var/cache/elocute

# The service sets its allocator itself once it runs (mallopt); few arenas from the process's first moment, while its
# libraries load. The service is one process: there are no workers.
# onnxruntime reports its use to Microsoft unless told not to, and torch wants a folder, though it puts nothing there.
ENV PATH=/opt/venv/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=1 \
    ORT_DISABLE_TELEMETRY=1 \
    HF_HOME=/var/cache/elocute \
    TORCHINDUCTOR_CACHE_DIR=/var/cache/elocute \
    HOST=0.0.0.0 \
    PORT=8000

COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/elocute /opt/elocute

WORKDIR /opt/elocute
USER 10001:10001
EXPOSE 8000

# The first SIGTERM lets what is in flight finish, for REQUEST_TIMEOUT_SECONDS (60) and 10 s at most: --stop-timeout 70
# gives docker stop as long, its own 10 s would cut analyses off. With --init a SIGTERM counts from the first moment;
# without it the kernel drops those that come before process 1 has its handler, the first thing that it sets.
STOPSIGNAL SIGTERM

# Not urllib: it would ask a proxy that the environment names. The start takes a few seconds, from a slow disk more.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-ISc", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/ready'); r = c.getresponse(); print(r.read().decode()); raise SystemExit(r.status != 200)"]

ENTRYPOINT ["python", "-m", "app"]
