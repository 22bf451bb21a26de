# bpfpack in a container.
#   docker build -t bpfpack .                        all that run, pull, push and sign need
#   docker build -t bpfpack-build --target build .   and a compiler: bpfpack build --container
#
# Debian and Ubuntu will do; pin one by its digest: --build-arg BASE=debian@sha256:...
ARG BASE=debian:12-slim

FROM ${BASE} AS python
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates libbpf1 python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
ENV PATH=/opt/bpfpack/bin:$PATH

FROM python AS venv
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        clang lld python3-venv
WORKDIR /source
COPY packaging packaging
RUN packaging/venv dependencies /opt/bpfpack
COPY . .
RUN packaging/venv bpfpack /opt/bpfpack

# `bpfpack build --container` runs it without root, network or a file system to write to.
FROM python AS build
ARG LLVM=19
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        bpftool clang-${LLVM} libbpf-dev llvm-${LLVM} \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && ln -s ../../lib/llvm-${LLVM}/bin/clang ../../lib/llvm-${LLVM}/bin/llvm-strip /usr/local/bin
COPY --from=venv /opt/bpfpack /opt/bpfpack
USER nobody
WORKDIR /tmp
ENTRYPOINT ["bpfpack"]

# The last stage is what is built unless --target says otherwise.
FROM python AS run
COPY --from=venv /opt/bpfpack /opt/bpfpack
ENTRYPOINT ["bpfpack"]
