"""From a trained policy to a verified ONNX bundle."""
