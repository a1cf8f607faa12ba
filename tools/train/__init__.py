"""Trains the networks of models/ and exports them as ONNX."""
