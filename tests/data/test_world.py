from __future__ import annotations

import numpy as np
import pytest

from synoptic.data import world
from synoptic.data.shapes import SHAPES, distance_fields
from synoptic.data.styles import STYLES


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scene_of(
    shape: int, colour: int = 0, texture: int = 0, style: int = 0, n: int = 8, strength: float = 1.0
) -> world.Scene:
    full = lambda value: np.full(n, value, dtype=np.int64)  # noqa: E731
    return world.compose(full(shape), full(colour), full(texture), full(style), rng(), strength)


def test_same_seed_same_batch() -> None:
    first, words = world.pretraining_batch(rng(3), 300)
    again, same_words = world.pretraining_batch(rng(3), 300)
    other, _ = world.pretraining_batch(rng(4), 300)
    assert first.shape == (300, 32, 32, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert words == same_words
    assert not np.array_equal(first, other)


def test_every_shape_is_closed_and_inside_its_field() -> None:
    fields = distance_fields()
    edge = np.concatenate([fields[:, 0], fields[:, -1], fields[:, :, 0], fields[:, :, -1]], axis=1)
    assert (edge > 0.3).all(), "a shape reaches the border of its field"
    area = (fields < 0).mean(axis=(1, 2))
    assert ((area > 0.03) & (area < 0.3)).all()


def test_shapes_differ_from_one_another() -> None:
    inside = (distance_fields() < 0).reshape(len(SHAPES), -1)
    for i in range(len(SHAPES)):
        for j in range(i):
            union = (inside[i] | inside[j]).sum()
            assert (inside[i] & inside[j]).sum() / union < 0.95, (  # circle and hexagon: 0.93
                SHAPES[i],
                SHAPES[j],
            )


@pytest.mark.parametrize("style", range(1, len(STYLES)))
def test_style_changes_the_picture_and_zero_strength_does_not(style: int) -> None:
    plain = world.render(scene_of(3), rng())
    none = world.render(scene_of(3, style=style, strength=0.0), rng())
    full = world.render(scene_of(3, style=style, strength=1.0), rng())
    assert np.abs(plain.astype(int) - none).max() <= 1
    assert np.abs(plain.astype(int) - full).mean() > 2


@pytest.mark.parametrize("texture", range(1, len(world.TEXTURES)))
def test_texture_shows_two_tones_inside_the_shape(texture: int) -> None:
    plain = world.render(scene_of(1), rng()).astype(int)
    textured = world.render(scene_of(1, texture=texture), rng()).astype(int)
    changed = (np.abs(plain - textured).sum(axis=-1) > 100).mean()
    assert 0.02 < changed < 0.3


def test_centre_pixel_has_the_recorded_ink() -> None:
    scene = scene_of(0, colour=5)
    pictures = world.render(scene, rng())
    for i in range(len(scene)):
        pixel = pictures[i, int(scene.y[i]), int(scene.x[i])] / 255
        assert np.allclose(pixel, np.clip(scene.ink[i], 0, 1), atol=0.01)


def test_objects_stay_inside_the_picture() -> None:
    scene = world.pretraining_scene(rng(), 500)
    for centre in (scene.x, scene.y):
        assert (centre - scene.radius >= 0).all()
        assert (centre + scene.radius <= world.SIZE).all()


def test_captions_are_true_to_the_record() -> None:
    scene = world.pretraining_scene(rng(), 600)
    places = world.places(scene)
    for i, text in enumerate(world.caption(scene, rng())):
        words = set(text.replace(",", " ").replace(".", " ").split())
        assert SHAPES[scene.shape[i]] in words
        assert world.COLOUR_NAMES[scene.colour[i]] in words
        assert words & set(SHAPES) == {SHAPES[scene.shape[i]]}
        assert words & set(world.COLOUR_NAMES) == {world.COLOUR_NAMES[scene.colour[i]]}
        assert words & set(world.TEXTURES) <= {world.TEXTURES[scene.texture[i]]}
        assert words & set(STYLES) <= {STYLES[scene.style[i]]}
        if " at the " in text:
            assert f"at the {places[i]}" in text


def test_captions_vary() -> None:
    scene = scene_of(0, n=200)
    assert len(set(world.caption(scene, rng()))) >= 8


def test_place_words_follow_the_centre() -> None:
    scene = world.pretraining_scene(rng(), 500)
    for x, y, place in zip(scene.x, scene.y, world.places(scene), strict=True):
        assert ("left" in place) == (x < 14)
        assert ("bottom" in place) == (y >= 18)


def test_pretraining_never_shows_what_is_held_out() -> None:
    scene = world.pretraining_scene(rng(), 5000)
    pairs = set(zip(scene.colour.tolist(), scene.shape.tolist(), strict=True))
    assert not pairs & world.held_out_pairs()
    assert len(world.held_out_pairs()) == 32
    assert {STYLES[i] for i in np.unique(scene.style)} == set(world.PRETRAIN_STYLES)
    assert not set(world.PRETRAIN_STYLES) & set(world.UNSEEN_STYLES)


def test_every_colour_and_shape_occurs_in_pretraining() -> None:
    held = world.held_out_pairs()
    assert max(sum(colour == c for colour, _ in held) for c in range(len(world.COLOURS))) <= 4
    assert all(sum(shape == s for _, shape in held) == 2 for s in range(len(SHAPES)))


def test_vocabulary_covers_captions() -> None:
    known = set(world.vocabulary())
    _, captions = world.pretraining_batch(rng(), 500)
    used = {word for text in captions for word in text.replace(",", " , ").replace(".", " . ").split()}
    assert used <= known
    assert {"red", "circle", "pastel", "photo", "."} <= known


def test_take_keeps_the_record_together() -> None:
    scene = world.pretraining_scene(rng(), 10)
    some = scene.take(np.array([3, 7]))
    assert len(some) == 2
    assert some.x[1] == scene.x[7]
    assert some.shape[0] == scene.shape[3]
