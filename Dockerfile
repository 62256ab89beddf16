# The Python that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /source
# Without pip in it: it is not needed once everything is installed.
RUN python -m venv --without-pip /opt/attendee
COPY deploy/requirements.lock ./deploy/
RUN pip --python /opt/attendee install --no-cache-dir --require-hashes -r deploy/requirements.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src ./src
COPY clients ./clients
COPY examples ./examples
# The build backend is in the lock too, so nothing is fetched here.
RUN pip --python /opt/attendee install --no-cache-dir --no-deps --no-build-isolation .

FROM python:${PYTHON}-slim
# A number, so that Kubernetes can see that it is not root's.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/attendee --create-home --shell /usr/sbin/nologin attendee
COPY --from=build /opt/attendee /opt/attendee
ENV PATH=/opt/attendee/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ATTENDEE_DATA_DIR=/var/lib/attendee \
    ATTENDEE_HOST=0.0.0.0 \
    ATTENDEE_PORT=8000
USER 10001
# Where SQLite's file and the generated key are; with PostgreSQL nothing is written here.
WORKDIR /var/lib/attendee
VOLUME /var/lib/attendee
EXPOSE 8000
# Of `serve`. A worker listens nowhere: where it runs, this check is switched off.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-c", "import http.client, sys; asked = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); asked.request('GET', '/readyz'); sys.exit(asked.getresponse().status != 200)"]
ENTRYPOINT ["attendee"]
CMD ["serve"]
