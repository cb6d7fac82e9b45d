# syntax=docker/dockerfile:1
# One image with the four services; `command` says which: user, chat, mail or gateway.

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
# Dependencies and finished crates stay in BuildKit's cache, so that a change compiles only what it touches. The programs
# are copied out because the cache is no part of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --profile dist --locked --bins --package user --package chat --package mail --package gateway \
    && install -D --target-directory=/programs \
       target/dist/user target/dist/chat target/dist/mail target/dist/gateway

FROM debian:trixie-slim
# Certificates of the authorities that MongoDB, NATS and mail servers on the internet are signed by.
# hadolint ignore=DL3008 -- whatever Debian stable has now is what should be trusted
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin natter
COPY --from=build /programs/ /usr/local/bin/
COPY --chmod=755 deploy/healthcheck /usr/local/bin/healthcheck
USER 10001:10001
# /healthz, /readyz, /metrics: for the health check below and for Prometheus; not for the public.
ENV NATTER_ADMIN__LISTEN=0.0.0.0:9090
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s --retries=3 CMD ["healthcheck"]
# The services stop within 10 s of SIGTERM.
STOPSIGNAL SIGTERM
CMD ["gateway"]
