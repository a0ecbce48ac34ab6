# syntax=docker/dockerfile:1
FROM python:3.12-slim-bookworm AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY requirements-build.lock requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements-build.lock
RUN uv venv /opt/slotwright \
    && uv pip install --python /opt/slotwright --no-cache --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY solver ./solver
COPY models ./models
COPY data ./data
COPY api ./api
COPY migrations ./migrations
COPY benchmarks ./benchmarks
RUN uv pip install --python /opt/slotwright --no-cache --no-deps \
    --build-constraints requirements-build.lock .

FROM python:3.12-slim-bookworm
ARG VERSION=dev
LABEL org.opencontainers.image.title="Slotwright" \
      org.opencontainers.image.description="A scheduling engine for clinics" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
RUN groupadd --gid 10001 slotwright \
    && useradd --no-log-init --uid 10001 --gid 10001 --create-home \
        --home-dir /var/lib/slotwright --shell /usr/sbin/nologin slotwright
COPY --from=build /opt/slotwright /opt/slotwright
ENV PATH=/opt/slotwright/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SLOTWRIGHT_DATA_DIR=/var/lib/slotwright
USER 10001:10001
WORKDIR /var/lib/slotwright
VOLUME /var/lib/slotwright
EXPOSE 8000
STOPSIGNAL SIGTERM
# The process, not the database: a proxy takes an unhealthy service out of its routes, and then the
# service could not say itself that it is to be asked again in a moment.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["slotwright", "serve", "--host", "0.0.0.0"]
