# syntax=docker/dockerfile:1

# Both stages stand on the same base, so the environment made in the first runs in the second.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/moodstream
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY moodstream moodstream
COPY worker worker
COPY schemas schemas
# The two secrets are for those who reach a package index through a proxy of their own; neither is needed,
# and neither stays in the image. deploy/image-test.sh shows how they are passed.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,mode=0444 \
    --mount=type=secret,id=ca.pem,target=/run/secrets/ca.pem,mode=0444 \
    /opt/moodstream/bin/python -m pip install --no-cache-dir --disable-pip-version-check . \
    && /opt/moodstream/bin/python -m pip uninstall --yes --quiet setuptools pip

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="moodstream" \
      org.opencontainers.image.description="A streaming text-classification worker: Kafka in, sentiment and emotion out, exactly once." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin moodstream
COPY --from=build /opt/moodstream /opt/moodstream
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
