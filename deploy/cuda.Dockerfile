# The app on an NVIDIA GPU; the host needs a driver for CUDA 12.8 and the NVIDIA Container Toolkit:
#
#   docker build -f deploy/cuda.Dockerfile -t llm-core-cuda .
#   docker run --gpus all -p 127.0.0.1:7860:7860 -v llm-data:/data -e LLM_API_TOKENS=ann:$(openssl rand -hex 24) \
#     -e LLM_MODEL=hf:unsloth/Qwen3-4B-Instruct-2507-GGUF:*Q4_K_M.gguf llm-core-cuda
FROM nvidia/cuda:12.8.1-devel-ubuntu24.04 AS build
ARG EXTRAS=local,mqtt,mcp,postgres
# Which GPUs: 75 Turing, 80 and 86 Ampere, 89 Ada, 90 Hopper, 120 Blackwell.
ARG ARCHITECTURES="75;80;86;89;90;120"
ENV CMAKE_ARGS="-DGGML_CUDA=ON -DGGML_NATIVE=OFF -DCMAKE_CUDA_ARCHITECTURES=${ARCHITECTURES}"
RUN apt-get update && apt-get install -y --no-install-recommends g++ make python3 python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /app
# The driver is the host's: the linker gets along with a stand-in for it.
RUN ln -s libcuda.so /usr/local/cuda/lib64/stubs/libcuda.so.1
ENV LDFLAGS="-Wl,-rpath-link,/usr/local/cuda/lib64/stubs"
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY llm_core llm_core
RUN /app/bin/pip install --no-cache-dir ".[${EXTRAS}]"

FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 python3 && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1001 llm && install -d -o llm /data
COPY --from=build /app /app
USER llm
WORKDIR /home/llm
ENV PATH=/app/bin:$PATH GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 LLM_DATA_DIR=/data HF_HOME=/data/huggingface
VOLUME /data
EXPOSE 7860
# Not healthy while the model loads or is fetched, which may take minutes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
CMD ["llm-core", "serve"]
