# The demo's image: members and the load driver of compose.yaml.
FROM python:3.11-slim-bookworm

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY protos ./protos
COPY dbgrains ./dbgrains
RUN python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore ".[hiredis]" \
    && useradd --system --no-create-home member

USER member
ENV PYTHONUNBUFFERED=1
# Python is the container's first process, so docker's SIGTERM reaches the member itself and it can drain.
ENTRYPOINT ["python", "-m"]
CMD ["dbgrains.demo.member"]
