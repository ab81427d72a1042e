# The images, built by `make images`:
#   sidecar   batcher-sidecar, which the webhook puts into pods
#   control   batcher-operator and batcher-webhook
#
# BASE is an image with Python 3.11 or later, its venv module and pip's wheel (ensurepip). pip's own
# configuration, where one is needed, comes as the secrets pip-config and pip-cert and stays out of
# the images.
ARG BASE=python:3.13-slim

FROM ${BASE} AS source
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/inference-batcher
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY sidecar sidecar
COPY webhook webhook
COPY operator operator
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    PIP_CONSTRAINT=/source/constraints.txt

FROM source AS sidecar-programs
RUN --mount=type=secret,id=pip-config,target=/etc/pip.conf \
    --mount=type=secret,id=pip-cert,target=/etc/pip-cert.pem \
    /opt/pip/bin/pip --quiet --python /opt/inference-batcher/bin/python install '.[sidecar]'

FROM source AS control-programs
RUN --mount=type=secret,id=pip-config,target=/etc/pip.conf \
    --mount=type=secret,id=pip-cert,target=/etc/pip-cert.pem \
    /opt/pip/bin/pip --quiet --python /opt/inference-batcher/bin/python install '.[operator,webhook]'

FROM ${BASE} AS runtime
# Without an entry, container runtimes give the user root's group.
RUN echo 'batcher:x:65532:65532::/:/usr/sbin/nologin' >>/etc/passwd && \
    echo 'batcher:x:65532:' >>/etc/group
# A number, so that `runAsNonRoot` can be checked; nothing is written, so the root may be read-only.
USER 65532:65532
WORKDIR /
ENV PATH=/opt/inference-batcher/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.licenses=Apache-2.0

FROM runtime AS control
COPY --from=control-programs /opt/inference-batcher /opt/inference-batcher
LABEL org.opencontainers.image.title=inference-batcher-control
CMD ["batcher-operator"]

FROM runtime AS sidecar
COPY --from=sidecar-programs /opt/inference-batcher /opt/inference-batcher
LABEL org.opencontainers.image.title=inference-batcher-sidecar
EXPOSE 9081 9084
ENTRYPOINT ["batcher-sidecar"]
