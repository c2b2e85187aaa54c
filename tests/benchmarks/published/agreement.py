"""Whether the reference computes what this project computes: same weights in, same losses and gradients out."""

import torch

from d2ppo_core.losses.ppo import clip_schedule, denoising_discount, normalized, ppo_loss

RENAMED = (
    ("stem.0.", "stem.first."), ("stem.2.", "stem.second."), ("vit.block.attention.", "vit.blocks.0."),
    ("vit.block.", "vit.blocks.0."), ("embedding.project.0.", "embeddings.0.mix."),
    ("embedding.project.1.", "embeddings.0.norm."), ("embedding.weight", "embeddings.0.weight"), ("mlp.", "denoiser."),
    ("time.", "denoiser.time."),
)  # fmt: skip
"""Beginnings of names, published and here; `mlp.` and `time.` are the denoiser's only at the very start."""


def our_name(name):
    """Name of a weight of the reference in this project's networks."""
    for theirs, ours in RENAMED:
        if name.startswith(theirs) or (
            name.startswith("encoder.") and theirs in name and theirs not in ("mlp.", "time.")
        ):
            return name.replace(theirs, ours, 1)
    return name


@torch.no_grad()
def take_weights(reference, ours):
    """Copy the weights of a policy or critic with the overlapping stem into the reference network."""
    weights = dict(ours.named_parameters())
    for name, parameter in reference.named_parameters():
        parameter.copy_(weights[our_name(name)].reshape(parameter.shape))


def gradient_gap(reference, ours):
    """Largest difference of any weight's gradient, relative to the largest gradient of that weight."""
    weights, gap = dict(ours.named_parameters()), 0.0
    for name, parameter in reference.named_parameters():
        theirs, mine = parameter.grad, weights[our_name(name)].grad.reshape(parameter.shape)
        gap = max(gap, float((theirs - mine).abs().max() / theirs.abs().max().clamp_min(1e-12)))
    return gap


def pretraining_gap(reference, policy, batch, loss):
    """Relative gaps (loss, gradient) of noise prediction; `loss(policy, batch)` is this project's."""
    rgb = {} if batch.images is None else {"rgb": batch.images.permute(0, 1, 4, 2, 3)}
    x = policy.add_noise(batch.chunks, batch.eps, batch.t)
    theirs = torch.nn.functional.mse_loss(reference(x, batch.t, {"state": batch.state[:, None], **rgb}), batch.eps)
    mine = loss(policy, batch)
    theirs.backward()
    mine.backward()
    return {"loss": abs(float((theirs / mine).detach()) - 1), "gradient": gradient_gap(reference, policy)}


def finetuning_gap(reference, reference_value, chain, critic, state, images):
    """Gaps of the log-probs of drawn chains, of the PPO loss and of its gradients over all their pairs."""
    generator = torch.Generator().manual_seed(0)
    drawn = chain.sample(state, images, generator)
    cond = {"state": state[:, None]} | ({} if images is None else {"rgb": images.permute(0, 1, 4, 2, 3)})
    chains, steps = drawn.chain.unflatten(-1, (4, 7)), chain.num_steps
    old = reference.chain.log_prob_of_chains(cond, chains)
    log_prob_gap = (old.clamp(-5, 2).mean((-1, -2)) - drawn.log_prob).abs().max()

    row, step = torch.arange(len(state)).repeat_interleave(steps), torch.arange(steps).repeat(len(state))
    advantage, target = torch.randn(len(row), generator=generator), torch.randn(len(state), generator=generator)
    shift = 0.01 * torch.randn(len(row), generator=generator)  # ratios other than 1
    theirs = reference.loss(
        {key: value[row] for key, value in cond.items()}, chains[row, step], chains[row, step + 1], step,
        target[row], advantage, old[row, step] + shift[:, None, None],
    )  # fmt: skip
    (theirs[0] + theirs[1]).backward()
    log_prob = chain.log_prob(
        chain.condition(state, images)[row], drawn.chain[row, step], drawn.chain[row, step + 1], step
    )
    old_log_prob = (old[row, step] + shift[:, None, None]).clamp(-5, 2).mean((-1, -2))
    scaled = normalized(advantage) * denoising_discount(steps, 0.99)[step]
    policy = ppo_loss(
        log_prob, old_log_prob, scaled, clip_schedule(steps, low=0.001, high=0.01)[step], torch.ones(len(row))
    ).policy
    value = 0.5 * (critic(state, images) - target).square().mean()
    (policy + value).backward()
    return {
        "log_prob": float(log_prob_gap),
        "policy_loss": abs(float((theirs[0] - policy).detach())),
        "value_loss": abs(float((theirs[1] - value).detach())),
        "actor_gradient": gradient_gap(reference.chain.tuned, chain.policy),
        "critic_gradient": gradient_gap(reference_value, critic),
    }  # fmt: skip
