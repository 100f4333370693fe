# Two images from one file; the first holds nothing of what built it:
#
#   docker build --tag write-buffer .                        PHP with the extension and the tool, nothing else
#   docker build --target test --tag write-buffer-test .     what builds it, with all that the tests need:
#   docker run --rm --init --cap-add SYS_ADMIN --security-opt apparmor=unconfined --shm-size 1g write-buffer-test
#                                                            `make test` (MariaDB, SQLite); or
#   docker run --rm --init write-buffer-test make demo       the demo
#
# Where no registry can be reached, `make docker` takes base images that scripts/base-image.sh makes.
ARG BASE_IMAGE=debian:bookworm-slim
ARG RUST_IMAGE=rust:1-slim-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /source
# The packages first: they change less often than the sources.
COPY scripts/setup.sh scripts/
RUN scripts/setup.sh build && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY . .
# The sources come without their repository. For whatever is built later, too: another revision is another build.
ARG REVISION=
ENV WRITE_BUFFER_REVISION=$REVISION
RUN make build
RUN make cli \
 && DESTDIR=/out scripts/install.sh target/release/libwrite_buffer.so \
 && install -D target/cli/release/write-buffer /out/usr/bin/write-buffer \
 && find /out -type f -exec strip --strip-unneeded {} + \
 && rm -rf target/cli

FROM build AS test
RUN scripts/setup.sh test demo && apt-get clean && rm -rf /var/lib/apt/lists/*
# What the tests depend on, so that they run without a network.
RUN cargo fetch --locked --target "$(rustc --print host-tuple)"
CMD ["make", "test"]

FROM ${BASE_IMAGE}
RUN export DEBIAN_FRONTEND=noninteractive \
 && apt-get update \
 && apt-get install -y --no-install-recommends php-cli php-mysql php-sqlite3 ca-certificates \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /
RUN echo extension=write_buffer > "$(echo /etc/php/*)/mods-available/write_buffer.ini" \
 && phpenmod write_buffer \
 && php --ri write_buffer
CMD ["php", "--ri", "write_buffer"]
