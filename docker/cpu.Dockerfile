# The service with MindSpore on CPU and its bundled model.
#   docker build --file docker/cpu.Dockerfile --tag abinet-ascend:cpu .
#   docker run --rm --publish 8000:8000 --read-only --tmpfs /tmp abinet-ascend:cpu
# docs/deployment.md says more. Every step of the installation is a line of docker/install.sh, which CI runs too.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
# All that MindSpore needs from the system. Debian keeps no old versions, so a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

FROM base AS build
WORKDIR /src
COPY docker/install.sh docker/cpu.lock docker/build.lock docker/
# What changes seldom comes first.
RUN docker/install.sh dependencies /opt/abinet docker/cpu.lock && docker/install.sh cpu-only /opt/abinet
COPY pyproject.toml README.md LICENSE abinet.py ./
COPY models models
COPY export export
COPY service service
COPY clients clients
# A MindIR belongs to the MindSpore release that wrote it, so the bundle is made here and not at the first start.
RUN docker/install.sh service /opt/abinet && docker/install.sh model /opt/abinet

FROM base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="abinet-ascend" \
    org.opencontainers.image.description="Reads cropped word images with ABINet: MindSpore on CPU" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/abinet /opt/abinet
COPY docker/healthcheck.py /opt/abinet/healthcheck.py
ENV PATH=/opt/abinet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    ABINET_CACHE=/opt/abinet/cache \
    ABINET_HOST=0.0.0.0 \
    ABINET_LOG_FORMAT=json
# Nothing outside /tmp and /dev/shm is ever written.
WORKDIR /tmp
# A number, because Kubernetes cannot see whether a name is root.
USER 10001:10001
# gRPC is at the second, if ABINET_GRPC_PORT says so.
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "/opt/abinet/healthcheck.py"]
ENTRYPOINT ["abinet"]
CMD ["serve"]
