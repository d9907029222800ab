# genre_jax on CPUs, NVIDIA GPUs or TPUs:
#   docker build --build-arg=ACCELERATOR=cuda13 --tag=genre_jax .
#   docker run --gpus=all --volume=DIR:/data genre_jax python -m genre_jax.main --config=folder \
#       --config.data.root=/data/songs --config.data.prepared_dir=/data/prepared --workdir=/data/runs/x
# ACCELERATOR is an extra of the package jax: cpu, cuda12, cuda13 or tpu. CUDA comes with it, the driver with the host.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim
ARG ACCELERATOR=cpu
# What the package is built of, and nothing else: requirements first, since they change least.
WORKDIR /opt/genre_jax
COPY requirements.txt ./
RUN python -m pip install --no-cache-dir --requirement=requirements.txt "jax[${ACCELERATOR}]"
COPY pyproject.toml README.md ./
COPY genre_jax genre_jax
RUN python -m pip install --no-cache-dir --no-deps . && python -m genre_jax.main --help
# Where GKE mounts the driver; lines of the log appear at once.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64 PYTHONUNBUFFERED=1
WORKDIR /data
CMD ["python", "-m", "genre_jax.main", "--help"]
