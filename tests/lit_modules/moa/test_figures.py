from __future__ import annotations

import numpy as np
import torch

from lit_modules.moa.figures import feature_map
from lit_modules.nets.deep_insight import TableImages


def test_the_map_shows_every_feature_where_its_pixel_is_and_the_three_channels() -> None:
    pixels = np.array([[0, 0], [0, 3], [2, 1], [2, 1], [3, 3]])
    row = torch.tensor([[0.1, 0.2, 0.3, 0.5, 0.9]])
    image = TableImages(torch.from_numpy(pixels), 4)(row)[0].numpy()
    figure = feature_map(pixels, 4, {"genes": slice(0, 4), "cells": slice(4, 5)}, image, "id_7")
    axes = figure.axes
    genes, cells = (collection.get_offsets() for collection in axes[0].collections)
    np.testing.assert_array_equal(genes, pixels[:4, ::-1])  # horizontal is the column
    np.testing.assert_array_equal(cells, [[3, 3]])
    assert axes[0].get_title() == "5 features on 4 of 16 pixels"
    shown = [axis.images[0].get_array() for axis in axes[1:4]]
    assert [float(channel[2, 1]) for channel in shown] == np.float32([0.4, 0.3, 0.5]).tolist()
    assert axes[0].yaxis_inverted()  # line 0 on top, as in the images
    assert all("id_7" in axis.get_title() for axis in axes[1:4])
