# CPU by default: docker build -t podium .
# CUDA:           docker build -t podium --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
FROM python:3.12-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# torch and torchvision of one index belong together; this layer stays while the sources change
# hadolint ignore=DL3013
RUN pip install "torch>=2.10" "torchvision>=0.25" --index-url "$TORCH_INDEX"

WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE podium.py ./
COPY experiments experiments
COPY datamodules datamodules
COPY lit_modules lit_modules
COPY blend blend
# hadolint ignore=DL3013
RUN pip install ".[board,segy,ms]" && useradd --create-home --uid 1000 podium && mkdir /podium && chown 1000 /podium

USER 1000
WORKDIR /podium
ENTRYPOINT ["podium"]
CMD ["--help"]
