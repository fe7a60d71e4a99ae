# The service with MindSpore Lite on Ascend. This has not been run on Ascend hardware.
#   docker build --file docker/ascend.Dockerfile --tag abinet-ascend:ascend \
#       --build-arg CANN_IMAGE=... --build-arg MINDSPORE_LITE_WHEEL=mindspore_lite-2.x.y-cp311-cp311-linux_aarch64.whl .
#   docker run --rm --publish 8000:8000 --runtime ascend --env ASCEND_VISIBLE_DEVICES=0 \
#       --group-add "$(getent group HwHiAiUser | cut -d: -f3)" --volume "$PWD/bundles/small:/bundle:ro" abinet-ascend:ascend
#
# CANN_IMAGE: an image with CANN's toolkit and the kernels of the chip, and Python 3.10 or 3.11 as python3; the
#   vendor publishes such ones, tagged with CANN's release, chip, system and Python. There is no default, because
#   driver, CANN and MindSpore Lite must be releases that belong together.
# MINDSPORE_LITE_WHEEL: the vendor's wheel of MindSpore Lite for cloud inference, under the vendor's name, in
#   docker/wheels/; cp311 must be the image's Python, aarch64 its processor.
#
# The driver stays the host's. With the Ascend Docker Runtime, ASCEND_VISIBLE_DEVICES=0,1 (on the command line, never
# in an image) brings the cards, the driver and npu-smi into the container. Without that runtime, name them:
#   --device /dev/davinci0 --device /dev/davinci_manager --device /dev/devmm_svm --device /dev/hisi_hdc
#   --volume /usr/local/Ascend/driver:/usr/local/Ascend/driver:ro
#   --volume /usr/local/bin/npu-smi:/usr/local/bin/npu-smi:ro --volume /etc/ascend_install.info:/etc/ascend_install.info:ro
ARG CANN_IMAGE

FROM ${CANN_IMAGE} AS build
ARG MINDSPORE_LITE_WHEEL
WORKDIR /src
COPY docker/install.sh docker/ascend.lock docker/build.lock docker/
RUN docker/install.sh dependencies /opt/abinet docker/ascend.lock
COPY docker/wheels docker/wheels
RUN docker/install.sh wheel /opt/abinet "docker/wheels/${MINDSPORE_LITE_WHEEL:?names a file in docker/wheels}"
COPY pyproject.toml README.md LICENSE abinet.py ./
COPY models models
COPY export export
COPY service service
COPY clients clients
RUN docker/install.sh service /opt/abinet

FROM ${CANN_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="abinet-ascend" \
    org.opencontainers.image.description="Reads cropped word images with ABINet: MindSpore Lite on Ascend" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/abinet /opt/abinet
COPY docker/ascend-entrypoint.sh docker/healthcheck.py /opt/abinet/
ENV PATH=/opt/abinet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    ABINET_ENGINE=lite \
    ABINET_DEVICES=0 \
    ABINET_BUNDLE=/bundle \
    ABINET_HOST=0.0.0.0 \
    ABINET_LOG_FORMAT=json
# CANN writes its logs and caches below HOME and the working folder.
WORKDIR /tmp
# A card may be opened by the host's group HwHiAiUser, which the container gets with --group-add.
USER 10001:10001
# gRPC is at the second, if ABINET_GRPC_PORT says so.
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
# A card's graphs take longer to load than a CPU's.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["/opt/abinet/bin/python", "-I", "/opt/abinet/healthcheck.py"]
ENTRYPOINT ["/opt/abinet/ascend-entrypoint.sh"]
CMD ["serve"]
