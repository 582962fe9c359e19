"""Regenerate the ``*_pb2`` modules from the ``.proto`` files beside this one.

Run ``python -m tb_gradients.proto.generate`` in an environment with
``grpcio-tools==1.62.3``. The version matters: generated code refuses protobuf
runtimes older than its generator, and TensorBoard 2.16 allows protobuf 3.20.
Code of generator 4.25.1 (grpcio-tools 1.62.3) has no such check and imports
without a warning on every runtime from 3.20.3 to 7.x.
"""

import importlib.metadata
import pathlib
import sys

GENERATOR = "1.62.3"


def main() -> int:
    try:
        version = importlib.metadata.version("grpcio-tools")
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    if version != GENERATOR:
        print(
            f"grpcio-tools {GENERATOR} is needed, found {version}. "
            f"In a fresh virtual environment: pip install grpcio-tools=={GENERATOR}",
            file=sys.stderr,
        )
        return 2
    from grpc_tools import protoc

    root = pathlib.Path(__file__).resolve().parents[2]
    protos = sorted(map(str, pathlib.Path(__file__).parent.glob("*.proto")))
    return int(
        protoc.main(["protoc", f"-I{root}", f"--python_out={root}", f"--pyi_out={root}", *protos])
    )


if __name__ == "__main__":
    raise SystemExit(main())
