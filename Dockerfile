# One image for every process of the bridge: ingress, consumers, simulator. Plain syntax, any builder.
# pip's own variables work as build arguments, for a mirror: --build-arg PIP_INDEX_URL=…
FROM python:3.12-slim AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/dingbridge
COPY requirements.txt ./
RUN /opt/dingbridge/bin/pip install --quiet --require-hashes -r requirements.txt
# what builds our own package is pinned as well; only its lines of the development requirements are needed
COPY requirements-dev.txt ./
RUN awk '/^[^ ]/ { wanted = /^setuptools==/ } wanted' requirements-dev.txt >build.txt \
 && python -m pip install --quiet --require-hashes -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY console console
COPY consumers consumers
COPY dingbridge dingbridge
COPY ingress ingress
COPY schemas schemas
COPY simulator simulator
ARG SOURCE_DATE_EPOCH
# scripts/dist gives the commit's time, for a wheel that is the same to the byte; byte code that is made with it would be
# compared with its source at each start
RUN python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheel . \
 && unset SOURCE_DATE_EPOCH \
 && /opt/dingbridge/bin/pip install --quiet --no-deps /wheel/*.whl \
 && /opt/dingbridge/bin/pip uninstall --quiet --yes pip

FROM python:3.12-slim
LABEL org.opencontainers.image.title="dingbridge" org.opencontainers.image.licenses="Apache-2.0"
# /data is the journal and everything else that is kept, /journal where the console reads that of an ingress: a volume
# there begins with this owner, whoever mounts it first
RUN python -m pip uninstall --quiet --yes --root-user-action ignore pip \
 && groupadd --gid 10001 dingbridge \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin dingbridge \
 && install -d -o dingbridge -g dingbridge -m 0700 /data /journal
COPY --from=build /opt/dingbridge /opt/dingbridge
ENV PATH=/opt/dingbridge/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/data LOG_FORMAT=json ADMIN_HOST=0.0.0.0
# by number: with a name Kubernetes cannot tell that it is not root
USER 10001:10001
WORKDIR /data
EXPOSE 8080 8081
ENTRYPOINT ["dingbridge"]
CMD ["--help"]
