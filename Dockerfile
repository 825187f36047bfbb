# The image: one binary, no shell, not root. The root file system may be read-only; only `state/`
# is written:
#
#   docker run --read-only --user 65532 -p 8443:8443 \
#     -v ./config:/srv/portvakt/config:ro -v ./policies:/srv/portvakt/policies:ro \
#     -v ./certs:/srv/portvakt/certs:ro -v portvakt-state:/srv/portvakt/state portvakt

# It holds no solver: policies are proved where they are written, by `portvakt policy prove` and
# `portvakt check`. For `[policy] require_proof = true` in the image, build on one with cvc5.

FROM rust:1.95-bookworm AS build
# The image's own toolchain, not a second one with the tools that only developers need.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist --bin portvakt \
 && strip target/dist/portvakt \
 && mkdir -p /image/srv/portvakt/state /image/usr/local/bin \
 && cp target/dist/portvakt /image/usr/local/bin/portvakt \
 && chown -R 65532:65532 /image/srv/portvakt/state \
 && chmod 700 /image/srv/portvakt/state

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image /
USER 65532:65532
WORKDIR /srv/portvakt
VOLUME /srv/portvakt/state
EXPOSE 8443
ENTRYPOINT ["/usr/local/bin/portvakt"]
CMD ["run"]
