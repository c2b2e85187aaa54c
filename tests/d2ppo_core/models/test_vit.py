import pytest
import torch
from torch.nn import functional as F

from d2ppo_core.models.vit import ImageEncoder, OverlapStem, PlainStem, StateEncoder, Vit


def encoder(stem: str = "plain", cameras: int = 1) -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(
        image_hw=(96, 96), num_cameras=cameras, state_dim=9, stem=stem, width=32, heads=4, depth=1, features=16
    )


@pytest.mark.parametrize(("stem", "tokens"), [("plain", 144), ("overlap", 121)])
def test_token_counts_are_those_of_the_published_sizes(stem: str, tokens: int) -> None:
    vit = Vit(image_hw=(96, 96), stem=stem, width=32, heads=4, depth=1)
    assert vit.num_tokens == tokens
    assert vit(torch.zeros(2, 96, 96, 3, dtype=torch.uint8)).shape == (2, tokens, 32)


def test_plain_stem_equals_a_strided_convolution() -> None:
    torch.manual_seed(0)
    stem, images = PlainStem(32), torch.randint(0, 256, (2, 24, 16, 3), dtype=torch.uint8)
    kernel = stem.patch.weight.reshape(32, 8, 8, 3).permute(0, 3, 1, 2)
    wanted = F.conv2d(images.permute(0, 3, 1, 2) / 255 - 0.5, kernel, stem.patch.bias, stride=8)
    torch.testing.assert_close(stem(images), wanted.flatten(2).transpose(1, 2))


def test_overlap_stem_sees_across_patch_borders() -> None:
    torch.manual_seed(0)
    stem = OverlapStem(8)
    assert stem(torch.zeros(1, 96, 96, 3, dtype=torch.uint8)).shape == (1, stem.num_tokens(96, 96), 8)


@pytest.mark.parametrize("cameras", [1, 2])
def test_features_end_with_the_state(cameras: int) -> None:
    net, state = encoder(cameras=cameras), torch.randn(3, 9)
    out = net(state, torch.randint(0, 256, (3, cameras, 96, 96, 3), dtype=torch.uint8))
    assert out.shape == (3, net.out_dim) == (3, 16 * cameras + 9)
    torch.testing.assert_close(out[:, -9:], state)


def test_attention_equals_torchs_own() -> None:
    net = encoder()
    block, tokens = net.vit.blocks[0], torch.randn(2, 10, 32)
    q, k, v = block.qkv(block.norm_attention(tokens)).reshape(2, 10, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 10, 32)
    wanted = tokens + block.merge(attended)
    wanted = wanted + block.mlp_out(F.gelu(block.mlp_in(block.norm_mlp(wanted))))
    torch.testing.assert_close(block(tokens), wanted, atol=1e-5, rtol=1e-5)


def test_a_patch_that_moves_changes_the_features() -> None:
    net, state = encoder(), torch.zeros(1, 9)
    images = torch.zeros(2, 1, 96, 96, 3, dtype=torch.uint8)
    images[0, 0, 10:20, 10:20] = 255
    images[1, 0, 60:70, 40:50] = 255
    features = net(state.expand(2, -1), images)
    assert (features[0] - features[1]).abs().max() > 1e-2


def test_image_sides_must_be_whole_patches() -> None:
    with pytest.raises(ValueError, match="divisible by 8, got 90x96"):
        Vit(image_hw=(90, 96), stem="plain", width=32, heads=4, depth=1)


def test_the_state_is_its_own_embedding() -> None:
    state = torch.randn(4, 19)
    assert torch.equal(StateEncoder(19)(state), state)
