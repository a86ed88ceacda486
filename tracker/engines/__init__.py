"""What runs the networks: ONNX Runtime on the CPU, CUDA graphs, TensorRT, plain torch."""
