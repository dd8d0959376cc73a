"""The Open Inference Protocol v2 (and V1 ``:predict``): tensors in and out of bytes.

Nothing here knows a model or a socket. Specification: kserve/open-inference-protocol,
``inference_rest.md``, ``inference_grpc.md`` and ``extension_binary_data.md`` (Triton).
"""
