# docker build --target training -t attention-unet .    trains, evaluates, compares, predicts
# docker build --target label -t attention-unet-label . serves packages by MONAI Label too
# For machines without a GPU: --build-arg EXTRA_INDEX=https://download.pytorch.org/whl/cpu
FROM python:3.11-slim AS training
ARG EXTRA_INDEX=""
ENV PIP_EXTRA_INDEX_URL=$EXTRA_INDEX PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
WORKDIR /app
COPY . .
RUN python -m pip install -c constraints.txt '.[experiments,data,nih,export]'
CMD ["attention-unet-pipeline", "doctor"]

FROM training AS label
RUN python -m venv .venv-label
RUN .venv-label/bin/python -m pip install -r label-requirements.txt
RUN .venv-label/bin/python pipeline/packaging/label_torchvision.py
EXPOSE 8000
ENTRYPOINT ["attention-unet-pipeline", "package", "serve", "--host", "0.0.0.0"]
CMD ["--help"]
