"""Features of the MoA nets: one pipeline of named steps, fitted with scikit-learn, kept as plain arrays, applied in torch."""

from datamodules.moa.features.pipeline import FeaturePipeline, conditions, positions
from datamodules.names import decode_names, encode_names

__all__ = ["FeaturePipeline", "conditions", "decode_names", "encode_names", "positions"]
