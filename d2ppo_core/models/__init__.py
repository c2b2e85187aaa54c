"""Networks: observation encoders, denoiser, noise schedule and the policy that joins them."""
