"""Stage 2 as published: a minibatch of pairs, each with its observation encoded and valued on its own."""

import math

import numpy as np
import torch


class FloatBuffers:
    """What a rollout of the published loop leaves: float64 arrays of numpy."""

    def __init__(self, chunks, envs, state_dim, tuned, image_shape=None):
        self.state = np.zeros((chunks, envs, 1, state_dim))
        self.rgb = None if image_shape is None else np.zeros((chunks, envs, 1, *image_shape))
        self.chains = np.zeros((chunks, envs, tuned + 1, 4, 7))

    def condition_of(self, arrays):
        """One step's observations as tensors."""
        return {key: torch.from_numpy(value).float() for key, value in arrays.items()}


class PpoUpdate:
    """One minibatch after another on flat float32 tensors."""

    def __init__(self, chain, value, *, gamma_denoising=0.99, clip=(0.001, 0.01)):
        self.chain, self.value, self.gamma, self.clip = chain, value, gamma_denoising, clip
        self.actor_optimizer = torch.optim.AdamW(chain.tuned.parameters(), lr=1e-4, weight_decay=0)
        self.critic_optimizer = torch.optim.AdamW(value.parameters(), lr=1e-3, weight_decay=0)
        self.clip_fractions = []

    def loss(self, cond, x, x_next, step, target, advantage, old_log_prob):
        """Everything of P pairs; log-probs (P, Tp, Da)."""
        log_prob = self.chain.log_prob(cond, x, x_next, step).clamp(-5, 2).mean((-1, -2))
        old_log_prob = old_log_prob.clamp(-5, 2).mean((-1, -2))
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        tuned = self.chain.num_tuned
        discount = torch.tensor([self.gamma ** (tuned - i - 1) for i in step])
        advantage = advantage * discount
        log_ratio = log_prob - old_log_prob
        ratio = log_ratio.exp()
        low, high = self.clip
        u = step.float() / (tuned - 1)
        clip = low + (high - low) * (torch.exp(3 * u) - 1) / (math.exp(3) - 1)
        with torch.no_grad():
            approx_kl = ((ratio - 1) - log_ratio).mean()
            self.clip_fractions.append(((ratio - 1).abs() > clip).float().mean().item())
        clipped = torch.max(-advantage * ratio, -advantage * torch.clamp(ratio, 1 - clip, 1 + clip)).mean()
        value = 0.5 * ((self.value(cond) - target) ** 2).mean()
        return clipped, value, approx_kl.item()

    def step(self, experience, pairs):
        """One optimiser step; pairs (P,) are flat indices of (observation, step)."""
        obs, step = torch.unravel_index(pairs, (len(experience["state"]), self.chain.num_tuned))
        cond = {key: experience[key][obs] for key in ("state", "rgb") if key in experience}
        policy, value, approx_kl = self.loss(
            cond,
            experience["chains"][obs, step],
            experience["chains"][obs, step + 1],
            step,
            experience["target"][obs],
            experience["advantage"][obs],
            experience["log_prob"][obs, step],
        )
        self.actor_optimizer.zero_grad()
        self.critic_optimizer.zero_grad()
        (policy + value).backward()
        self.actor_optimizer.step()
        self.critic_optimizer.step()
        return policy.item(), value.item(), approx_kl
