"""What runs the networks: ONNX Runtime or OpenVINO on the CPU, CUDA graphs, TensorRT, plain torch."""
