# One image for every role; the command chooses: api, flow NAME, topics apply, up.
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /app
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
COPY pyproject.toml README.md LICENSE ./
# Captions from sound need more: --build-arg EXTRAS="--extra kafka --extra speech"
ARG EXTRAS="--extra kafka"
RUN uv sync --no-dev --no-install-project $EXTRAS
COPY schemas schemas
COPY operators operators
COPY eventlog eventlog
COPY models models
COPY flows flows
COPY api api
COPY rejoinder rejoinder
# The program may not write beside its own modules: what is not compiled here is compiled at every start.
RUN uv sync --no-dev $EXTRAS && .venv/bin/python -m compileall -q schemas operators eventlog models flows api rejoinder

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 rejoinder && mkdir /data && chown rejoinder /data
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 \
    REJOINDER_DATA_DIR=/data REJOINDER_HOST=0.0.0.0 REJOINDER_LOG_FORMAT=json
USER rejoinder
VOLUME /data
EXPOSE 8080 8084 8090 9400 9500
ENTRYPOINT ["rejoinder"]
CMD ["up"]
