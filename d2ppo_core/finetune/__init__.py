"""Stage 2: policy optimisation over the denoising chain."""
