import numpy as np
import torch

from sgmim.pinhole import points
from sgmim.point_clouds import as_ply, cloud

KINDS = {"float": "<f4", "uchar": "u1"}
CAMERA = torch.tensor([50.0, 55.0, 17.0, 11.0])


def parsed(file):
    """A PLY as another program reads it: by its header."""
    head, end, body = file.partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    assert end and lines[:2] == ["ply", "format binary_little_endian 1.0"]
    [count] = [int(line.split()[-1]) for line in lines if line.startswith("element vertex ")]
    fields = [line.split()[1:] for line in lines if line.startswith("property ")]
    kind = np.dtype([(name, KINDS[word]) for word, name in fields])
    assert len(body) == count * kind.itemsize
    return np.frombuffer(body, kind)


def sample():
    torch.manual_seed(0)
    depth, image = torch.rand(1, 20, 30) + 1, torch.randint(256, (3, 20, 30), dtype=torch.uint8)
    depth[0, 3, 4], depth[0, 5, 6], depth[0, 7, 8], depth[0, 0, 0] = torch.nan, 0.0, torch.inf, -1.0
    return depth, image


def test_a_cloud_read_back_has_every_known_pixel_in_its_place_and_color():
    depth, image = sample()
    vertices = parsed(as_ply(cloud(depth, image, CAMERA), "meters\nof a test"))
    assert len(vertices) == 20 * 30 - 4
    assert vertices.dtype.names == ("x", "y", "z", "red", "green", "blue")
    row, column = 12, 20
    place = row * 30 + column - 4
    assert vertices["z"][place] == depth[0, row, column]
    theirs = (column + 0.5 - 17) / 50 * depth[0, row, column]
    np.testing.assert_allclose(vertices["x"][place], theirs, rtol=1e-6)
    np.testing.assert_allclose(
        vertices["y"][place], (row + 0.5 - 11) / 55 * depth[0, row, column], rtol=1e-6
    )
    colors = [vertices[name][place] for name in ("red", "green", "blue")]
    assert colors == image[:, row, column].tolist()


def test_seen_by_its_camera_a_cloud_is_the_image_again():
    depth, image = sample()
    vertices = cloud(depth, image, CAMERA)
    across = vertices["x"] / vertices["z"] * 50 + 17
    down = vertices["y"] / vertices["z"] * 55 + 11
    seen = image[:, down.astype(int), across.astype(int)].numpy()
    assert np.array_equal(seen, np.stack([vertices[name] for name in ("red", "green", "blue")]))
    whole = points(depth[None], CAMERA[None])[0, :, 12, 20]
    assert torch.isin(whole[0], torch.from_numpy(vertices["x"].copy()))


def test_a_cloud_of_nothing_is_a_file_without_points():
    nothing = cloud(torch.full((1, 4, 4), torch.nan), torch.zeros(3, 4, 4).byte(), CAMERA)
    assert len(parsed(as_ply(nothing))) == 0
