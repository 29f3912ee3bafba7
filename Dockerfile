# syntax=docker/dockerfile:1

# What the packages bring and what Moodstream is come as two layers: a new version of Moodstream changes the second only.
# All stages stand on the same base, so that what the first ones make runs in the last.

# docs/how-to/deploy.md says what each extra is for, and what it adds.
ARG EXTRAS=html,registry

FROM python:3.11-slim-bookworm AS build
ARG EXTRAS
WORKDIR /src
RUN python -m venv /opt/moodstream
COPY pyproject.toml ./
# An empty Moodstream brings all that the real one requires. The two secrets are for those who reach a package index
# through a proxy of their own; neither is needed, and neither stays in the image. docs/how-to/deploy.md shows how.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,mode=0444 \
    --mount=type=secret,id=ca.pem,target=/run/secrets/ca.pem,mode=0444 \
    mkdir moodstream worker && touch README.md LICENSE moodstream/__init__.py \
    && echo '__version__ = "0"' > worker/__init__.py \
    && /opt/moodstream/bin/python -m pip install --no-cache-dir --disable-pip-version-check ".${EXTRAS:+[$EXTRAS]}" hatchling

FROM build AS own
COPY README.md LICENSE ./
COPY moodstream moodstream
COPY worker worker
RUN /opt/moodstream/bin/python -m pip install --no-index --no-deps --no-build-isolation --force-reinstall \
    --disable-pip-version-check --root /own .

FROM build AS slim
ARG EXTRAS
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils
COPY deploy/slim.py ./
RUN /opt/moodstream/bin/python slim.py "$EXTRAS"

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="moodstream" \
      org.opencontainers.image.description="A streaming text-classification worker: Kafka in, sentiment and emotion out, exactly once." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=slim /opt/moodstream /opt/moodstream
COPY --from=own /own/opt/moodstream /opt/moodstream
# The base's own pip goes, and the modules of Python's library that a worker loads are compiled here: on a read-only
# file system, each start and each health check would compile them again.
RUN rm -rf /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip* \
        /usr/lib/python3*/ensurepip /usr/share/python-wheels \
    && /opt/moodstream/bin/python -c "import urllib.request, worker.cli.main, worker.stream.app" \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin moodstream
# onnxruntime's builds for Linux report to their maker unless they are told not to.
ENV PATH=/opt/moodstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    MOODSTREAM_OBSERVE__HOST=0.0.0.0 \
    MOODSTREAM_OBSERVE__PORT=9464
USER 10001:10001
WORKDIR /
EXPOSE 9464
STOPSIGNAL SIGTERM
# /healthz is 503 when the loop has not turned for observe.stall_after_s; urlopen raises then, and exits 1.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['MOODSTREAM_OBSERVE__PORT']}/healthz\", timeout=3)"]
ENTRYPOINT ["moodstream"]
CMD ["run"]
