# syntax=docker/dockerfile:1
FROM python:3.12-slim-bookworm AS build
RUN pip install --no-cache-dir uv
WORKDIR /src
COPY requirements.lock ./
RUN uv venv /opt/slotwright \
    && uv pip install --python /opt/slotwright --require-hashes -r requirements.lock
COPY . .
RUN uv pip install --python /opt/slotwright --no-deps .

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/slotwright --create-home slotwright
COPY --from=build /opt/slotwright /opt/slotwright
ENV PATH=/opt/slotwright/bin:$PATH PYTHONUNBUFFERED=1
USER slotwright
EXPOSE 8000
VOLUME /var/lib/slotwright
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["slotwright", "serve", "--host", "0.0.0.0", "--data-dir", "/var/lib/slotwright"]
