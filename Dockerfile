# The service in a container: `docker build --tag cramp-cds .`; cds_service/docs/operators.md says how to run it.

FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements.txt pyproject.toml README.md LICENSE ./
RUN python -m venv /opt/cramp-cds \
    && /opt/cramp-cds/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.txt
COPY cds_service cds_service
COPY cards cards
COPY fixtures fixtures
# Not editable, so the wheel's copy of cards and fixtures is what runs, and no source tree stays behind.
RUN /opt/cramp-cds/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
COPY --from=build /opt/cramp-cds /opt/cramp-cds
# One folder is written: the alert log, what is waiting for it, the site's approvals.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin cramp-cds \
    && install --directory --owner=cramp-cds --mode=0700 /var/lib/cramp-cds
ENV PATH=/opt/cramp-cds/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CDS_PROFILE=production \
    CDS_LOG_PATH=/var/lib/cramp-cds/alerts.sqlite3
USER cramp-cds
WORKDIR /var/lib/cramp-cds
VOLUME /var/lib/cramp-cds
EXPOSE 8000 8001
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live', timeout=2)"]
# Every interface of the container; the TLS proxy in front of it is the only one that should reach it.
CMD ["cds-service", "serve", "--host", "0.0.0.0", "--port", "8000", "--workers", "2"]
