from __future__ import annotations

import pytest
import torch

from datamodules.moa import features
from datamodules.names import decode_names, encode_names


@pytest.mark.parametrize("names", [(), ("acid",), ("acid", "métal", "β-carotene")])
def test_names_come_back_from_bytes(names: tuple[str, ...]) -> None:
    encoded = encode_names(names)
    assert encoded.dtype == "uint8"
    assert decode_names(encoded) == names
    assert decode_names(torch.from_numpy(encoded)) == names
    assert decode_names(encoded.tolist()) == names


def test_the_features_of_moa_use_the_same() -> None:
    assert (features.encode_names, features.decode_names) == (encode_names, decode_names)
